"""A cluster as the ledger: the embedded ledger's methods, answered by TigerBeetle."""
