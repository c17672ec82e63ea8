"""`python -m kohya_bridge.engines.native.gradients JOB.json`: check the gradients of one base model through this ComfyUI.

In: a job (`gradient_check.py` writes it). Out: one line of JSON on stdout: the verdict, or a problem and its fix.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from ... import json_text
from ...device.accelerator import Accelerator
from ...errors import BridgeError
from ...plan import BaseModelFacts
from ..child import ChildFailure
from .host_side.side import HostSide


def check(job: dict[str, str]) -> dict[str, object]:
    """The verdict as JSON."""
    device = torch.device(Accelerator.find(torch).type)
    base = BaseModelFacts(name=job["name"], sha256=job["sha256"], family=job["family"])
    paths = {name: Path(value) for name, value in job.items()}
    side = HostSide(base, paths, dtype=torch.float32, device=device)
    return {**side.made_up_gradients().to_json(), "comfyui": side.host.name}


def main(arguments: Sequence[str]) -> int:
    (job_file,) = arguments
    try:
        found = check(json.loads(Path(job_file).read_text("utf-8")))
    except (BridgeError, ChildFailure) as error:
        print(json_text.write({"problem": error.problem, "fix": error.fix}), flush=True)
        return 1
    print(json_text.write(found), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
