"""The demo's base model: how it was drawn, trained, packed, and how its checkpoint is put together again."""
