"""Where sd-scripts is, at which commit, and which interpreter runs it.

In: the environment (`KOHYA_SD_SCRIPTS`, `KOHYA_PYTHON`) and the pack's own `third_party/kohya_ss` and `.venv-kohya`. Out:
a `Checkout` and an interpreter, or an error that says how to get them. A kohya_ss GUI checkout with a nested
`sd-scripts/` is taken too. Nothing is imported or changed. Standard library only.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from ...errors import Unavailable
from ...workspace import PACK_ROOT

VERSION_FILE = PACK_ROOT / "training" / "kohya" / "VERSION"
SUBMODULE_DIR = PACK_ROOT / "third_party" / "kohya_ss"
VENV_DIR = PACK_ROOT / ".venv-kohya"
MARK = "train_network.py"
SETUP_COMMAND = "make kohya"


def pinned_commit() -> str:
    """The sd-scripts commit that this pack is made and tested for."""
    return VERSION_FILE.read_text("ascii").strip()


@dataclass(frozen=True)
class Checkout:
    """A folder with sd-scripts in it."""

    dir: Path
    commit: str
    """40 hex digits, or `tree-` and a digest of the trainer's source where there is no git repository."""


def find_checkout() -> Checkout:
    """The checkout to use: `$KOHYA_SD_SCRIPTS`, else the submodule.

    Raises:
        Unavailable: neither holds `train_network.py`.
    """
    given = os.environ.get("KOHYA_SD_SCRIPTS", "")
    for place in [Path(given).expanduser()] if given else [SUBMODULE_DIR]:
        for folder in (place, place / "sd-scripts"):
            if (folder / MARK).is_file():
                folder = folder.resolve()
                return Checkout(folder, commit_of(folder))
    if given:
        raise Unavailable(
            "KOHYA_SD_SCRIPTS names a folder without train_network.py.",
            "Point it at a checkout of kohya-ss/sd-scripts, or unset it to use third_party/kohya_ss.",
        )
    raise Unavailable(
        "The kohya trainer is not checked out: third_party/kohya_ss is empty.",
        f"Run `{SETUP_COMMAND}`, or choose the native engine.",
    )


def find_interpreter() -> Path:
    """The Python that has sd-scripts' packages: `$KOHYA_PYTHON`, else `.venv-kohya`.

    Raises:
        Unavailable: it is not there.
    """
    given = os.environ.get("KOHYA_PYTHON", "")
    scripts = VENV_DIR / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    interpreter = Path(given).expanduser() if given else scripts
    if interpreter.is_file():
        return (
            interpreter.absolute()
        )  # not resolved: a venv's python is a link, and the link is what makes it a venv
    raise Unavailable(
        f"The kohya trainer's interpreter is not there: {'KOHYA_PYTHON' if given else '.venv-kohya'}.",
        f"Run `{SETUP_COMMAND}`, or choose the native engine.",
    )


def commit_of(folder: Path) -> str:
    """The checked-out commit, or a digest of the trainer's source where git can't tell."""
    try:
        answer = subprocess.run(
            ["git", "-C", str(folder), "rev-parse", "HEAD", "--show-toplevel"],
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        ).stdout.split("\n")
        if re.fullmatch(r"[0-9a-f]{40}", answer[0]) and Path(answer[1]).resolve() == folder.resolve():
            return answer[0]
    except (OSError, subprocess.SubprocessError):
        pass  # no git here, or no repository: the source itself tells which version it is
    digest = hashlib.sha256()
    for name in (MARK, "library/train_util.py"):
        if (folder / name).is_file():
            digest.update((folder / name).read_bytes())
    return f"tree-{digest.hexdigest()[:12]}"
