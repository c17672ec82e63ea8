"""Campaigns that hurt a run on purpose, bounded and seeded; `python -m scripts.chaos --help` lists them."""
