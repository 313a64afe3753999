"""The mirror: a process that keeps a cluster the journal's exact copy."""
