"""From a run to something that others can use: the LoRA with its provenance inside, its card, and its sidecars."""
