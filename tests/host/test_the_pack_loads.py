"""ComfyUI takes the pack in: quickly, whole, and without a word of complaint."""

import re

import pytest

pytestmark = pytest.mark.host


def test_the_pack_is_imported_without_an_error(comfy):
    log = comfy.log()
    imported = re.search(r"^ *([\d.]+) seconds( \(IMPORT FAILED\))?: .*wizdroid-lora-training$", log, re.M)
    assert imported is not None, comfy.log_tail()
    assert imported.group(2) is None, log


def test_the_loaded_pack_costs_less_than_the_time_of_a_blink(comfy):
    seconds = float(re.search(r"^ *([\d.]+) seconds: .*wizdroid-lora-training$", comfy.log(), re.M).group(1))
    assert seconds <= 0.15
