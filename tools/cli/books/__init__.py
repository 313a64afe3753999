"""Commands that show accounts, balances, statements and the log, and that make a ledger."""
