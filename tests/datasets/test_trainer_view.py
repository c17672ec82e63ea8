"""The trainer's view is what the engines do: same buckets, same pixels, same words."""

import numpy as np
from PIL import Image

from kohya_bridge.dataset import read_dataset
from kohya_bridge.datasets.caption_tokens import Reading
from kohya_bridge.datasets.clip_tokens import clip_tokens
from kohya_bridge.datasets.trainer_sheet import trainer_sheet
from kohya_bridge.datasets.trainer_view import bucket_summary, trained_pixels, view_dataset, view_rows
from kohya_bridge.drawing import ERROR
from kohya_bridge.engines.training.data import load_pixels, read_items
from kohya_bridge.lint import examine, lint_dataset
from kohya_bridge.lint.page import report_page
from kohya_bridge.settings import TrainingSettings

from .lint_world import BAD, recaption, see_through, varied_picture

TRAINING = TrainingSettings(resolution=256, min_bucket_reso=128, max_bucket_reso=512)


def viewed(dir, engine="native", training=TRAINING, reading=None):
    dataset = read_dataset(dir)
    return dataset, view_dataset(dataset, examine(dataset)[0].facts, training, engine=engine, reading=reading)


def test_the_native_view_is_pixel_for_pixel_what_the_native_engine_trains(dataset_dir):
    BAD["W204"][0](dataset_dir)
    see_through(varied_picture(2, (400, 330))).save(dataset_dir / "images" / "0002.png")
    varied_picture(3, (200, 210)).save(dataset_dir / "images" / "0003.png")
    dataset, views = viewed(dataset_dir)
    items = {item.name: item for item in read_items(dataset_dir, TRAINING)}
    for item, view in zip(dataset.items, views, strict=True):
        assert view.placement == items[item.name].placement
        assert np.array_equal(np.asarray(trained_pixels(item, view)), load_pixels(items[item.name])), (
            item.name
        )


def test_sd_scripts_by_itself_leaves_a_turned_picture_on_its_side_and_shows_colours_behind_alpha(dataset_dir):
    BAD["W204"][0](dataset_dir)
    see_through(varied_picture(2)).save(dataset_dir / "images" / "0002.png")
    dataset, views = viewed(dataset_dir, engine="sd-scripts")
    assert "ignored" in views[0].turned and "hidden" in views[1].transparency
    stored = Image.open(dataset.items[0].file).convert("RGB").resize((256, 256), Image.Resampling.BOX)
    assert np.array_equal(
        np.asarray(trained_pixels(dataset.items[0], views[0], engine="sd-scripts")), np.asarray(stored)
    )


def test_the_kohya_engine_is_given_upright_pictures_on_white(dataset_dir):
    BAD["W204"][0](dataset_dir)
    see_through(varied_picture(2)).save(dataset_dir / "images" / "0002.png")
    native, kohya = (viewed(dataset_dir, engine=engine)[1] for engine in ("native", "kohya"))
    assert native == kohya and "upright" in kohya[0].turned and "white" in kohya[1].transparency


def test_the_part_of_a_caption_that_is_cut_off_is_shown(dataset_dir, tokenizer_dir):
    recaption(dataset_dir, "char_x, " + "cat " * 80 + "end")
    _, views = viewed(dataset_dir, reading=Reading(clip_tokens(tokenizer_dir)))
    assert views[0].lost.endswith("end") and views[0].read.startswith("char_x, cat")
    assert views[0].tokens > 75 and views[1].lost == ""


def test_a_shuffled_caption_keeps_its_trigger_and_its_words(dataset_dir):
    training = TRAINING.model_copy(update={"shuffle_caption": True, "cache_text_encoder_outputs": False})
    recaption(dataset_dir, "char_x, a, b, c, d, e, f")
    dataset, views = viewed(dataset_dir, training=training)
    assert views[0].read.startswith("char_x, ") and views[0].read != dataset.items[0].caption
    assert sorted(views[0].read.split(", ")) == ["a", "b", "c", "char_x", "d", "e", "f"]


def test_an_unreadable_picture_and_one_without_a_bucket_say_so(dataset_dir):
    (dataset_dir / "images" / "0001.png").write_bytes(b"x")
    varied_picture(2, (30, 300)).save(dataset_dir / "images" / "0002.png")
    _, views = viewed(dataset_dir)
    assert views[0].problem == "not readable" and "too small or too thin" in views[1].problem
    assert len(view_rows(views)) == 15 and sum(count for _, count, _ in bucket_summary(views, TRAINING)) == 13


def test_the_sheet_shows_cut_words_in_red_and_survives_damaged_pictures(dataset_dir, tokenizer_dir):
    recaption(dataset_dir, "char_x, " + "cat " * 80)
    (dataset_dir / "images" / "0002.png").write_bytes(b"x")
    dataset, views = viewed(dataset_dir, reading=Reading(clip_tokens(tokenizer_dir)))
    sheet = trainer_sheet(dataset, views)
    assert ERROR in [colour for _, colour in sheet.getcolors(maxcolors=1 << 24)]


def test_the_html_report_is_self_contained_and_escapes_what_a_dataset_says(dataset_dir):
    recaption(dataset_dir, 'char_x, <script>alert(1)</script> & "quotes"')
    dataset, views = viewed(dataset_dir)
    page = report_page(dataset, lint_dataset(dataset), views=views)
    assert "<script" not in page and "&lt;script&gt;" in page
    assert page.count("<img ") == 15 and "http" not in page.replace("http-equiv", "")
    assert "What the trainer will see" in page and 'id="W109"' in page
