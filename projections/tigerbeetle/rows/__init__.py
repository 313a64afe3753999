"""Rows on both sides: how the journal's events look in a cluster, compared and paired."""
