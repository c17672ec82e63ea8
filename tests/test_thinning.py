"""A long loss series drawn from a few thousand rows."""

import random

from kohya_bridge.runs.thinning import bucket_width, thin


def series(steps, first=1):
    rng = random.Random(3)
    return [[step, rng.random(), 0.5, 1e-4] for step in range(first, first + steps)]


def test_a_short_series_is_left_alone():
    assert thin(series(400), most=400) == series(400)


def test_at_most_the_wanted_number_of_rows_is_kept_whatever_the_length():
    for steps in (401, 999, 4097, 100_000):
        kept = thin(series(steps), most=400)
        assert 100 < len(kept) <= 400
        assert [row[0] for row in kept] == sorted({row[0] for row in kept})


def test_first_and_last_step_and_every_peak_and_valley_are_kept():
    rows = series(100_000)
    rows[54_321][1], rows[7][1] = 9.0, -9.0
    kept = thin(rows)
    assert kept[-1] is rows[-1] and rows[54_321] in kept and rows[7] in kept


def test_a_loss_that_is_no_number_is_kept():
    rows = series(10_000)
    rows[6_000][1] = "nan"
    assert rows[6_000] in thin(rows, most=200)


def test_the_choice_does_not_depend_on_when_it_is_made():
    rows = series(9_000)
    width = bucket_width(9_000, most=1000)
    assert width == bucket_width(8_500, most=1000)
    complete = [row for row in thin(rows[:8_500], most=1000) if row[0] // width < 8_499 // width]
    assert complete == [row for row in thin(rows, most=1000) if row[0] // width < 8_499 // width]


def test_a_series_with_holes_from_a_resumed_run_is_thinned_by_step():
    rows = series(3_000) + series(3_000, first=50_000)
    kept = thin(rows, most=500)
    assert len(kept) <= 500 and kept[0][0] < 100 and kept[-1][0] == 52_999
