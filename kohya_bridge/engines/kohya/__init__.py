"""The kohya engine: sd-scripts, unmodified and at a pinned commit, in its own interpreter under our runner."""
