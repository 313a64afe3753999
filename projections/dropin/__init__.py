"""TigerBeetle's Python client on a local ledger; :mod:`nostro.dropin` shows its public names."""
