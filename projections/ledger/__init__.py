"""The public ledger: sync, asyncio, past, read-only, and what chooses a backend."""
