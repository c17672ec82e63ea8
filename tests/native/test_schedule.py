"""Learning-rate schedules: closed forms that give what diffusers' stateful schedulers give."""

import pytest
import torch
from diffusers.optimization import get_scheduler

from kohya_bridge.engines.training.schedule import rate_factor, warmup_steps
from kohya_bridge.settings import TrainingSettings

pytestmark = pytest.mark.torch

NAMES = ("constant", "constant_with_warmup", "linear", "cosine", "cosine_with_restarts", "polynomial")


def settings(**changes) -> TrainingSettings:
    return TrainingSettings(**{"max_train_steps": 60, **changes})


@pytest.mark.parametrize("warmup", [0, 7])
@pytest.mark.parametrize("name", NAMES)
def test_a_schedule_gives_the_rates_of_diffusers(name, warmup):
    rate = 3e-4
    wanted = settings(
        lr_scheduler=name, lr_warmup_steps=warmup, lr_scheduler_num_cycles=3, lr_scheduler_power=2.0
    )
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=rate)
    theirs = get_scheduler(
        name, optimiser, num_warmup_steps=warmup, num_training_steps=60, num_cycles=3, power=2.0
    )
    for step in range(60):
        ours = rate * rate_factor(wanted, step, base_rate=rate)
        assert ours == pytest.approx(theirs.get_last_lr()[0], rel=1e-9, abs=1e-15), step
        optimiser.step()
        theirs.step()


def test_warm_up_may_be_a_share_or_a_count_of_steps():
    assert warmup_steps(settings(lr_warmup_steps=0.1)) == 6
    assert warmup_steps(settings(lr_warmup_steps=12)) == 12
    assert warmup_steps(settings(lr_warmup_steps=0)) == 0


def test_a_schedule_free_optimiser_gets_its_rate_unchanged():
    wanted = settings(optimizer_type="AdamWScheduleFree", lr_scheduler="constant", lr_warmup_steps=10)
    assert {rate_factor(wanted, step, base_rate=1.0) for step in range(60)} == {1.0}
