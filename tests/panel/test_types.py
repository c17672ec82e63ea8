"""The panel's JSDoc types hold."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
CACHE = Path(os.environ.get("WIZDROID_CACHE") or ROOT / ".cache")
TSC = CACHE / "npm" / "node_modules" / ".bin" / "tsc"


def test_the_panel_keeps_its_types():
    if not TSC.exists():
        pytest.skip(
            "TypeScript is not installed (make test does where npm is): the panel's types are not checked"
        )
    known = CACHE / "panel-types.tsbuildinfo"  # what it found of files that are still the same
    done = subprocess.run(
        [str(TSC), "-p", "web", "--incremental", "--tsBuildInfoFile", str(known)],
        cwd=ROOT, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
