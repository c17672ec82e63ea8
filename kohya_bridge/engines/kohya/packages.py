"""Optional packages that a plan needs in the trainer's interpreter, asked for before the models are loaded.

In: a plan and an interpreter. Out: problems. The interpreter only looks the modules up (0.1 s); it imports none of them.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from ...plan import TrainingPlan
from ..contract import Problem
from .checkout import SETUP_COMMAND

# By module name: the distribution to install.
BY_OPTIMISER = {
    "bitsandbytes": ("8bit", "paged", "ademamix"),
    "lion_pytorch": ("lion",),
    "prodigyopt": ("prodigy",),
    "schedulefree": ("schedulefree",),
    "dadaptation": ("dadapt",),
}
DISTRIBUTIONS = {"lion_pytorch": "lion-pytorch", "lycoris": "lycoris-lora"}
LOOK_UP = (
    "import importlib.util, json, sys; "
    "print(json.dumps([name for name in sys.argv[1:] if importlib.util.find_spec(name) is None]))"
)


def needed_modules(plan: TrainingPlan) -> list[str]:
    """Top-level modules that this plan's optimiser, attention and network need beyond sd-scripts' own pins."""
    optimiser = str(plan.kohya.get("optimizer_type", plan.settings.optimizer_type))
    if "." in optimiser:
        found = [optimiser.split(".")[0]]
    else:
        marks = optimiser.lower()
        found = [
            next((name for name, parts in BY_OPTIMISER.items() if any(part in marks for part in parts)), "")
        ]
    found.append("xformers" if plan.settings.attention == "xformers" else "")
    found.append(str(plan.kohya.get("network_module", "networks")).split(".")[0])
    return [name for name in dict.fromkeys(found) if name and name not in ("networks", "torch")]


def package_problems(plan: TrainingPlan, interpreter: Path) -> list[Problem]:
    """What of `needed_modules` the interpreter does not have."""
    needed = needed_modules(plan)
    if not needed:
        return []
    try:
        answer = subprocess.run(
            [str(interpreter), "-c", LOOK_UP, *needed], capture_output=True, text=True, timeout=60, check=True
        )
        missing = json.loads(answer.stdout.strip().splitlines()[-1])
    except (OSError, subprocess.SubprocessError, ValueError, RecursionError, IndexError):
        return []  # an interpreter that can't even answer this is told of by the option list
    return [
        Problem(
            "missing_package",
            f"This plan needs {DISTRIBUTIONS.get(name, name)}, which the kohya trainer's interpreter lacks.",
            f'{SETUP_COMMAND} EXTRAS="{DISTRIBUTIONS.get(name, name)}"',
        )
        for name in missing
    ]
