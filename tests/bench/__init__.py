"""Benchmarks that only developers run: other systems at the same work, the mirror, and plots."""
