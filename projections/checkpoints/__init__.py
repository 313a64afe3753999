"""Checkpoints: writing them, restoring from them, auditing them, and running any projection."""
