"""The gradient check, as a parent asks for it: in a child, since it loads torch and ComfyUI's models.

In: a base model's file, its family and files, ComfyUI's folder. Out: a `Checked`. Trains nothing, and remembers its answer in the cache.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ... import json_text
from ...counted import counted
from ..contract import python_module_command

LONGEST_S = 1800  # loading a model of 40 GB from a slow disk included


@dataclass(frozen=True)
class Checked:
    """What was found: `problem` is empty where the gradients are right, else a sentence with its `fix`."""

    found: str
    problem: str = ""
    fix: str = ""


def check_gradients(
    base_file: Path, *, sha256: str, family: str, files: Mapping[str, str], comfyui_dir: Path, cache_dir: Path
) -> Checked:
    """Check this model's gradients now, or take what is remembered of them."""
    job = {
        **files,
        "base_model_file": str(base_file),
        "name": base_file.name,
        "sha256": sha256,
        "family": family,
        "comfyui_dir": str(comfyui_dir),
        "cache_dir": str(cache_dir),
    }
    with tempfile.TemporaryDirectory(prefix="gradients-") as folder:
        job_file = Path(folder) / "job.json"
        job_file.write_text(json_text.write(job), encoding="utf-8")
        command = python_module_command("kohya_bridge.engines.native.gradients", str(job_file))
        return _asked(command.argv, command.cwd, command.environment)


def _asked(argv: tuple[str, ...], cwd: Path, environment: Mapping[str, str]) -> Checked:
    try:
        asked = subprocess.run(
            argv,
            cwd=cwd,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=LONGEST_S,
        )
    except subprocess.TimeoutExpired:
        return Checked(
            "", f"The check did not end within {LONGEST_S // 60} minutes.", "Try it on a faster machine."
        )
    lines = [line for line in asked.stdout.splitlines() if line.startswith("{")]
    if not lines:
        last = (asked.stderr.strip().splitlines() or ["nothing was said"])[-1]
        return Checked("", f"The check broke off: {last}", "Run it in the Python that ComfyUI runs with.")
    told = json.loads(lines[-1])
    if "problem" in told:
        return Checked("", told["problem"], told["fix"])
    return Checked(
        f"right: the worst of {told['measured']} gradients is off by {told['worst']:.1e}, recomputed blocks change nothing "
        f"(ComfyUI {told['comfyui']}, {counted(told['layers'], 'layer')})"
    )
