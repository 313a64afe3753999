"""The rules: pure functions that decide one account or transfer, and what posting changes."""
