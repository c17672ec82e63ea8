"""Make .venv and install the named groups into it: `python -m scripts.install [pack] [optim] [host] [test]`.

A second call with nothing changed is instant. Runs on a bare Python, on every system. Environment variables:

    PYTHON          interpreter that makes the environment (default: the one that runs this)
    VENV            where it lies (default .venv)
    WIZDROID_CACHE  where packages lie that only the ComfyUI host or the tests see (default .cache)
    WIZDROID_TORCH  a requirement such as torch==2.13.0, in place of the default: constraints-cpu.txt without a GPU,
                    the newest torch with one; a torch that is installed already is kept
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from .environments import (
    ROOT,
    conflicts,
    constraints_for,
    has_nvidia_gpu,
    make_environment,
    output_of,
    pip,
    shown,
)

REQUIREMENTS = ROOT / "requirements"
Pip = Callable[..., None]


def main(arguments: Sequence[str]) -> int:
    groups = list(arguments) or ["pack"]
    unknown = [each for each in groups if each not in GROUPS]
    if unknown:
        print(f"install: there is no group {unknown[0]!r}; groups: {' '.join(GROUPS)}", file=sys.stderr)
        return 2
    venv = ROOT / os.environ.get("VENV", ".venv")
    wanted = stamp()
    missing = [each for each in groups if _noted(venv, each) != wanted]
    if missing:
        _install(venv, missing, wanted)
    return 0


def stamp() -> str:
    """A digest of all that decides what is installed."""
    digest = hashlib.sha256()
    for file in (ROOT / "requirements.txt", *sorted(REQUIREMENTS.glob("*.txt")), Path(__file__)):
        digest.update(file.read_bytes().replace(b"\r\n", b"\n"))
    return f"{digest.hexdigest()}-{os.environ.get('WIZDROID_TORCH', 'default')}"


def _noted(venv: Path, group: str) -> str:
    try:
        return (venv / f".installed-{group}").read_text("utf-8").strip()
    except OSError:
        return ""


def _install(venv: Path, groups: Sequence[str], wanted: str) -> None:
    python = make_environment(venv)
    constraints = constraints_for(python)
    file = venv / "constraints.txt"
    file.write_text(constraints + "\n", encoding="utf-8")
    cache = ROOT / os.environ.get("WIZDROID_CACHE", ".cache")

    def held(*rest: str) -> None:
        # pip would complain in red of every package that `apart` brought without its requirements; see `_tell_conflicts`
        pip(python, "install", "--no-warn-conflicts", "-c", str(file), *rest)

    def apart(*rest: str) -> None:
        pip(python, "install", "--no-deps", *rest)

    _say(f"torch ({shown(constraints)})")
    held("torch")
    for group in groups:
        _say(group)
        GROUPS[group](held, apart, cache)
        (venv / f".installed-{group}").write_text(wanted + "\n", encoding="utf-8")
    _tell_conflicts(python)
    _warn_of_torchvision(python)


def _pack(held: Pip, apart: Pip, cache: Path) -> None:
    held("-r", str(ROOT / "requirements.txt"))


def _optim(held: Pip, apart: Pip, cache: Path) -> None:
    held("-r", str(REQUIREMENTS / "optim.txt"))


def _host(held: Pip, apart: Pip, cache: Path) -> None:
    held("-r", str(REQUIREMENTS / "host.txt"))
    apart("-r", str(REQUIREMENTS / "host-no-deps.txt"))
    apart(
        "--upgrade",
        "--target",
        str(cache / "host" / "torchvision"),
        "-r",
        str(REQUIREMENTS / "host-torchvision.txt"),
    )


def _test(held: Pip, apart: Pip, cache: Path) -> None:
    held("-r", str(REQUIREMENTS / "test.txt"))
    apart("-r", str(REQUIREMENTS / "test-no-deps.txt"))
    apart(
        "--upgrade",
        "--target",
        str(cache / "newest-frontend"),
        "-r",
        str(REQUIREMENTS / "newest-frontend.txt"),
    )
    npm = shutil.which("npm")  # on Windows a .cmd, which only its full name starts
    if npm:  # The panel's types are checked where npm is; the panel itself needs no package of it.
        quiet = ["--silent", "--no-fund", "--no-audit", "--prefix", str(cache / "npm")]
        subprocess.run([npm, "install", *quiet, "typescript@5"], stdout=subprocess.DEVNULL, check=False)


GROUPS: dict[str, Callable[[Pip, Pip, Path], None]] = {
    "pack": _pack,
    "optim": _optim,
    "host": _host,
    "test": _test,
}


def _tell_conflicts(python: Path) -> None:
    """Say which packages do not fit together, but for those that are here without their own requirements on purpose."""
    lines = "\n".join(file.read_text("utf-8") for file in REQUIREMENTS.glob("*-no-deps.txt")).splitlines()
    alone = {line.partition("==")[0].strip() for line in lines if line and not line.startswith("#")}
    for sentence in conflicts(python):
        if sentence.partition(" ")[0] not in alone:
            _say(sentence)


def _warn_of_torchvision(python: Path) -> None:
    there = output_of(
        [str(python), "-c", "import importlib.util as u; print(u.find_spec('torchvision') is not None)"]
    )
    if there == "True" and not has_nvidia_gpu():
        _say("torchvision is installed; without a GPU build it breaks diffusers: pip uninstall torchvision")


def _say(text: str) -> None:
    print(f"install: {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
