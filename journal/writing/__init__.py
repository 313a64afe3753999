"""Appending: the one writer, its active segment, recovery of a journal, the manifest."""
