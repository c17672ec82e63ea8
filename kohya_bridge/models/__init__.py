"""Model files on this machine: where they lie, what they are, and what a LoRA file says of itself."""
