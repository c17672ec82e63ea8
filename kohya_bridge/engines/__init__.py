"""Engines: who trains. `contract` is what both sides agree on, `child` the half that lives in the trainer's process."""
