"""Python environments of the pack: where their interpreter lies on each system, and how packages get into one.

In: a folder. Out: an interpreter and calls of its pip. Runs on a bare Python: standard library only.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TOLD_EVERY_S = 10.0
CPU_CONSTRAINTS = ROOT / "requirements" / "constraints-cpu.txt"


def interpreter_in(venv: Path, *, windows: bool = sys.platform == "win32") -> Path:
    """Where a virtual environment keeps its Python."""
    return venv / "Scripts" / "python.exe" if windows else venv / "bin" / "python"


def make_environment(venv: Path) -> Path:
    """The interpreter of `venv`, made by `$PYTHON` (default: this one) if it is not there. Exits with what is missing."""
    python = interpreter_in(venv)
    if not python.exists():
        maker = os.environ.get("PYTHON") or sys.executable
        if subprocess.run([maker, "-m", "venv", str(venv)], check=False).returncode:
            sys.exit(
                f"{maker} could not make {venv}: on Debian and Ubuntu install python3-venv, then run this again."
            )
    return python


def pip(python: Path, *arguments: str) -> None:
    """One call of pip, quiet but for a line now and then. Exits with its status when it fails."""
    status = told_status([str(python), "-m", "pip", "--disable-pip-version-check", "-qq", *arguments])
    if status:
        sys.exit(status)


def told_status(command: Sequence[str], *, every_s: float = TOLD_EVERY_S) -> int:
    """The exit status of a command that may say nothing for minutes; meanwhile a line tells every `every_s` seconds that it goes on."""
    began = time.monotonic()
    with subprocess.Popen(command) as child:
        while True:
            try:
                return child.wait(timeout=every_s)
            except subprocess.TimeoutExpired:
                print(f"  still installing, {time.monotonic() - began:.0f} s", flush=True)


def conflicts(python: Path) -> list[str]:
    """What pip finds wrong between the installed packages, one sentence each; each begins with the name of a package."""
    command = [str(python), "-m", "pip", "--disable-pip-version-check", "check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.splitlines() if done.returncode else []


def has_nvidia_gpu() -> bool:
    """Whether NVIDIA's driver finds a card."""
    tool = shutil.which("nvidia-smi")
    return tool is not None and subprocess.run([tool, "-L"], capture_output=True, check=False).returncode == 0


def installed(python: Path, package: str) -> str:
    """The version of a package there, without what names its build; empty where it is not installed."""
    script = f"import importlib.metadata as m; print(m.version({package!r}).split('+')[0])"
    return output_of([str(python), "-c", script])


def output_of(command: Sequence[str]) -> str:
    """What a command prints; empty where it fails or is not there."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def constraints_for(python: Path) -> str:
    """The line that holds torch at one version, or nothing: `$WIZDROID_TORCH`; with a GPU whatever is there; else the pinned one."""
    wish = os.environ.get("WIZDROID_TORCH")
    if wish:
        return wish
    if has_nvidia_gpu():
        there = installed(python, "torch")
        return f"torch=={there}" if there else ""
    return CPU_CONSTRAINTS.read_text("utf-8")


def shown(constraints: str) -> str:
    """Constraints as a person reads them."""
    lines = [line for line in constraints.splitlines() if line and not line.startswith("#")]
    return ", ".join(lines) or "newest"
