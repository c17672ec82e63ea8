"""What this pack brings to a ComfyUI: files, packages that ComfyUI itself does not ask for, and time to import.

    python -m scripts.footprint

In: this checkout and the ComfyUI of the tests. Out: a few lines. Sizes of packages are those of the installed files; the
wheels that pip fetches are smaller. Nothing is installed or changed.
"""

from __future__ import annotations

import importlib.metadata
import io
import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

from .host.comfy_install import ROOT, find_comfyui

MEASURED = 3
"""Fresh interpreters; the fastest counts, because other programs slow down the rest."""


def main() -> None:
    files = shipped_files()
    size = sum(file.stat().st_size for file in files)
    print(f"the pack: {len(files)} files, {size / 1e6:.1f} MB, {zipped(files) / 1e6:.1f} MB as a zip")
    found = added_packages()
    print(f"packages beside ComfyUI's own: {len(found)}, {sum(found.values()) / 1e6:.0f} MB installed")
    for name, its_size in sorted(found.items(), key=lambda each: -each[1]):
        print(f"  {name} {importlib.metadata.version(name)}: {its_size / 1e6:.1f} MB")
    for line in raised_requirements():
        print(f"  asks more than ComfyUI does: {line}")
    best = min(import_cost()["seconds"] for _ in range(MEASURED))
    counted = import_cost("calls")
    print(
        f"import, schemas of all nodes included: {1000 * best:.0f} ms of processor time, {counted['calls']:,} function "
        f"calls; packages loaded by it: {', '.join(counted['packages'])}"
    )


def shipped_files() -> list[Path]:
    """What the registry hands out: every file under version control that `.comfyignore` does not leave out."""

    def listed(*options: str) -> set[str]:
        told = subprocess.run(["git", "ls-files", "-z", *options], cwd=ROOT, capture_output=True, check=True)
        return set(told.stdout.decode().split("\0")) - {""}

    names = listed() - listed("--cached", "--ignored", "--exclude-from=.comfyignore")
    return sorted(ROOT / name for name in names if (ROOT / name).is_file())


def zipped(files: list[Path]) -> int:
    """Bytes of these files in one zip."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in files:
            archive.write(file, file.relative_to(ROOT))
    return buffer.tell()


def added_packages() -> dict[str, int]:
    """Installed packages that ours need and ComfyUI's do not, with the bytes of their files."""
    added = _needed(_lines(ROOT)) - _needed(_lines(find_comfyui().dir))
    return {name: _bytes_of(name) for name in sorted(added)}


def raised_requirements() -> list[str]:
    """Our lines about packages that ComfyUI asks for as well, where ours may make pip fetch a newer one."""
    theirs = {_plain(each.name): each for each in map(Requirement, _lines(find_comfyui().dir))}
    ours = map(Requirement, _lines(ROOT))
    return [
        f"{each} (ComfyUI: {theirs[_plain(each.name)]})"
        for each in ours
        if each.specifier and _plain(each.name) in theirs and str(each) != str(theirs[_plain(each.name)])
    ]


def import_cost(measure: str = "seconds") -> dict[str, Any]:
    """What `scripts/host/import_cost.py` finds in an interpreter that has loaded ComfyUI and nothing of ours.

    `measure` is `seconds` (of processor time) or `calls` (of Python functions).
    """
    install = find_comfyui()
    script = ROOT / "scripts" / "host" / "import_cost.py"
    command = [sys.executable, script, install.dir, str(install.torchvision_dir or ""), ROOT, measure]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    answer = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    cost: dict[str, Any] = json.loads(answer.stdout.splitlines()[-1])
    return cost


def _lines(folder: Path) -> list[str]:
    lines = (folder / "requirements.txt").read_text("utf-8").splitlines()
    return [line for line in lines if line.strip() and not line.startswith("#")]


def _needed(lines: list[str]) -> set[str]:
    """Names of everything that these requirements lead to, as far as it is installed."""
    found: set[str] = set()
    waiting = [Requirement(line) for line in lines]
    while waiting:
        wanted = waiting.pop()
        name = _plain(wanted.name)
        if name in found or (wanted.marker and not wanted.marker.evaluate({"extra": ""})):
            continue
        try:
            needs = importlib.metadata.distribution(name).requires or []
        except importlib.metadata.PackageNotFoundError:
            continue
        found.add(name)
        waiting += [Requirement(each) for each in needs]
    return found


def _bytes_of(name: str) -> int:
    files = importlib.metadata.distribution(name).files or []
    there = [Path(str(file.locate())) for file in files]
    return sum(file.stat().st_size for file in there if file.is_file())


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    main()
