"""Commands for tamper evidence: keys, roots, proofs."""
