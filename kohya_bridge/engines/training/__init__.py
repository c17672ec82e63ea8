"""The trainer: loop, data, batches, caches, objective, adapters, optimisers, states. It knows models by a protocol only."""
