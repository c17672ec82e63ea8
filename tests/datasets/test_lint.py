"""The lint as a whole: the demo set is clean, waivers never hide, reports can be read, hostile names can't hurt."""

import json
import re
import shutil
import threading

import pytest
from PIL import Image

from kohya_bridge.dataset import read_dataset
from kohya_bridge.datasets.dataset_metadata import Waiver, read_metadata, write_metadata
from kohya_bridge.lint import Interrupted, LintSettings, contact_sheet, lint_dataset
from kohya_bridge.lint.catalogue import RULES
from kohya_bridge.lint.inspection import training_at
from kohya_bridge.lint.words import EXPLICIT, SUGGESTIVE, words_above
from kohya_bridge.workspace import PACK_ROOT

DEMO = PACK_ROOT / "training" / "kohya" / "datasets" / "char_wren"


@pytest.fixture
def demo(tmp_path):
    return shutil.copytree(DEMO, tmp_path / "char_wren")


def waive(dir, *waivers):
    file = dir / "metadata.yaml"
    write_metadata(file, read_metadata(file).model_copy(update={"waivers": waivers}))


def test_the_demo_dataset_is_real_large_enough_and_without_any_finding():
    dataset = read_dataset(DEMO)
    report = lint_dataset(dataset)
    assert report.findings == (), report.text()
    assert len(dataset.items) >= 24
    assert all(min(Image.open(item.file).size) >= 768 for item in dataset.items)
    assert len({item.caption for item in dataset.items}) == len(dataset.items)
    assert dataset.metadata.release_approved and dataset.metadata.licence == "CC0-1.0"
    assert sum(file.stat().st_size for file in DEMO.rglob("*") if file.is_file()) < 3_000_000


def test_a_waiver_turns_an_error_into_information_with_its_reason(demo):
    (demo / "images" / "empty.png").touch()
    assert lint_dataset(read_dataset(demo)).blocks
    waive(
        demo,
        Waiver(rule="E201", reason="kept for the record"),
        Waiver(rule="E102", reason="no caption", subject="empty.png"),
    )
    report = lint_dataset(read_dataset(demo))
    assert not report.blocks
    assert [(f.rule, f.severity, f.waived) for f in report.findings] == [
        ("E102", "info", "no caption"),
        ("E201", "info", "kept for the record"),
    ]
    assert "[waived: kept for the record]" in report.text()


def test_a_waiver_for_another_subject_changes_nothing(demo):
    (demo / "images" / "empty.png").touch()
    waive(demo, Waiver(rule="E201", reason="some reason", subject="other.png"))
    assert lint_dataset(read_dataset(demo)).blocks


def test_settings_move_the_thresholds(demo):
    report = lint_dataset(read_dataset(demo), settings=LintSettings(min_side=800))
    assert {finding.rule for finding in report.findings} == {"I219"} and not report.blocks


@pytest.mark.parametrize(
    ("size", "training", "blocks"),
    [
        ((512, 512), {"resolution": 512, "bucket_no_upscale": False}, False),
        (
            (416, 640),
            {"resolution": 512, "bucket_no_upscale": False},
            False,
        ),  # as many pixels: its bucket is no larger
        ((511, 512), {"resolution": 512, "bucket_no_upscale": False}, True),
        ((768, 768), {"resolution": 1024, "bucket_no_upscale": False}, True),
        ((768, 768), {"resolution": 1024, "bucket_no_upscale": True, "min_bucket_reso": 512}, False),
        ((500, 900), {"resolution": 1024, "bucket_no_upscale": True, "min_bucket_reso": 512}, True),
    ],
)
def test_a_picture_is_too_small_only_below_what_is_trained(demo, size, training, blocks):
    name = sorted(each.name for each in (demo / "images").glob("*.png"))[0]
    with Image.open(demo / "images" / name) as picture:
        picture.convert("RGB").resize(size).save(demo / "images" / name)
    report = lint_dataset(read_dataset(demo), training=training_at(0, {"max_bucket_reso": 2048, **training}))
    assert (("E202", name) in {(each.rule, each.subject) for each in report.findings}) == blocks
    if blocks:
        waive(demo, Waiver(rule="E202", reason="few pictures of her exist", subject=name))
        waived = lint_dataset(
            read_dataset(demo), training=training_at(0, {"max_bucket_reso": 2048, **training})
        )
        assert name not in {each.subject for each in waived.errors if each.rule == "E202"}


def test_findings_name_no_lines_of_other_peoples_code_and_the_nodes_own_repair_before_the_shells():
    for rule in RULES:
        assert not re.search(r"\bl\.\d", rule.trainer + rule.fix), rule.id
        assert (
            "lint --fix" not in rule.fix or "`repair: mend` on Dataset Lint, or `lint --fix`" in rule.fix
        ), rule.id


def test_a_trigger_given_by_the_caller_replaces_the_one_of_the_metadata(demo):
    report = lint_dataset(read_dataset(demo), trigger="char_other")
    assert sum(finding.rule == "E403" for finding in report.findings) == report.images


def test_the_json_report_carries_every_finding(demo):
    (demo / "images" / "empty.png").touch()
    report = lint_dataset(read_dataset(demo))
    data = json.loads(report.to_json())
    assert data["blocks"] and data["counts"]["error"] == 2 and len(data["findings"]) == 2
    assert set(data["findings"][0]) == {"rule", "severity", "subject", "problem", "fix", "waived"}


def test_no_control_character_of_a_file_name_reaches_the_text(demo):
    (demo / "images" / "bad\x1b[31m\nname.png").touch()
    text = lint_dataset(read_dataset(demo)).text()
    assert "\x1b" not in text and "bad?[31m?name.png" in text


def test_the_contact_sheet_shows_every_picture_and_draws_findings_in_red(demo):
    clean = contact_sheet(read_dataset(demo), lint_dataset(read_dataset(demo)))
    (demo / "images" / "empty.png").touch()
    dataset = read_dataset(demo)
    sheet = contact_sheet(dataset, lint_dataset(dataset))
    red = (229, 72, 77)
    assert red in [colour for _, colour in sheet.getcolors(maxcolors=1 << 24)]
    assert red not in [colour for _, colour in clean.getcolors(maxcolors=1 << 24)]
    assert sheet.width > 1000 and sheet.height > 1000 and sheet.mode == "RGB"


def test_an_empty_dataset_still_gives_a_report_and_a_sheet(tmp_path):
    (tmp_path / "images").mkdir()
    dataset = read_dataset(tmp_path)
    report = lint_dataset(dataset)
    assert report.blocks and contact_sheet(dataset, report).width > 300


def test_a_second_lint_opens_no_picture_that_has_not_changed(demo, tmp_path):
    cache = tmp_path / "cache"
    first = lint_dataset(read_dataset(demo), cache_dir=cache)
    counts = []
    changed = read_dataset(demo).items[3].file
    changed.write_bytes(changed.read_bytes()[:3000])
    second = lint_dataset(
        read_dataset(demo), cache_dir=cache, on_progress=lambda done, total: counts.append(done)
    )
    assert counts[0] == len(read_dataset(demo).items) - 1
    assert first.findings == () and [f.rule for f in second.findings] == ["E201"]


def test_a_damaged_cache_is_rebuilt(demo, tmp_path):
    cache = tmp_path / "cache"
    lint_dataset(read_dataset(demo), cache_dir=cache)
    for file in cache.rglob("*.json"):
        file.write_text("{broken")
    assert lint_dataset(read_dataset(demo), cache_dir=cache).findings == ()


def test_lint_stops_when_asked_and_leaves_no_thread(demo):
    with pytest.raises(Interrupted):
        lint_dataset(read_dataset(demo), should_stop=lambda: True)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("lint")]


def test_the_word_list_is_long_and_each_word_is_found_by_itself():
    assert len(SUGGESTIVE) + len(EXPLICIT) >= 100
    for word in SUGGESTIVE:
        assert words_above(f"char_x, {word}, hat", "sfw") and not words_above(word, "suggestive")
    for word in EXPLICIT:
        assert words_above(f"char_x, {word}, hat", "suggestive") and not words_above(word, "nsfw")


@pytest.mark.parametrize(
    "caption",
    ["no nudity", "without nipples", "not nude", "a nude lipstick", "nude-coloured heels", "Essex harbour", "cucumber",
     "analysis of grapes", "naked eye", "sextant on the table", "cocktail dress", "never topless", "bracelet",
     "explicit permission", "a thonged sandal", "suggestive of autumn"],
)  # fmt: skip
def test_harmless_words_are_not_taken_for_rated_ones(caption):
    assert words_above(caption, "sfw") == []


@pytest.mark.parametrize(
    ("caption", "words"),
    [
        ("char_x, completely_nude, hat", ["completely nude"]),
        ("NSFW, Bare-Breasts", ["nsfw", "bare breasts"]),
        ("not smiling, nude", ["nude"]),
        ("see-through dress", ["see through"]),
    ],
)
def test_rated_words_are_found_in_any_spelling(caption, words):
    assert words_above(caption, "sfw") == words
