"""A name that is taken from a file leads to a place below its folder, whichever system reads it."""

from __future__ import annotations

import os
from pathlib import PurePosixPath, PureWindowsPath

import pytest
from hypothesis import example, given
from hypothesis import strategies as some
from pydantic import TypeAdapter, ValidationError

from kohya_bridge.names import FileName, ModelName, OneLine, RunId, Sha256, Slug, Word, is_below
from kohya_bridge.plan import BaseModelFacts, DatasetFacts
from tests.rehearsed_runs import rehearsed_plan

PIECES = some.lists(
    some.sampled_from(["..", ".", "a", "C:", "", "con", "x.png", "~"]) | some.text(max_size=3), max_size=5
)
NAMES = some.text(max_size=20) | some.builds(
    lambda pieces, by: by.join(pieces), PIECES, some.sampled_from("/\\")
)


@given(NAMES)
@example("a/../../b")
@example("..\\x")
@example("C:x")
@example("//server/share/x")
@example("a\0b")
def test_a_name_that_passes_stays_below_its_folder_on_every_system(name):
    if not is_below(name):
        return
    base = PurePosixPath("/base/folder")
    assert PurePosixPath(os.path.normpath(base / name)).is_relative_to(base)
    windows = PureWindowsPath("D:/base/folder")
    joined = windows / name
    assert joined.is_relative_to(windows) and ".." not in joined.parts


@given(NAMES, some.sampled_from([FileName, ModelName, OneLine, RunId, Sha256, Slug, Word]))
def test_every_kind_of_name_gives_the_same_text_back_or_says_what_is_wrong(name, kind):
    try:
        assert TypeAdapter(kind).validate_python(name) == name
    except ValidationError as error:
        assert error.errors()[0]["msg"]


@pytest.mark.parametrize(
    "name",
    [
        "grid.png:hidden",
        "CON",
        "aux.png",
        "images/nul.txt",
        "com1",
        "LPT\u00b9.png",
        "grid.png.",
        "grid.png ",
        "a /b",
        "conin$",
    ],
)
def test_a_name_that_windows_takes_for_something_else_is_none_of_ours(name):
    with pytest.raises(ValidationError, match="Windows"):
        TypeAdapter(FileName).validate_python(name)


@pytest.mark.parametrize(
    "name", ["console.png", "com10.png", "a.con.png", "grid-step00000004-\u00e9.png", "auxiliary/x.png"]
)
def test_names_that_only_look_like_devices_are_taken(name):
    assert TypeAdapter(FileName).validate_python(name) == name


@pytest.mark.parametrize(
    "name",
    ["model.safetensors", "SDXL/модель v1.safetensors", "SDXL\\model.safetensors", "模型　v1.safetensors"],
)
def test_names_of_model_files_as_people_have_them_are_taken(name):
    assert BaseModelFacts(name=name, sha256="0" * 64, family="sd15").name == name


def test_plans_that_were_valid_keep_their_run_ids():
    """Ids as they were given before names were checked this strictly."""
    assert rehearsed_plan().run_id == "c7b93add4705"
    assert (
        rehearsed_plan(dataset="a", base="b/c.safetensors", family_name="sdxl", preset="draft").run_id
        == "b8cc5beb118d"
    )


@pytest.mark.parametrize("field", ["slug", "digest", "trigger"])
def test_facts_of_a_dataset_are_names_and_digests(field):
    facts = {"slug": "a", "digest": "0" * 64, "images": 1, "trigger": "char_a"}
    with pytest.raises(ValidationError):
        DatasetFacts(**{**facts, field: "../\nx"})
