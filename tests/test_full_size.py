"""Full-size models load in about the size of their file and train finite steps; `make test-full` prints the figures."""

import math

import pytest

from scripts.real_size import measure_apart, shown
from tests.native_world import tokenizer_dir

pytestmark = [pytest.mark.full, pytest.mark.timeout(1800)]


@pytest.mark.parametrize(
    ("family", "pixels", "modules", "gib"), [("sd15", 128, 192, 7), ("sdxl", 64, 722, 11)]
)
def test_a_full_size_model_trains(family, pixels, modules, gib):
    measured = measure_apart(family, pixels=pixels, steps=3, precision="bf16", tokenizer_dir=tokenizer_dir())
    print("\n" + shown(measured))
    assert measured.modules == modules
    assert all(math.isfinite(loss) for loss in measured.losses)
    assert measured.peak_gib < gib
