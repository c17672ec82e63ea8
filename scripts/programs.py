"""Programs beside Python that tests need: `python -m scripts.programs chromium node` installs what is missing, where it may.

It may on Debian and Ubuntu, as root or with a sudo that asks for no password. What is there already is left alone; for what can't
be installed a line says what is not tested. The exit code is 0 in either case: a test that lacks its program is skipped and
says so. Runs on a bare Python: standard library only.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Program:
    """A program under any of its names, the variable that may name another one, its package, and what lacks without it."""

    commands: tuple[str, ...]
    package: str
    not_tested: str
    variable: str = ""

    def find(self) -> str | None:
        """Its path, or None."""
        named = os.environ.get(self.variable) if self.variable else None
        return named or next(filter(None, map(shutil.which, self.commands)), None)


PROGRAMS = {
    "chromium": Program(
        ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"),
        "chromium",
        "the panel in a browser. Install Chromium, or name a browser of its kind in CHROMIUM.",
        "CHROMIUM",
    ),
    "node": Program(("node",), "nodejs", "the panel's scripts by themselves. Install Node 20 or newer."),
}


def main(names: Sequence[str]) -> int:
    unknown = [each for each in names if each not in PROGRAMS]
    if unknown:
        print(
            f"install: no program is known as {unknown[0]!r}; programs: {' '.join(PROGRAMS)}", file=sys.stderr
        )
        return 2
    missing = [each for each in names if not PROGRAMS[each].find()]
    if missing and (apt := _apt()):
        _say(f"{' '.join(missing)} (apt-get)")
        _run([*apt, "update"])
        for name in missing:
            _run([*apt, "install", "-y", "--no-install-recommends", PROGRAMS[name].package])
    for name in missing:
        if not PROGRAMS[name].find():
            _say(f"not tested: {PROGRAMS[name].not_tested}")
    return 0


def _apt() -> list[str] | None:
    """How to call apt-get with the rights that it needs; None where there is no way without asking somebody."""
    if not shutil.which("apt-get"):
        return None
    if os.geteuid() == 0:
        return ["apt-get", "-qq"]
    as_root = ["sudo", "-n"]
    return [*as_root, "apt-get", "-qq"] if _run([*as_root, "true"]) == 0 else None


def _run(command: Sequence[str]) -> int:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    try:
        return subprocess.run(command, env=environment, capture_output=True, check=False).returncode
    except OSError:
        return 127


def _say(text: str) -> None:
    print(f"install: {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
