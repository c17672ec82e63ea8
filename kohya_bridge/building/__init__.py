"""From choices to a character: the builder's options, its phrasing, its triggers, and what a dataset still lacks."""
