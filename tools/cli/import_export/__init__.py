"""Commands that bring data in and out: import, import-cluster, export."""
