"""The durable state: accounts with balances, pending transfers, ids, in memory."""
