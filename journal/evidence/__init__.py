"""Tamper evidence: the Merkle tree over the events, signed roots, and proofs."""
