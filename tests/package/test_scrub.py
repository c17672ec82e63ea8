"""Scrubbing takes out paths and names of the machine and leaves every other word alone."""

import json

import pytest

from kohya_bridge.package.scrub import scrub_json, scrub_metadata, scrub_text


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("/home/bob/models/base.safetensors", "base.safetensors"),
        ("loaded /home/bob/models/base.safetensors at last", "loaded base.safetensors at last"),
        (r"C:\Users\bob\x.png", "x.png"),
        (r"\\nas\share\x.png", "x.png"),
        ("~/x/y.png", "y.png"),
        ("file:///home/bob/x.png", "x.png"),
        ("path=/mnt/data/x.png,", "path=x.png,"),
        ("https://huggingface.co/org/name/blob/main/x.md", "https://huggingface.co/org/name/blob/main/x.md"),
        ("and/or, w/o, 1/2, SD/lora", "and/or, w/o, 1/2, SD/lora"),
        ("kohya/datasets/alice", "kohya/datasets/alice"),
        ("/tmp/x", "x"),
        ("ratio 3:4 and a: b", "ratio 3:4 and a: b"),
    ],
)
def test_paths_become_their_last_part_and_nothing_else_changes(text, clean):
    assert scrub_text(text) == clean


def test_names_go_as_whole_words_only():
    assert (
        scrub_text("trained by bob on bobcat.local", names=["bob"]) == "trained by (removed) on bobcat.local"
    )


def test_a_path_with_blanks_goes_when_it_is_the_whole_value():
    assert scrub_json({"dir": r"C:\Users\Some Body\10_alice", "n": 3}) == {"dir": "10_alice", "n": 3}


def test_json_in_metadata_stays_json():
    table = {"ss_x": json.dumps({"/a/b/10_alice": ["/c/d/e"]}), "ss_y": "{not json /a/b/c"}
    clean = scrub_metadata(table)
    assert json.loads(clean["ss_x"]) == {"10_alice": ["e"]}
    assert clean["ss_y"] == "{not json c"


def test_a_login_that_is_also_a_character_does_not_eat_the_captions():
    table = {"ss_tag_frequency": '{"alice": {"alice": 3}}', "ss_training_comment": "by alice"}
    clean = scrub_metadata(table, names=["alice"])
    assert clean["ss_tag_frequency"] == '{"alice": {"alice": 3}}'
    assert clean["ss_training_comment"] == "by (removed)"
