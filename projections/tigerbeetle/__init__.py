"""TigerBeetle beside the journal: a live mirror of it, and the way from one to the other.

Nothing here is loaded unless a cluster is configured.
"""
