"""The real sd-scripts lends its GPU between two steps and trains the same weights.

Runs wherever sd-scripts is set up (KOHYA_SD_SCRIPTS, KOHYA_PYTHON, or `make kohya`).
"""

from __future__ import annotations

import pytest

from tests.kohya.test_real_sd_scripts import bench, tiny_base, weights  # noqa: F401  fixtures
from tests.kohya_bench import at_step, wait_for

pytestmark = [pytest.mark.sdscripts, pytest.mark.timeout(1800)]


def test_the_weights_are_identical_to_those_of_a_run_that_lent_nothing(bench):  # noqa: F811
    plan = bench.plan(max_train_steps=12, validation_split=0.0)

    def lend(run, child):
        for number, step in enumerate((3, 6)):
            at_step(step)(run, child)
            run.ask("lend", name=f"prompt {number}")
            wait_for(lambda: run.state().status == "lent", child)
            run.withdraw("lend")

    lent = bench.train(plan, name="lent", act=lend)
    straight = bench.train(plan, name="straight")
    assert [row["action"] for row in lent.of("control")] == ["lend", "take_back"] * 2
    assert lent.losses() == straight.losses()
    files = [each.run.dir / each.of("checkpoint")[-1]["file"] for each in (lent, straight)]
    assert weights(files[0]) == weights(files[1])
