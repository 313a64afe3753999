"""Domains: what users define, their values on disk, and their tables at every moment."""
