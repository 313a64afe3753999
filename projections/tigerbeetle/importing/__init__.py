"""Making a journal from a cluster, and following it."""
