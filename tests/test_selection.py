"""Choosing the best checkpoint and stopping early, from rows as the events give them."""

import pytest

from kohya_bridge.selection import choose_best, mean_interval, why_stop


def rows(*losses, cells=None, psnr=None):
    """Measurements at steps 0, 10, 20, ..."""
    return [
        {"step": 10 * number, "loss": loss, "cells": cells[number] if cells else None, "psnr": psnr}
        for number, loss in enumerate(losses)
    ]


def files(*steps):
    return [{"step": step, "file": f"checkpoints/dot-{step}.safetensors"} for step in steps]


def test_the_lowest_held_out_loss_wins():
    choice = choose_best(rows(1.0, 0.8, 0.6, 0.7), files(10, 20, 30))
    assert (choice.step, choice.file) == (20, "checkpoints/dot-20.safetensors")
    assert "0.6000" in choice.reason


def test_the_untrained_model_is_no_checkpoint_even_if_its_loss_is_lowest():
    assert choose_best(rows(0.1, 0.8, 0.6), files(10, 20)).step == 20


def test_a_later_checkpoint_must_be_better_beyond_the_noise():
    early, late = [1.00, 0.50, 0.80, 0.61], [0.99, 0.52, 0.78, 0.61]
    measured = rows(9.0, 0.7275, 0.7250, cells=[[9.0] * 4, early, late])
    choice = choose_best(measured, files(10, 20))
    assert choice.step == 10
    assert "can't be told apart" in choice.reason


def test_a_small_but_steady_gain_counts_although_pictures_differ_much():
    early, late = [1.00, 0.50, 0.80, 0.61], [0.98, 0.48, 0.78, 0.59]
    assert choose_best(rows(9.0, 0.7275, 0.7075, cells=[[9.0] * 4, early, late]), files(10, 20)).step == 20


def test_equal_losses_go_to_the_earlier_step():
    assert choose_best(rows(1.0, 0.5, 0.5), files(20, 10)).step == 10


def test_without_measurements_the_last_checkpoint_is_chosen_and_says_so():
    choice = choose_best([], files(10, 30, 20))
    assert choice.step == 30
    assert "no held-out measurement" in choice.reason


def test_without_checkpoints_there_is_no_choice():
    assert choose_best(rows(1.0, 0.5), []) is None


@pytest.mark.parametrize("broken", ["nan", "inf", None, float("nan")])
def test_a_measurement_that_is_no_number_is_passed_over(broken):
    assert choose_best(rows(1.0, 0.8, broken), files(10, 20)).step == 10
    assert why_stop(rows(1.0, 0.8, broken), patience=1) is None


def test_patience_counts_measurements_since_the_best():
    assert why_stop(rows(1.0, 0.8, 0.9), patience=2) is None
    reason = why_stop(rows(1.0, 0.8, 0.9, 0.85), patience=2)
    assert "2 measurements" in reason and "step 10" in reason


def test_a_gain_below_min_delta_does_not_count():
    assert why_stop(rows(1.0, 0.99, 0.98), patience=2, min_delta=0.05)
    assert why_stop(rows(1.0, 0.9, 0.8), patience=2, min_delta=0.05) is None


def test_without_patience_nothing_stops():
    assert why_stop(rows(1.0, 2.0, 3.0, 4.0)) is None


def test_the_target_psnr_stops():
    assert "20.50 dB" in why_stop(rows(1.0, 0.9, psnr=20.5), target_psnr=20.0)
    assert why_stop(rows(1.0, 0.9, psnr=19.5), target_psnr=20.0) is None


def test_an_untrained_model_at_the_target_is_trained_all_the_same():
    assert why_stop(rows(1.0, psnr=30.0), target_psnr=20.0) is None


def test_the_interval_of_a_mean_is_students():
    mean, low, high = mean_interval([1.0, 2.0, 3.0, 4.0])
    assert mean == 2.5
    assert (low, high) == (pytest.approx(0.4457, abs=1e-3), pytest.approx(4.5543, abs=1e-3))
    assert mean_interval([1.0])[1:] == (float("-inf"), float("inf"))
