"""Coverage counts what captions show, and the next choices fill the gaps."""

import pytest
from PIL import Image

from kohya_bridge.building.character import build_character, load_options
from kohya_bridge.building.coverage import coverage, missing_choices, next_missing
from kohya_bridge.dataset import export_pictures, read_dataset
from kohya_bridge.errors import InvalidInput
from kohya_bridge.workspace import PACK_ROOT, Workspace

OPTIONS = load_options()


def made_of(tmp_path, *sheets, family="sd15"):
    captions = [
        build_character(OPTIONS, choices=each, seed=0, trigger="char_x", family=family).caption
        for each in sheets
    ]
    pictures = [Image.new("RGB", (8, 8), (number, 0, 0)) for number in range(len(sheets))]
    return export_pictures(Workspace.at(tmp_path), "x", pictures, captions)


@pytest.mark.parametrize("family", ["sd15", "sdxl", "newer"])
def test_options_are_found_again_in_the_captions_that_they_made(tmp_path, family):
    dataset = made_of(
        tmp_path,
        {"pose": "kneeling", "shot": "close-up", "light": "candlelight"},
        {"pose": "kneeling", "shot": "full body"},
        family=family,
    )
    covered = coverage(dataset, OPTIONS, categories=["pose", "shot", "light"])
    assert covered.counts["pose"]["kneeling"] == 2
    assert covered.counts["shot"]["close-up"] == covered.counts["shot"]["full body"] == 1
    assert covered.counts["light"]["candlelight"] == 1
    assert "walking" in covered.lacking("pose") and "kneeling" not in covered.lacking("pose")
    assert "kneeling (2)" in covered.text()


def test_the_next_choices_show_what_nobody_has_shown_yet_and_repeat_nothing(tmp_path):
    dataset = made_of(tmp_path, {"shot": "close-up"}, {"shot": "bust"})
    covered = coverage(dataset, OPTIONS, categories=["shot"])
    lacking = covered.lacking("shot")
    following = [each["shot"] for each in missing_choices(OPTIONS, covered, count=len(lacking), seed=3)]
    assert sorted(following) == sorted(lacking)


def test_the_next_choices_are_the_same_for_the_same_seed_and_respect_what_is_fixed(tmp_path):
    covered = coverage(made_of(tmp_path, {"shot": "bust"}), OPTIONS)
    first = missing_choices(OPTIONS, covered, count=5, seed=1, fixed={"pose": "walking"})
    assert first == missing_choices(OPTIONS, covered, count=5, seed=1, fixed={"pose": "walking"})
    assert {each["pose"] for each in first} == {"walking"}
    ratings = {
        OPTIONS.category(name).option(choice).rating for each in first for name, choice in each.items()
    }
    assert ratings == {"sfw"}


def test_generating_what_is_missing_fills_every_gap(tmp_path):
    dataset = made_of(tmp_path, {"mood": "calm"})
    covered = coverage(dataset, OPTIONS, categories=["mood"])
    made = made_of(tmp_path / "more", *missing_choices(OPTIONS, covered, count=len(covered.counts["mood"])))
    rated = [option.name for option in OPTIONS.category("mood").options if option.rating != "sfw"]
    assert coverage(made, OPTIONS, categories=["mood"]).lacking("mood") in (
        rated,
        [*rated, "calm"],
        ["calm", *rated],
    )


def test_seeds_that_follow_one_another_show_all_that_is_missing_whether_exported_or_not(tmp_path):
    covered = coverage(made_of(tmp_path, {"shot": "close-up"}), OPTIONS, categories=["shot"])
    lacking = sorted(covered.lacking("shot"))
    kept = [next_missing(OPTIONS, covered, seed=seed)["shot"] for seed in range(len(lacking))]
    assert sorted(kept) == lacking

    shown = [{"shot": "close-up"}]
    for seed in range(len(lacking)):
        covered = coverage(made_of(tmp_path / f"{seed}", *shown), OPTIONS, categories=["shot"])
        if not covered.lacking("shot"):
            break
        shown.append(next_missing(OPTIONS, covered, seed=seed))
        assert shown[-1]["shot"] in covered.lacking("shot")
    assert coverage(made_of(tmp_path / "all", *shown), OPTIONS, categories=["shot"]).lacking("shot") == []


def test_the_next_seed_leaves_what_is_fixed_and_fills_what_is_random_or_none(tmp_path):
    covered = coverage(made_of(tmp_path, {"shot": "bust"}), OPTIONS)
    fixed = {"pose": "walking", "light": "none", "shot": "Random", "hair_style": "bob"}
    choices = next_missing(OPTIONS, covered, seed=2, fixed=fixed)
    assert choices["pose"] == "walking" and choices["hair_style"] == "bob"
    assert choices["light"] != "none" and choices["shot"] not in ("Random", "bust")


def test_the_demo_set_shows_many_expressions():
    demo = read_dataset(PACK_ROOT / "training" / "kohya" / "datasets" / "char_wren")
    shown = [name for name, n in coverage(demo, OPTIONS).counts["expression"].items() if n]
    assert len(shown) >= 12


def test_an_unknown_category_is_refused(tmp_path):
    with pytest.raises(InvalidInput, match="poses"):
        coverage(made_of(tmp_path, {"pose": "walking"}), OPTIONS, categories=["poses"])
