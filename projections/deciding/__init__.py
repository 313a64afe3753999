"""Deciding a request: what is in flight, chains, expiry, and the two fast paths."""
