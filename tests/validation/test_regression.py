"""Two renderings of a reference workflow: what changed is named and shown, and nothing else is."""

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from kohya_bridge.errors import NotFound
from kohya_bridge.validation.regression import compare_renders, difference_sheet


def noise(seed):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (32, 48, 3), dtype=np.uint8))


@pytest.fixture
def folders(tmp_path):
    for name in ("before", "after"):
        (tmp_path / name).mkdir()
        for number in range(3):
            noise(number).save(tmp_path / name / f"{number}.png")
            noise(10 + number).save(tmp_path / name / f"{number}.lora.png")
    return tmp_path / "before", tmp_path / "after"


def test_equal_pixels_are_the_same_whatever_text_the_files_carry(folders):
    text = PngInfo()
    text.add_text("prompt", "{}")
    noise(0).save(folders[1] / "0.png", pnginfo=text)
    assert compare_renders(*folders).same
    assert difference_sheet(*folders, compare_renders(*folders)) is None


def test_a_changed_a_resized_a_missing_a_new_and_a_damaged_picture_are_each_named(folders):
    before, after = folders
    Image.blend(noise(0), noise(5), 0.5).save(after / "0.png")
    noise(1).resize((16, 16)).save(after / "1.png")
    (after / "2.png").unlink()
    noise(3).save(after / "3.png")
    (after / "1.lora.png").write_bytes(b"torn")
    result = compare_renders(before, after)
    states = {each.name: each.state for each in result.changes if each.state != "same"}
    assert states == {
        "0.png": "changed", "1.png": "resized from 48 x 32 to 16 x 16", "2.png": "missing", "3.png": "new",
        "1.lora.png": "unreadable",
    }  # fmt: skip
    assert not result.same and "2 same, 1 changed, 4 missing, new or damaged" in result.text
    sheet = difference_sheet(before, after, result)
    assert sheet is not None and sheet.width > 3 * 48


def test_a_difference_within_the_tolerance_counts_as_the_same(folders):
    pixels = np.asarray(noise(0)).copy()
    pixels[0, 0] ^= 1
    Image.fromarray(pixels).save(folders[1] / "0.png")
    assert not compare_renders(*folders).same
    assert compare_renders(*folders, tolerance=0.001).same


def test_a_lora_that_stopped_acting_is_noticed_even_when_nothing_else_changed(folders):
    for folder in folders:
        noise(0).save(folder / "0.lora.png")
    result = compare_renders(*folders)
    assert result.idle_loras == ("0",) and not result.same
    assert "the LoRA changes nothing" in result.text


def test_an_empty_folder_is_an_error_and_not_a_success(folders, tmp_path):
    with pytest.raises(NotFound):
        compare_renders(folders[0], tmp_path / "none")
