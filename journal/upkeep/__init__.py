"""What operators do to a journal: verify, back up, restore and repair it."""
