"""Train a character from a shell: check what is needed, train, and leave the log where people look for it.

    scripts/train_lora.sh CONFIG [options of `python -m kohya_bridge train`]
    python -m scripts.train_lora alice --set unet_lr=5e-5        (the same, on every system)

CONFIG is a YAML file or the name of one. A name without a config takes the template $TEMPLATE (default sd15_character) with the
dataset of that name and the base model $BASE. The run goes on when this terminal is closed; the same command again attaches.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from .environments import ROOT, interpreter_in

NEEDED = ("torch", "diffusers", "peft", "pydantic")
NOTHING_TO_DO, NO_CONFIG, NOT_INSTALLED = 2, 4, 6


def main(arguments: Sequence[str]) -> int:
    if not arguments:
        print((__doc__ or "").strip(), file=sys.stderr)
        return NOTHING_TO_DO
    python = interpreter()
    if sys.version_info < (3, 10):  # noqa: UP036  a bare Python may be any
        print(f"Python 3.10 or newer is needed; {sys.executable} is older.", file=sys.stderr)
        return NOT_INSTALLED
    if not has_packages(python):
        print(
            f"Packages are missing. Install them with `python -m scripts.install pack`, or pip install -r "
            f"{ROOT / 'requirements.txt'}; `python -m kohya_bridge doctor` says which.",
            file=sys.stderr,
        )
        return NOT_INSTALLED
    words = words_for(arguments[0], arguments[1:])
    if words is None:
        print(
            f"There is no config {arguments[0]!r}. To train the dataset of that name, name a base model: BASE=model.safetensors",
            file=sys.stderr,
        )
        return NO_CONFIG
    return _train(python, words)


def interpreter() -> Path:
    """`$PYTHON`, else the environment's, else the one that runs this."""
    given = os.environ.get("PYTHON")
    own = interpreter_in(ROOT / os.environ.get("VENV", ".venv"))
    return Path(given) if given else own if own.exists() else Path(sys.executable)


def has_packages(python: Path) -> bool:
    if python == Path(sys.executable):
        return all(importlib.util.find_spec(name) for name in NEEDED)
    script = f"import importlib.util as u, sys; sys.exit(not all(map(u.find_spec, {NEEDED!r})))"
    return subprocess.run([str(python), "-c", script], check=False).returncode == 0


def words_for(config: str, rest: Sequence[str]) -> list[str] | None:
    """The words of `kohya_bridge train`; None for a name that has neither a config nor a base model."""
    workspace = Path(os.environ.get("WIZDROID_TRAINING") or ROOT / "training")
    configs = [each / "kohya" / "configs" / f"{config}.yaml" for each in (workspace, ROOT / "training")]
    if any(each.is_file() for each in (Path(config), *configs)):
        return [config, "--wait", *rest]
    base = os.environ.get("BASE")
    if not base:
        return None
    template = os.environ.get("TEMPLATE") or "sd15_character"
    return [template, "--wait", "--set", f"dataset={config}", "--set", f"base_model={base}", *rest]


def _train(python: Path, words: list[str]) -> int:
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH", "")])])
    command = [str(python), "-m", "kohya_bridge", "train", *words]
    environment = {**os.environ, "PYTHONPATH": path}
    if os.name == "posix":  # Ctrl-C and the exit code are then the trainer's own
        os.execve(command[0], command, environment)
    return subprocess.run(command, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
