"""The kohya engine's part of `doctor`: what is there, what is missing, and the command for it.

In: where sd-scripts, its interpreter, a tokenizer folder and a base model lie. Out: findings, one for each thing looked at.
The interpreter is run once; nothing is installed or changed.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...device.description import Device
from ...device.graphics import has_code_for
from ...device.precision import usual
from ...errors import BridgeError, Unavailable
from ..contract import Problem, python_module_command
from .checkout import SETUP_COMMAND, Checkout, find_checkout, find_interpreter, pinned_commit
from .surface import checkout_sources, moved

NEEDED_GIB = 5.0  # checkpoints, states and cached latents of one SDXL run
PIN = re.compile(r"^([A-Za-z0-9_-]+)(?:\[[^\]]*\])?==([\w.+]+)", re.MULTILINE)
OPTIONAL = {
    "bitsandbytes": "AdamW8bit and other 8-bit optimisers",
    "xformers": "attention: xformers",
    "tensorboard": "loss curves in TensorBoard",
    "wandb": "loss curves in W&B",
    "prodigyopt": "Prodigy",
    "lion-pytorch": "Lion",
    "schedulefree": "AdamWScheduleFree",
}


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. `state` is ok, missing, warning or info; `fix` a command or a sentence."""

    what: str
    state: str
    found: str
    fix: str = ""


def examine(
    *, tokenizer_dir: Path | None = None, base_model: Path | None = None, workspace_dir: Path | None = None
) -> list[Finding]:
    """Look at everything that a run on the kohya engine needs on this machine."""
    findings, checkout, interpreter = [], None, None
    try:
        checkout = find_checkout()
        findings += _checkout_findings(checkout)
    except Unavailable as error:
        findings.append(Finding("sd-scripts", "missing", error.problem, SETUP_COMMAND))
    try:
        interpreter = find_interpreter()
    except Unavailable as error:
        findings.append(Finding("interpreter", "missing", error.problem, SETUP_COMMAND))
    if checkout and interpreter:
        findings += _interpreter_findings(checkout, interpreter)
    if tokenizer_dir:
        findings.append(_tokenizers(tokenizer_dir))
    if workspace_dir:
        findings.append(_disk(workspace_dir))
    if base_model:
        findings.append(_base_model(base_model))
    return findings


def quick_problems(checkout: Checkout) -> list[Problem]:
    """What is wrong with a checkout that can be seen from its files alone, in milliseconds."""
    gone = moved(checkout_sources(checkout.dir))
    if not gone:
        return []
    return [
        Problem(
            "foreign_checkout",
            f"This sd-scripts ({checkout.commit[:12]}) lacks what the runner hooks into: {gone[0]}",
            f"Check out the pinned commit: `{SETUP_COMMAND}`.",
        )
    ]


def _checkout_findings(checkout: Checkout) -> list[Finding]:
    pinned = pinned_commit()
    found = [Finding("sd-scripts", "ok", f"{checkout.dir} at {checkout.commit[:12]}")]
    if checkout.commit != pinned:
        found.append(
            Finding(
                "sd-scripts commit",
                "warning",
                f"{checkout.commit[:12]}; this pack is tested with {pinned[:12]}",
                f"git -C {checkout.dir} checkout {pinned}",
            )
        )
    gone = moved(checkout_sources(checkout.dir))
    found.append(
        Finding("hook points", "missing", " ".join(gone), SETUP_COMMAND)
        if gone
        else Finding("hook points", "ok", "all there")
    )
    return found


def _interpreter_findings(checkout: Checkout, interpreter: Path) -> list[Finding]:
    told = run_probe(checkout, interpreter)
    if told is None:
        return [Finding("interpreter", "missing", f"{interpreter} does not answer", SETUP_COMMAND)]
    found = [Finding("interpreter", "ok", f"{interpreter}, Python {told['python']}")]
    hooks = told["hooks"]
    if hooks.get("error"):
        found.append(Finding("import of sd-scripts", "missing", hooks["error"], SETUP_COMMAND))
    elif hooks.get("missing"):
        found.append(
            Finding("hook points at run time", "missing", ", ".join(hooks["missing"]), SETUP_COMMAND)
        )
    else:
        found.append(Finding("import of sd-scripts", "ok", "every hook imported"))
    return [*found, *_package_findings(checkout, told["packages"]), *_torch_findings(told["torch"])]


def run_probe(checkout: Checkout, interpreter: Path) -> dict[str, Any] | None:
    """What `probe` says in sd-scripts' interpreter, or None when it can't be run."""
    command = python_module_command(
        "kohya_bridge.engines.kohya.probe", str(checkout.dir), interpreter=str(interpreter)
    )
    try:
        answer = subprocess.run(
            command.argv,
            cwd=command.cwd,
            env={**os.environ, **command.environment},
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="replace",
            timeout=300,
        )
        return dict(json.loads(answer.stdout.strip().splitlines()[-1]))
    except (OSError, subprocess.TimeoutExpired, ValueError, RecursionError, IndexError):
        return None


def _package_findings(checkout: Checkout, installed: dict[str, str]) -> list[Finding]:
    file = checkout.dir / "requirements.txt"
    pins = (
        {name.lower().replace("_", "-"): version for name, version in PIN.findall(file.read_text("utf-8"))}
        if (file.is_file())
        else {}
    )
    found = []
    for name, version in sorted(pins.items()):
        if name in OPTIONAL or name == "opencv-python":
            continue
        have = installed.get(name)
        if have is None and name not in ("ftfy", "pytorch-optimizer", "prodigy-plus-schedule-free"):
            found.append(
                Finding(name, "missing", f"not installed; sd-scripts asks for {version}", SETUP_COMMAND)
            )
        elif have is not None and have != version:
            found.append(
                Finding(
                    name,
                    "warning",
                    f"{have}; sd-scripts asks for {version}",
                    f"pip install {name}=={version}",
                )
            )
    if not {"opencv-python", "opencv-python-headless"} & set(installed):
        found.append(Finding("opencv", "missing", "not installed", SETUP_COMMAND))
    for name, purpose in OPTIONAL.items():
        have = installed.get(name)
        state, text = ("ok", have) if have else ("info", f"not installed (optional: {purpose})")
        found.append(Finding(name, state, str(text), "" if have else f'{SETUP_COMMAND} EXTRAS="{name}"'))
    return found


def _torch_findings(torch: dict[str, Any]) -> list[Finding]:
    if not torch:
        return [Finding("torch", "missing", "not installed", SETUP_COMMAND)]
    devices = [Device.from_json(each) for each in torch["devices"]]
    chosen = usual(Device.from_json(torch["chosen"]))
    return [
        Finding("torch", "ok", torch["version"]),
        *(_device_finding(each, torch["arch_list"]) for each in devices),
        Finding("mixed_precision", "ok", f"auto is {chosen.reason}"),
    ]


def _device_finding(device: Device, arch_list: list[str]) -> Finding:
    if not device.is_gpu:
        slow = "none that torch can use; training on the CPU is very slow"
        return Finding("GPU", "warning", slow, "Install the GPU's driver.")
    memory = f"{device.memory_gib} GiB" if device.memory_gib else ""
    text = ", ".join(each for each in (device.name, memory, device.arch) if each)
    if has_code_for(device, arch_list):
        return Finding("GPU", "ok", text)
    return Finding(
        "GPU",
        "missing",
        f"{text}: this torch has code for {', '.join(arch_list)} only",
        "Install a torch build for this GPU (see pytorch.org) into .venv-kohya.",
    )


def _tokenizers(tokenizer_dir: Path) -> Finding:
    if all((tokenizer_dir / name).is_file() for name in ("vocab.json", "merges.txt")):
        return Finding("CLIP tokenizer", "ok", str(tokenizer_dir))
    return Finding(
        "CLIP tokenizer",
        "missing",
        "vocab.json and merges.txt were not found",
        "Run inside ComfyUI, or set COMFYUI_DIR.",
    )


def _disk(workspace_dir: Path) -> Finding:
    place = next(each for each in (workspace_dir, *workspace_dir.parents) if each.exists())
    free = shutil.disk_usage(place).free / 2**30
    state = "ok" if free >= NEEDED_GIB else "warning"
    return Finding(
        "disk",
        state,
        f"{free:.1f} GiB free in {place}",
        "" if state == "ok" else f"Free {NEEDED_GIB:.0f} GiB.",
    )


def _base_model(file: Path) -> Finding:
    from ...models.base_models import inspect_base_model

    try:
        facts = inspect_base_model(file)
    except BridgeError as error:
        return Finding("base model", "missing", error.problem, error.fix)
    return Finding("base model", "ok", f"{file.name}: {facts.family}")
