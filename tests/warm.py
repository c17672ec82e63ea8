"""Imports what the trainers of the tests import, in a fork server that does nothing else: see `forks.py`.

`tests/test_forks.py` says when a trainer begins to import more than this.
"""

from __future__ import annotations

import importlib
from contextlib import suppress

from kohya_bridge.engines.native.diffusers_side.quick_imports import import_diffusers

import_diffusers()  # first: it imports diffusers as a trainer does, without what the following imports bring

for name in (
    "kohya_bridge.engines.training.fit",
    "kohya_bridge.engines.native.sides",
    "kohya_bridge.engines.native.diffusers_side.side",
    "kohya_bridge.engines.native.render",
    "kohya_bridge.engines.kohya.attempt",
    "kohya_bridge.engines.kohya.hooks",
    "kohya_bridge.engines.kohya.upstream",
    "accelerate",
    "torchvision",
    "torch._dynamo",
    "bitsandbytes",
):
    with suppress(ModuleNotFoundError):
        importlib.import_module(name)
