"""A training from the question to the end: checked, queued, watched, lent, settled."""
