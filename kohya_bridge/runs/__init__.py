"""Around a run: what is asked before, kept meanwhile and told after."""
