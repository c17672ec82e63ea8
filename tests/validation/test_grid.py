"""Grids of any shape: nothing overlaps, nothing leaves the picture, every label can be read."""

import random

import numpy as np
import pytest
from PIL import Image

from kohya_bridge.validation.cells import Checkpoint, Prompt, plan_cells
from kohya_bridge.validation.grid import (
    BACKGROUND,
    SMALLEST_FONT_PX,
    compose_grid,
    compose_plan,
    label_font,
    layout_grid,
)

LONG = "char_alice, a knight in ornate silver armour standing on a cliff at sunset, cinematic lighting, wide shot"


def overlap(one, other):
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def check_geometry(layout, cell):
    width, height = layout.size
    boxes = [box for row in layout.cells for box in row] + [text.box for text in layout.texts]
    for box in boxes:
        assert 0 <= box[0] < box[2] <= width and 0 <= box[1] < box[3] <= height
    for index, box in enumerate(boxes):
        assert not any(overlap(box, other) for other in boxes[index + 1 :])
    for row in layout.cells:
        for left, top, right, bottom in row:
            assert right - left >= cell[0] and bottom - top >= cell[1]
    font = label_font(layout.font_px)
    for text in layout.texts:
        left, top, right, bottom = text.box
        assert all(font.getlength(line) <= right - left for line in text.lines)
        assert len(text.lines) * layout.font_px * 1.25 <= bottom - top + 1
    assert layout.font_px >= SMALLEST_FONT_PX


@pytest.mark.parametrize(
    ("shape", "cell"),
    [
        ((1, 1), (64, 64)),
        ((1, 1), (512, 512)),
        ((2, 2), (256, 256)),
        ((5, 7), (128, 192)),
        ((5, 7), (64, 64)),
        ((3, 2), (512, 96)),
    ],
)
def test_labels_and_cells_have_their_own_room(shape, cell):
    rows, columns = [f"{LONG}\nseed {n}" for n in range(shape[0])], ["step 1200\nstrength 0.75"] * shape[1]
    check_geometry(layout_grid(shape, cell, rows=rows, columns=columns, title=LONG * 3, footer="euler"), cell)


def test_random_shapes_sizes_and_labels_keep_the_geometry():
    rng = random.Random(3)
    words = ["a", "silver", "W" * 90, "", "x,", "Ünïcödé", "\n", "strength 0.75", LONG]
    text = lambda: " ".join(rng.choices(words, k=rng.randint(0, 9)))
    for _ in range(60):
        shape = (rng.randint(1, 6), rng.randint(1, 8))
        cell = (rng.randint(1, 400), rng.randint(1, 400))
        layout = layout_grid(
            shape,
            cell,
            rows=[text() for _ in range(shape[0])],
            columns=[text() for _ in range(shape[1])],
            title=text(),
            footer=text(),
        )
        check_geometry(layout, cell)


def test_pictures_stand_in_the_grid_pixel_for_pixel():
    rng = np.random.default_rng(1)
    pictures = [
        [Image.fromarray(rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)) for _ in range(3)]
        for _ in range(2)
    ]
    sheet = compose_grid(pictures, rows=["a", "b"], columns=["1", "2", "3"], title="t")
    layout = layout_grid((2, 3), (64, 48), rows=["a", "b"], columns=["1", "2", "3"], title="t")
    assert sheet.size == layout.size
    for row, boxes in zip(pictures, layout.cells, strict=True):
        for picture, (left, top, right, bottom) in zip(row, boxes, strict=True):
            x, y = left + (right - left - 64) // 2, top + (bottom - top - 48) // 2
            assert sheet.crop((x, y, x + 64, y + 48)).tobytes() == picture.tobytes()


def test_every_label_leaves_ink_inside_its_own_box_and_none_outside():
    columns = ["step 1200\nstrength 0.75", "gjpqy"]
    layout = layout_grid((1, 2), (64, 64), rows=[LONG], columns=columns, title="Title", footer="footer")
    sheet = np.asarray(
        compose_grid(
            [[Image.new("RGB", (64, 64), BACKGROUND)] * 2],
            rows=[LONG],
            columns=columns,
            title="Title",
            footer="footer",
        )
    )
    ink = (sheet != BACKGROUND).any(axis=2)
    for text in layout.texts:
        left, top, right, bottom = text.box
        assert ink[top:bottom, left:right].any()
        ink[top:bottom, left - 1 : right + 1] = (
            False  # smoothing of a letter's edge may reach one pixel further
        )
    assert not ink.any()


@pytest.mark.parametrize("cell", [(64, 64), (384, 64), (128, 192)])
def test_a_prompt_that_fills_the_window_of_clip_is_shown_whole(cell):
    """75 tokens are some 300 characters, wherever the prompt stands."""
    prompt = f"{LONG}, {LONG}, {LONG}"[:300].strip()
    for place in ({"rows": [prompt]}, {"columns": [prompt]}, {"title": prompt}):
        layout = layout_grid((1, 1), cell, **place)
        assert " ".join(layout.texts[0].lines) == prompt
        check_geometry(layout, cell)


def test_the_seed_under_a_long_prompt_survives_when_the_prompt_is_cut():
    layout = layout_grid((1, 1), (64, 64), rows=[f"{LONG * 8}\nseed 12345"])
    lines = layout.texts[0].lines
    assert lines[-1] == "seed 12345"
    assert lines[-2].endswith("…")


def test_a_picture_that_is_missing_leaves_a_marked_gap():
    sheet = compose_grid([[None, Image.new("RGB", (40, 40), (255, 0, 0))]])
    assert np.asarray(sheet).min() < 200


def test_an_enormous_grid_is_shrunk_instead_of_exhausting_memory():
    sheet = compose_grid([[Image.new("RGB", (5000, 5000))] * 3])
    assert sheet.width * sheet.height < 66_000_000


def test_a_plan_and_its_pictures_become_a_sheet_with_addresses():
    plan = plan_cells(
        checkpoints=(Checkpoint(400, "c", "a" * 64),), prompts=(Prompt("p"),), strengths=(1.0,), seeds=(1, 2)
    )
    pictures = {render.key: Image.new("RGB", (32, 32)) for render in plan.renders}
    assert compose_plan(plan, pictures, title="Alice").size[0] > 64
