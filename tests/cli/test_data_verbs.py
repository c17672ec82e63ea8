"""The verbs about words and pictures: each does in a shell what the nodes do on the canvas."""

import json

import pytest
from PIL import Image

from kohya_bridge.cli import exit_codes
from kohya_bridge.dataset import find_dataset
from tests.datasets.lint_world import see_through, varied_picture


@pytest.fixture
def folder(tmp_path):
    """Six pictures with sidecar captions, as another tool leaves them; the trigger is written with brackets."""
    folder = tmp_path / "found" / "5_x"
    folder.mkdir(parents=True)
    for number in range(6):
        varied_picture(number, (800, 780)).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text(f"<char_zoe>, place {number}", encoding="utf-8")
    return folder.parent


def imported(shell, folder):
    return shell(
        "import", "zoe", str(folder), "--trigger", "<char_zoe>", "--licence", "CC0-1.0", "--source", "mine"
    )


def test_a_folder_is_imported_linted_mended_and_the_repair_undone(shell, folder):
    answer = imported(shell, folder)
    assert answer.code == exit_codes.DONE and "num_repeats to 5" in answer.out
    assert shell("lint", "zoe").code == exit_codes.NOT_WELL
    listed = shell("lint", "zoe", "--fix", "--dry-run")
    assert listed.code == exit_codes.NOT_WELL and "E402" in listed.out
    mended = shell("lint", "zoe", "--fix")
    assert mended.code == exit_codes.DONE and "done; the originals are in originals/" in mended.out
    assert find_dataset(shell.workspace, "zoe").trigger == "char_zoe"
    undone = shell("lint", "zoe", "--undo")
    assert undone.code == exit_codes.NOT_WELL and find_dataset(shell.workspace, "zoe").trigger == "<char_zoe>"
    assert shell("lint", "zoe", "--undo").code == exit_codes.NOT_FOUND


def test_the_report_is_written_as_page_and_as_pictures(shell, folder, tmp_path):
    imported(shell, folder)
    page, sheet, view = tmp_path / "r.html", tmp_path / "r.png", tmp_path / "v.png"
    shell("lint", "zoe", "--html", str(page), "--sheet", str(sheet))
    answer = shell("lint", "zoe", "--view", "sd-scripts", "--resolution", "512", "--sheet", str(view))
    assert page.read_text("utf-8").startswith("<!doctype html>")
    assert Image.open(sheet).width > 300 and Image.open(view).width > 500
    assert "512 x 448" in answer.out or "bucket" in answer.out


def test_transparent_parts_are_laid_on_the_colour_that_is_asked_for(shell, folder):
    see_through(varied_picture(9, (800, 780))).save(folder / "5_x" / "0.png")
    imported(shell, folder)
    assert shell("lint", "zoe", "--fix", "--background", "red").code == exit_codes.INVALID_INPUT
    shell("lint", "zoe", "--fix", "--background", "#0a0b0c")
    assert Image.open(find_dataset(shell.workspace, "zoe").items[0].file).getpixel((0, 0)) == (10, 11, 12)


def test_versions_are_marked_listed_and_compared(shell, folder):
    imported(shell, folder)
    assert "6 pictures" in shell("mark", "zoe", "--name", "first").out
    find_dataset(shell.workspace, "zoe").items[0].file.unlink()
    assert "removed    0001-" in shell("diff", "zoe@first", "zoe").out
    assert "removed" in shell("diff", "zoe@marked", "zoe").out
    assert shell("diff", "zoe@nothing", "zoe").code == exit_codes.NOT_FOUND
    assert "marked first" in shell("datasets").out
    assert shell("diff", "zoe", "alice").code == exit_codes.DONE


def test_an_export_is_read_by_an_import_and_refused_where_something_is(shell, folder, tmp_path):
    imported(shell, folder)
    assert shell("export", "zoe", str(tmp_path / "out"), "--format", "huggingface").code == exit_codes.DONE
    assert shell("export", "zoe", str(tmp_path / "out")).code == exit_codes.CONFLICT
    assert "from a folder (huggingface)" in shell("import", "again", str(tmp_path / "out")).out
    assert shell("diff", "zoe", "again").out.count("recaption") == 0


def test_coverage_builds_prompts_for_what_is_missing(shell, folder):
    imported(shell, folder)
    rows = shell(
        "coverage", "zoe", "--category", "mood", "--next", "3", "--trigger", "char_zoe", "--json"
    ).rows
    assert rows[0]["counts"]["mood"]["calm"] == 0
    assert len({row["attributes"]["mood"] for row in rows[1:]}) == 3
    assert all(row["caption"].startswith("char_zoe, ") for row in rows[1:])


def test_triggers_are_listed_added_renamed_and_removed(shell):
    assert "char_wren" in shell("triggers").out
    assert shell("triggers", "zoe", "char_zoe").code == exit_codes.DONE
    assert shell("triggers", "zoe", "char_zoe2").code == exit_codes.CONFLICT
    assert shell("triggers", "zoe", "char_zoe2", "--rename").code == exit_codes.DONE
    assert json.loads(shell("triggers", "zoe", "--json").out)["trigger"] == "char_zoe2"
    assert shell("triggers", "zoe", "--remove").code == exit_codes.DONE
    assert shell("triggers", "zoe").code == exit_codes.NOT_FOUND
    assert shell("triggers", "zoe", "<zoe>").code == exit_codes.INVALID_INPUT


def test_weights_and_prompts_from_elsewhere_reach_the_builder(shell):
    row = shell("caption", "--choose", "hair_colour=auburn", "--weight", "hair_colour=1.2", "--no-export", "--json").rows[0]  # fmt: skip
    assert "(auburn hair:1.2)" in row["prompt"] and "(auburn" not in row["caption"]
    assert shell("caption", "--weight", "hair_colour", "--no-export").code == exit_codes.INVALID_INPUT
    row = shell("caption", "--prompt", "rain, (hat:1.2)", "--trigger", "char_zoe", "--no-export", "--json").rows[0]  # fmt: skip
    assert row["prompt"] == "char_zoe, rain, (hat:1.2)" and row["caption"] == "char_zoe, rain, hat"


def test_locked_categories_and_ratings_reach_the_builder(shell):
    rows = shell("caption", "--count", "4", "--lock", "hair_colour", "--no-export", "--json").rows
    assert len({row["attributes"]["hair_colour"] for row in rows}) == 1
    assert len({row["attributes"]["pose"] for row in rows}) > 1
    refused = shell("caption", "--choose", "outfit=lingerie", "--no-export")
    assert refused.code == exit_codes.INVALID_INPUT and "rated nsfw" in refused.err
