"""docs/panel.md says what is there."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.panel.loaded_pack import pack_module

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = (ROOT / "docs" / "panel.md").read_text("utf-8")


def exported(expression):
    """A value of the panel's modules."""
    script = 'import { VERBS } from "./web/js/steering.js"; import { SETTINGS } from "./web/js/menus.js";' + (
        f"console.log(JSON.stringify({expression}))"
    )
    done = subprocess.run(
        ["node", "--input-type=module", "-e", script], cwd=ROOT, capture_output=True, text=True
    )
    return json.loads(done.stdout)


def test_every_route_is_documented_as_it_is_and_no_other():
    told = re.findall(r"^\| (GET|POST) \| `([^`]+)` \| (.+) \|$", PAGE, re.MULTILINE)
    there = [(each.method, each.path, each.meaning) for each in pack_module("nodes.routes").ROUTES]
    assert told == there


def test_state_changes_are_posts_and_looking_is_a_get():
    for route in pack_module("nodes.routes").ROUTES:
        changes = route.answer.__name__ in (
            "stop", "pause", "unpause", "resume", "checkpoint_now", "sample_now", "retry", "package", "delete", "move",
            "agree", "decline", "mend",
        )  # fmt: skip
        assert (route.method == "POST") == changes, route.path


def test_every_verb_and_setting_is_explained():
    if not shutil.which("node"):
        pytest.skip("node is not installed: verbs and settings are not compared with the page")
    for setting in exported("SETTINGS"):
        assert f"`{setting['id']}`" in PAGE
    for verb in exported("VERBS"):
        words = {"Stop at once": "stop at once", "Save now": "Save, Sample", "Sample now": "Save, Sample"}
        assert words.get(verb["label"], verb["label"]) in PAGE, verb["label"]


def test_every_picture_of_the_page_is_there():
    for name in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", PAGE):
        assert (ROOT / "docs" / name).is_file(), name
