"""Optimisers over flat weights: the same numbers as over single matrices, and the same bytes after a resume."""

import json

import pytest
import torch

from kohya_bridge import json_text
from kohya_bridge.engines.child import ChildFailure
from kohya_bridge.engines.native.engine import OPTIMISER_PACKAGES
from kohya_bridge.engines.off_device import OffDevice
from kohya_bridge.engines.training.optimisers import OPTIMISERS, FlatWeights, Optimiser
from kohya_bridge.settings import TrainingSettings

pytestmark = pytest.mark.torch

SHAPES = ((4, 32), (64, 4), (4, 100), (7, 4))
NO_SCALER = torch.amp.GradScaler("cpu", enabled=False)
RATES = {"Prodigy": 1.0}


def settings(name: str, **changes) -> TrainingSettings:
    base = {
        "optimizer_type": name,
        "unet_lr": RATES.get(name, 1e-2),
        "lr_scheduler": "constant",
        "lr_warmup_steps": 0,
    }
    return TrainingSettings(**{**base, **changes})


def matrices(seed: int = 0) -> list[torch.nn.Parameter]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.nn.Parameter(torch.randn(shape, generator=generator)) for shape in SHAPES]


def give_gradients(parameters, step: int) -> None:
    """Gradients of a real loss, through autograd, as training gives them."""
    generator = torch.Generator().manual_seed(100 + step)
    loss = sum(((p - torch.randn(p.shape, generator=generator)) ** 2).sum() for p in parameters)
    loss.backward()


def step_flat(optimiser: Optimiser, parameters, step: int) -> None:
    give_gradients(parameters, step)
    optimiser.step(step, NO_SCALER)
    optimiser.weights.zero_grad()


@pytest.fixture(params=["today", "before"])
def as_kept(request):
    """What a state's numbers are after they were written and read: infinity is a word today, and was JavaScript's before."""
    write = {"today": json_text.write, "before": json.dumps}[request.param]
    return lambda numbers: json_text.read(write(numbers))


@pytest.mark.parametrize("name", [name for name in OPTIMISERS if name != "AdamW8bit"])
def test_flat_weights_train_like_single_matrices(name):
    ours = matrices()
    optimiser = Optimiser(FlatWeights([("unet", ours)]), settings(name))
    theirs = matrices()
    reference = OPTIMISERS[name]([{"params": theirs, "lr": RATES.get(name, 1e-2)}], settings(name), {})
    if hasattr(reference, "train"):
        reference.train()
    for step in range(6):
        step_flat(optimiser, ours, step)
        give_gradients(theirs, step)
        reference.step()
        reference.zero_grad()
    for mine, its in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, its, rtol=1e-5, atol=1e-6)


def test_one_flat_parameter_trains_like_the_matrices_in_it():
    matrix, flat = torch.nn.Parameter(torch.ones(8, 64)), torch.nn.Parameter(torch.ones(512))
    for parameter in (matrix, flat):
        optimiser = Optimiser(FlatWeights([("unet", [parameter])]), settings("AdamW"))
        for step in range(5):
            (parameter.flatten() * torch.linspace(-1, 1, 512)).sum().backward()
            optimiser.step(step, NO_SCALER)
            optimiser.weights.zero_grad()
    assert matrix.flatten().equal(flat)


def test_the_8_bit_optimiser_keeps_its_moments_in_8_bits_and_learns():
    parameter = torch.nn.Parameter(torch.randn(8192, generator=torch.Generator().manual_seed(0)))
    optimiser = Optimiser(FlatWeights([("unet", [parameter])]), settings("AdamW8bit"))
    before = parameter.detach().square().mean().item()
    for step in range(40):
        parameter.square().mean().backward()
        optimiser.step(step, NO_SCALER)
        optimiser.weights.zero_grad()
    assert optimiser.inner.state[parameter]["state1"].dtype == torch.uint8
    assert parameter.detach().square().mean().item() < 0.6 * before


@pytest.mark.parametrize("name", OPTIMISERS)
def test_a_resumed_optimiser_goes_on_to_the_same_bytes(name, as_kept):
    straight = [torch.nn.Parameter(torch.cat([m.detach().flatten() for m in matrices()] * 12).clone())]
    wanted = settings(name, lr_scheduler="constant")
    optimiser = Optimiser(FlatWeights([("unet", straight)]), wanted)
    for step in range(3):
        step_flat(optimiser, straight, step)
    tensors, numbers = optimiser.state()
    resumed = [torch.nn.Parameter(straight[0].detach().clone())]
    other = Optimiser(FlatWeights([("unet", resumed)]), wanted)
    other.load(tensors, as_kept(numbers))
    for step in range(3, 7):
        step_flat(optimiser, straight, step)
        step_flat(other, resumed, step)
    assert straight[0].equal(resumed[0])


def test_gradients_and_weights_of_all_groups_lie_in_one_buffer():
    unet, text = matrices(1), matrices(2)
    before = [each.detach().clone() for each in (*unet, *text)]
    weights = FlatWeights([("unet", unet), ("text_encoder", text)])
    for parameter, value in zip((*unet, *text), before, strict=True):
        assert parameter.equal(value)
        assert parameter.untyped_storage().data_ptr() == weights.master_N.untyped_storage().data_ptr()
        assert parameter.grad.untyped_storage().data_ptr() == weights.grad_N.untyped_storage().data_ptr()
    give_gradients(unet, 0)
    assert weights.grad_N.abs().sum() == sum(each.grad.abs().sum() for each in unet)
    assert weights.count == sum(each.numel() for each in (*unet, *text))
    weights.zero_grad()
    assert not unet[0].grad.any()


def test_clipping_is_that_of_torch():
    ours, theirs = matrices(), matrices()
    weights = FlatWeights([("unet", ours)])
    give_gradients(ours, 0)
    give_gradients(theirs, 0)
    norm = weights.clip(1.0)
    torch.testing.assert_close(norm, torch.nn.utils.clip_grad_norm_(theirs, 1.0))
    for mine, its in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine.grad, its.grad)


def test_no_clipping_leaves_the_gradient_and_still_tells_its_norm():
    ours = matrices()
    weights = FlatWeights([("unet", ours)])
    give_gradients(ours, 0)
    before = weights.grad_N.clone()
    assert weights.clip(0.0).item() == pytest.approx(before.norm().item())
    assert weights.grad_N.equal(before)


def test_each_group_trains_at_its_own_rate():
    groups = [("unet", matrices(1)), ("text_encoder", matrices(2))]
    wanted = settings("AdamW", unet_lr=1e-2, text_encoder_lr=1e-3, lr_scheduler="linear", max_train_steps=10)
    optimiser = Optimiser(FlatWeights(groups), wanted)
    assert optimiser.rates(5) == {"unet": pytest.approx(5e-3), "text_encoder": pytest.approx(5e-4)}


def test_a_look_at_the_average_of_schedule_free_weights_changes_no_byte():
    parameters = matrices()
    optimiser = Optimiser(FlatWeights([("unet", parameters)]), settings("AdamWScheduleFree"))
    for step in range(5):
        step_flat(optimiser, parameters, step)
    before = optimiser.weights.master_N.clone()
    with optimiser.averaged():
        assert not optimiser.weights.master_N.equal(before)
    assert optimiser.weights.master_N.equal(before)
    step_flat(optimiser, parameters, 5)


def test_prodigy_reports_the_rate_that_it_found():
    parameters = matrices()
    optimiser = Optimiser(FlatWeights([("unet", parameters)]), settings("Prodigy"))
    for step in range(3):
        step_flat(optimiser, parameters, step)
    assert optimiser.effective_rates()["unet"] == pytest.approx(optimiser.inner.param_groups[0]["d"])


def test_an_option_that_the_optimiser_does_not_know_is_told_before_training():
    with pytest.raises(ChildFailure, match="optimizer_args"):
        Optimiser(FlatWeights([("unet", matrices())]), settings("Lion", optimizer_args={"no_such_option": 1}))


def test_options_reach_the_optimiser():
    wanted = settings("AdamW", optimizer_args={"weight_decay": 0.5, "betas": [0.8, 0.9]})
    group = Optimiser(FlatWeights([("unet", matrices())]), wanted).inner.param_groups[0]
    assert (group["weight_decay"], group["betas"]) == (0.5, (0.8, 0.9))


def test_the_parent_knows_the_package_of_every_optimiser_that_needs_one():
    assert set(OPTIMISER_PACKAGES) == set(OPTIMISERS) - {"AdamW", "Adafactor"}


@pytest.mark.parametrize("name", [name for name in OPTIMISERS if name != "AdamW8bit"])
def test_leaving_the_device_between_steps_and_coming_back_changes_no_bit(name):
    """All storage is left and made anew; without a GPU here, main memory stands for both places."""
    stayed, travelled = matrices(), matrices()
    home = Optimiser(FlatWeights([("unet", stayed)]), settings(name))
    away = Optimiser(FlatWeights([("unet", travelled)]), settings(name))
    frozen = torch.nn.Linear(4, 4)
    before = {key: each.clone() for key, each in frozen.state_dict().items()}
    off = OffDevice([frozen], away.inner, is_away=lambda tensor: True)
    for step in range(6):
        step_flat(home, stayed, step)
        step_flat(away, travelled, step)
        places = {each.data_ptr() for each in (away.weights.master_N, *frozen.parameters())}
        away.weights.move(torch.device("cpu"))
        off.release()
        assert places.isdisjoint(each.data_ptr() for each in (away.weights.master_N, *frozen.parameters()))
        away.weights.move(torch.device("cpu"))
        off.restore()
    assert torch.equal(home.weights.master_N, away.weights.master_N)
    for mine, its in zip(home.state()[0].items(), away.state()[0].items(), strict=True):
        assert mine[0] == its[0] and torch.equal(mine[1], its[1])
    assert all(torch.equal(each, before[key]) for key, each in frozen.state_dict().items())
