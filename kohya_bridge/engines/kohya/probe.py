"""`python -m kohya_bridge.engines.kohya.probe CHECKOUT`, in sd-scripts' interpreter: what is there, as one line of JSON.

In: a checkout. Out: package versions, torch's devices as `device.probe` tells of them, whether each hook can be imported. Run by the
doctor and by the setup's smoke test; changes nothing.
"""

from __future__ import annotations

import importlib.metadata
import json
import platform
import sys
import traceback
from pathlib import Path
from typing import Any

from ...device.accelerator import Accelerator
from ...device.probe import examine

OPTIONAL = (
    "bitsandbytes",
    "xformers",
    "tensorboard",
    "wandb",
    "lycoris-lora",
    "prodigyopt",
    "lion-pytorch",
    "schedulefree",
)


def installed() -> dict[str, str]:
    """Version of every distribution, by lower-case name."""
    return {
        str(each.metadata["Name"]).lower().replace("_", "-"): each.version
        for each in importlib.metadata.distributions()
        if each.metadata["Name"]
    }


def torch_facts() -> dict[str, Any]:
    """What torch can do on this machine. Empty when it can't be imported."""
    try:
        import torch
    except ImportError:
        return {}
    accelerator = Accelerator.find(torch)
    return {
        "version": torch.__version__,
        "arch_list": accelerator.built_for(),
        "devices": [each.to_json() for each in accelerator.describe_all()],
        "chosen": examine(torch).to_json(),
    }


def hooks(checkout: Path) -> dict[str, Any]:
    """Whether sd-scripts can be imported and still has every hook point: `error`, or `missing` names."""
    from .surface import missing_at_runtime
    from .upstream import load_upstream

    try:
        upstream = load_upstream(checkout, "train_network")
    except Exception as error:  # whatever keeps it from loading is the finding
        traceback.print_exc()
        return {"error": f"{type(error).__name__}: {error}"}
    return {"missing": missing_at_runtime(upstream)}


if __name__ == "__main__":
    told = {
        "python": platform.python_version(),
        "packages": installed(),
        "torch": torch_facts(),
        "hooks": hooks(Path(sys.argv[1])),
    }
    print("\n" + json.dumps(told), flush=True)
