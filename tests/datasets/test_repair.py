"""Repairs mend what their rule found, keep the originals, and can be undone to the byte."""

import hashlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from kohya_bridge.dataset import read_dataset
from kohya_bridge.errors import Conflict, NotFound
from kohya_bridge.lint.repair import plan_repairs, repair_dataset, undo_repairs
from kohya_bridge.lint.repair_journal import names_a_place, read_journals
from kohya_bridge.lint.repair_rules import mended_caption, mended_trigger

from .lint_world import BAD, linted, see_through, sidecar, varied_picture, write_rows

FIXABLE = ["E103", "W104", "E105", "W113", "W107", "W109", "W204", "W205", "W206", "W207", "W208", "W231", "E307", "W308", "W310",
           "W311", "I312", "W313", "E402", "E403", "W404", "W405", "W406"]  # fmt: skip
pytestmark = pytest.mark.usefixtures("known_pictures")


def tree(dir):
    """Hash of every file of a dataset but its lock files."""
    return {
        file.relative_to(dir).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(dir.rglob("*"))
        if file.is_file() and not file.name.endswith(".lock")
    }


def rules_of(dir):
    return {finding.rule for finding in linted(dir).findings}


@pytest.mark.parametrize("id", FIXABLE)
def test_a_repair_silences_its_rule_and_undo_brings_back_every_byte(id, dataset_dir):
    BAD[id][0](dataset_dir)
    before = tree(dataset_dir)
    assert id in rules_of(dataset_dir)
    repaired = repair_dataset(read_dataset(dataset_dir))
    assert id in {repair.rule for repair in repaired.repairs}
    assert id not in rules_of(dataset_dir), linted(dataset_dir).text()
    (journal,) = read_journals(dataset_dir)
    assert journal.is_ours and all(names_a_place(name) for name in (*journal.kept, *journal.written))
    missing_before = {"E102"} if id in ("E307", "W308") else set()
    assert {rule for rule in rules_of(dataset_dir) if rule[0] == "E"} == missing_before
    undo_repairs(repaired.dataset)
    assert tree(dataset_dir) == before


def test_listing_repairs_changes_nothing_and_lists_what_will_be_done(dataset_dir):
    BAD["W404"][0](dataset_dir)
    before = tree(dataset_dir)
    listed = plan_repairs(read_dataset(dataset_dir))
    assert tree(dataset_dir) == before
    assert [(each.rule, each.subject) for each in listed] == [("W404", "0001.png")]
    assert "char_x, smiling" in listed[0].action
    assert repair_dataset(read_dataset(dataset_dir)).repairs == listed


def test_a_good_dataset_needs_no_repair(dataset_dir):
    before = tree(dataset_dir)
    assert repair_dataset(read_dataset(dataset_dir)).repairs == () and tree(dataset_dir) == before
    with pytest.raises(NotFound):
        undo_repairs(read_dataset(dataset_dir))


def test_transparent_parts_are_laid_on_the_chosen_colour(dataset_dir):
    see_through(varied_picture(1)).save(dataset_dir / "images" / "0001.png")
    repair_dataset(read_dataset(dataset_dir), background=(10, 200, 30))
    picture = Image.open(dataset_dir / "images" / "0001.png")
    assert picture.mode == "RGB" and picture.getpixel((0, 0)) == (10, 200, 30)


def test_a_turned_picture_looks_as_before_without_its_tag(dataset_dir):
    from PIL import ImageOps

    BAD["W204"][0](dataset_dir)
    file = dataset_dir / "images" / "0001.png"
    shown = ImageOps.exif_transpose(Image.open(file)).tobytes()
    repair_dataset(read_dataset(dataset_dir))
    assert Image.open(file).tobytes() == shown and not Image.open(file).getexif()


def test_all_lines_of_a_sidecar_are_kept(dataset_dir):
    sidecar(dataset_dir, b"char_x, first\nsecond line\n")
    dataset = repair_dataset(read_dataset(dataset_dir)).dataset
    assert dataset.items[0].caption == "char_x, first, second line"
    assert dataset.items[0].source == "captions.jsonl"


def test_captions_without_a_picture_are_kept_and_unusable_lines_are_named(dataset_dir):
    BAD["W404"][0](dataset_dir)
    with open(dataset_dir / "captions.jsonl", "a") as stream:
        stream.write('{"file_name": "gone.png", "prompt": "char_x, gone"}\n{broken\n')
    repaired = repair_dataset(read_dataset(dataset_dir))
    assert "W303" in rules_of(dataset_dir) and "E106" in {repair.rule for repair in repaired.repairs}


def test_undo_refuses_when_it_would_lose_a_later_change(dataset_dir):
    BAD["W404"][0](dataset_dir)
    dataset = repair_dataset(read_dataset(dataset_dir)).dataset
    write_rows(dataset_dir, [{"file_name": "0001.png", "prompt": "written later"}])
    with pytest.raises(Conflict, match=r"captions\.jsonl"):
        undo_repairs(dataset)
    assert read_dataset(dataset_dir).items[0].caption == "written later"


def test_two_repairs_are_undone_newest_first(dataset_dir):
    before = tree(dataset_dir)
    for id in ("W404", "W205"):
        BAD[id][0](dataset_dir)
        repair_dataset(read_dataset(dataset_dir), clock=lambda: 0.0)
    dataset = read_dataset(dataset_dir)
    assert [each.stamp for each in read_journals(dataset_dir)] == ["19700101-000000-01", "19700101-000000-02"]
    undo_repairs(undo_repairs(dataset))
    assert set(tree(dataset_dir)) == set(before)


@pytest.mark.parametrize(
    ("caption", "rule", "mended"),
    [
        ("char_x, a, b", "", "char_x, a, b"),
        ("char_x a red hat", "", "char_x a red hat"),
        ("a, char_x, b", "W404", "char_x, a, b"),
        ("a, b", "E403", "char_x, a, b"),
        ("char_x, a, char_x", "W405", "char_x, a"),
        ("Char_X, a", "W406", "char_x, a"),
        ("<char_x>, a", "E402", "char_x, a"),
        ("char_x, (a:1.2), <lora:b:1>", "W109", "char_x, a"),
        ("char_x, a\nb", "W113", "char_x, a, b"),
    ],
)
def test_captions_are_mended(caption, rule, mended):
    assert mended_caption(caption, trigger="char_x", old_trigger="<char_x>") == (rule, mended)


def test_a_trigger_becomes_a_plain_token():
    assert mended_trigger("<char_Alice>") == "char_alice"
    assert mended_trigger("Zoë Müller") == "zoe_muller"
    assert mended_trigger("char_x") == "char_x"


WORDS = ("char_x", "Char_X", "char_y", "a photo of char_x smiling", "smiling", "(a hat:1.2)", "BREAK", "two\nlines", "", "赤い帽子", "Char-X", "<char_x>")  # fmt: skip


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(captions=st.lists(st.lists(st.sampled_from(WORDS), max_size=4).map(", ".join), min_size=1, max_size=4))
def test_whatever_the_captions_mending_twice_is_mending_once_and_undo_restores_the_bytes(
    captions, dataset_dir
):
    names = sorted(file.name for file in (dataset_dir / "images").iterdir())
    write_rows(dataset_dir, [{"file_name": name, "prompt": captions[number % len(captions)]} for number, name in enumerate(names)])  # fmt: skip
    before, found = tree(dataset_dir), rules_of(dataset_dir)
    once = repair_dataset(read_dataset(dataset_dir))
    assert {repair.rule for repair in once.repairs} <= found
    assert repair_dataset(once.dataset).repairs == ()
    if once.repairs:
        undo_repairs(once.dataset)
    assert tree(dataset_dir) == before
