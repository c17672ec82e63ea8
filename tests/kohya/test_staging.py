"""Staging: what sd-scripts finds in the run folder is the dataset, upright, on white, split, with its captions."""

from __future__ import annotations

import os

import numpy as np
import pytest
from PIL import Image

from kohya_bridge.datasets.held_out_split import held_out_names
from kohya_bridge.engines.kohya.render import Places
from kohya_bridge.engines.kohya.staging import Picture, stage
from kohya_bridge.errors import StorageError


@pytest.fixture
def stage_them(bench, tmp_path):
    """Stage pictures of a folder and return the places."""

    def run(files, *, captions=None, **settings):
        plan = bench.plan(**settings)
        places = Places(base_model=bench.base_model, staging=tmp_path / "staging", tokenizers=None)
        pictures = [
            Picture(file.name, file, (captions or {}).get(file.name, f"char_dots, {file.stem}"))
            for file in files
        ]
        return stage(plan, pictures, places), places

    return run


def picture(folder, name, *, mode="RGB", size=(80, 64), colour=(200, 30, 30), **save):
    file = folder / name
    Image.new(mode, size, colour).save(file, **save)
    return file


def test_trained_held_out_and_probe_pictures_lie_in_folders_of_their_own_with_captions(bench, stage_them):
    files = sorted((bench.dataset_dir / "images").iterdir())
    staged, places = stage_them(files)
    held_out = held_out_names([file.name for file in files], share=0.25, seed=1234)
    assert {each.name for each in places.held_out.glob("*.png")} == held_out
    assert {each.name for each in places.train.glob("*.png")} == {file.name for file in files} - held_out
    assert (staged.train, staged.held_out, staged.probe) == (6, 2, 2)
    assert (places.train / "0001.txt").read_text("utf-8") == "char_dots, 0001\n"


def test_pictures_are_linked_not_copied_where_the_system_allows(bench, stage_them, tmp_path):
    file = picture(tmp_path, "a.png")
    _, places = stage_them([file], validation_split=0.0)
    assert os.stat(places.train / "a.png").st_ino == file.stat().st_ino


def test_a_turned_picture_is_staged_upright(stage_them, tmp_path):
    upright = Image.new("RGB", (40, 80), "white")
    upright.paste((255, 0, 0), (0, 0, 40, 20))  # red on top
    exif = Image.Exif()
    exif[0x0112] = 6  # a viewer turns it a quarter clockwise
    upright.rotate(90, expand=True).save(tmp_path / "a.jpg", exif=exif, quality=95)
    _, places = stage_them([tmp_path / "a.jpg"], validation_split=0.0)
    seen = Image.open(places.train / "a.png")
    assert seen.size == (40, 80)
    assert seen.getpixel((20, 5))[0] > 200 and seen.getpixel((20, 5))[1] < 60


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_becomes_white(stage_them, tmp_path, mode):
    clear = Image.new("RGBA", (16, 16), (0, 0, 0, 0))
    clear.paste((10, 200, 10, 255), (0, 0, 8, 16))
    clear.convert(mode).save(tmp_path / "a.png", **({"transparency": 0} if mode == "P" else {}))
    _, places = stage_them([tmp_path / "a.png"], validation_split=0.0)
    seen = np.asarray(Image.open(places.train / "a.png"))
    assert seen.shape == (16, 16, 3)
    assert (seen[0, 15] == 255).all()


def test_names_that_differ_in_their_suffix_only_keep_a_caption_each(stage_them, tmp_path):
    files = [picture(tmp_path, "a.png"), picture(tmp_path, "a.jpg")]
    _, places = stage_them(files, captions={"a.png": "one", "a.jpg": "two"}, validation_split=0.0)
    assert {each.read_text("utf-8").strip() for each in places.train.glob("*.txt")} == {"one", "two"}


def test_a_caption_of_several_lines_becomes_one_because_upstream_reads_the_first_only(stage_them, tmp_path):
    _, places = stage_them(
        [picture(tmp_path, "a.png")], captions={"a.png": "one\n two\r\n"}, validation_split=0.0
    )
    assert (places.train / "a.txt").read_text("utf-8") == "one two\n"


def test_staging_again_changes_nothing_and_keeps_cached_latents(stage_them, tmp_path):
    file = picture(tmp_path, "a.png")
    _, places = stage_them([file], validation_split=0.0)
    np.savez(places.train / "a_0080x0064_sd.npz", latents=np.zeros(4))
    stage_them([file], validation_split=0.0)
    assert sorted(each.name for each in places.train.iterdir()) == ["a.png", "a.txt", "a_0080x0064_sd.npz"]


def test_torn_caches_are_removed_and_what_somebody_put_there_is_put_aside(stage_them, tmp_path):
    file = picture(tmp_path, "a.png")
    _, places = stage_them([file], validation_split=0.0)
    (places.train / "a_0080x0064_sd.npz").write_bytes(b"PK torn")
    (places.train / "b.png").write_bytes(b"somebody's own")
    (places.train / "notes").mkdir()
    (places.train / "notes" / "x.md").write_text("mine")
    stage_them([file], validation_split=0.0)
    assert sorted(each.name for each in places.train.iterdir()) == ["a.png", "a.txt"]
    kept = {each.name.rpartition("-")[2]: each for each in (places.train.parent / "set_aside").iterdir()}
    assert kept["b.png"].read_bytes() == b"somebody's own" and (kept["notes"] / "x.md").read_text() == "mine"


def test_a_picture_that_was_replaced_is_staged_anew(stage_them, tmp_path):
    file = picture(tmp_path, "a.png")
    stage_them([file], validation_split=0.0)
    file.unlink()
    picture(tmp_path, "a.png", size=(128, 128), colour=(1, 2, 3))
    _, places = stage_them([file], validation_split=0.0)
    assert Image.open(places.train / "a.png").size == (128, 128)


def test_an_unreadable_picture_is_named(stage_them, tmp_path):
    file = tmp_path / "broken.png"
    file.write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    with pytest.raises(StorageError, match=r"broken\.png"):
        stage_them([file], validation_split=0.0)


def test_the_tokenizers_get_the_two_edits_that_sd_scripts_needs(bench, tmp_path):
    import json

    from kohya_bridge.engines.kohya.tokenizers import CLIP_BIG_G, CLIP_L, build_tokenizers

    built = build_tokenizers(bench.tokenizer_dir, tmp_path / "tokenizers")
    for name, pad in ((CLIP_L, "<|endoftext|>"), (CLIP_BIG_G, "!")):
        config = json.loads((built / name / "tokenizer_config.json").read_text("utf-8"))
        assert (config["model_max_length"], config["pad_token"]) == (77, pad)
        assert (built / name / "merges.txt").read_bytes() == (bench.tokenizer_dir / "merges.txt").read_bytes()
