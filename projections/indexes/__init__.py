"""What is derived from the journal so that look-ups and queries need not scan it."""
