"""A TigerBeetle cluster on this machine: made once, kept running, asked how it is, stopped."""
