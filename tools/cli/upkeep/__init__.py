"""Commands that keep a ledger safe: backup, restore, repair, verify."""
