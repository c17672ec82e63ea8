"""The panel's own tests, in JavaScript: `node --test tests/js/` runs the same."""

import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.mark.parametrize("name", sorted(file.name for file in HERE.glob("*.test.mjs")))
def test_the_panels_scripts_pass_their_tests(name):
    run_by_node(name)


@pytest.mark.limits
def test_the_panels_scripts_are_quick():
    run_by_node("limits.mjs")


def run_by_node(name):
    if not shutil.which("node"):
        pytest.skip("Node is not installed: the panel's scripts are not tested by themselves")
    done = subprocess.run(["node", "--test", name], cwd=HERE, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
