"""Triggers are edited in the workspace alone, always valid, never two for one character."""

import json

import pytest

from kohya_bridge.building.character_options import PACK_OPTIONS_FILE, load_options, user_options_file
from kohya_bridge.building.triggers import (
    add_trigger,
    describe_trigger,
    ensure_trigger,
    remove_trigger,
    rename_trigger,
)
from kohya_bridge.datasets.clip_tokens import clip_tokens
from kohya_bridge.datasets.dataset_metadata import DatasetMetadata, write_metadata
from kohya_bridge.errors import Conflict, InvalidInput, NotFound
from kohya_bridge.workspace import Workspace


@pytest.fixture
def workspace(tmp_path):
    return Workspace.at(tmp_path)


def test_a_trigger_is_added_under_its_own_name_once_and_never_takes_anothers(workspace):
    for _ in range(2):
        assert ensure_trigger(workspace, "char_zoe").lora_trigger["zoe"] == "char_zoe"
    assert ensure_trigger(workspace, "char_wren") == load_options(workspace)
    named = ensure_trigger(workspace, "wren").lora_trigger
    assert named["wren"] == "char_wren" and named["wren 2"] == "wren"
    with pytest.raises(InvalidInput):
        ensure_trigger(workspace, "<zoe>")


def test_an_added_trigger_is_offered_and_the_packs_file_stays_as_it_is(workspace):
    before = PACK_OPTIONS_FILE.read_bytes()
    add_trigger(workspace, "zoe", "char_zoe")
    assert "char_zoe" in load_options(workspace).triggers()
    assert json.loads(user_options_file(workspace).read_text("utf-8")) == {
        "lora_trigger": {"zoe": "char_zoe"}
    }
    assert PACK_OPTIONS_FILE.read_bytes() == before


def test_a_renamed_trigger_replaces_the_packs_own(workspace):
    rename_trigger(workspace, "alice", "char_alice2")
    assert load_options(workspace).lora_trigger["alice"] == "char_alice2"
    remove_trigger(workspace, "alice")
    assert load_options(workspace).lora_trigger["alice"] == "char_alice"


def test_a_trigger_belongs_to_one_character_only(workspace):
    with pytest.raises(Conflict, match="wren"):
        add_trigger(workspace, "zoe", "char_wren")
    with pytest.raises(Conflict, match="char_alice"):
        add_trigger(workspace, "alice", "char_other")
    with pytest.raises(Conflict):
        rename_trigger(workspace, "alice", "char_wren")


def test_what_is_no_plain_token_or_not_there_is_refused(workspace):
    with pytest.raises(InvalidInput):
        add_trigger(workspace, "zoe", "<zoe>")
    with pytest.raises(NotFound):
        rename_trigger(workspace, "nobody", "char_nobody")
    with pytest.raises(NotFound, match="not removed"):
        remove_trigger(workspace, "wren")


def test_a_damaged_file_is_refused_and_not_overwritten(workspace):
    file = user_options_file(workspace)
    file.parent.mkdir(parents=True)
    file.write_text("{broken", encoding="utf-8")
    with pytest.raises(InvalidInput):
        add_trigger(workspace, "zoe", "char_zoe")
    assert file.read_text("utf-8") == "{broken"


def test_other_additions_of_the_person_survive_an_edit(workspace):
    file = user_options_file(workspace)
    file.parent.mkdir(parents=True)
    mine = {"options": {"pose": [{"name": "on a swing", "tag": "swing", "prose": "on a swing"}]}}
    file.write_text(json.dumps(mine), encoding="utf-8")
    add_trigger(workspace, "zoe", "char_zoe")
    assert load_options(workspace).category("pose").option("on a swing")


def test_a_trigger_is_described_by_who_uses_it_and_what_it_costs(workspace, tokenizer_dir):
    for slug in ("one", "two"):
        (workspace.dataset_dir(slug) / "images").mkdir(parents=True)
        write_metadata(workspace.dataset_dir(slug) / "metadata.yaml", DatasetMetadata(lora_tag="cat"))
    facts = describe_trigger(workspace, "cat", tokens=clip_tokens(tokenizer_dir))
    assert facts.datasets == ("one", "two") and facts.tokens == 1 and len(facts.advice) == 2
    assert describe_trigger(workspace, "char_wren").archetypes == ("wren",)
