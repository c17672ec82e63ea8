"""The objective of flow models: against diffusers' SD3 functions, its own inverse, and the densities by their quantiles."""

import math

import numpy as np
import pytest
import torch
from diffusers.training_utils import compute_density_for_timestep_sampling, compute_loss_weighting_for_sd3
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from kohya_bridge.engines.training.flow import make_flow_objective, resolution_shift, shifted
from kohya_bridge.errors import InvalidInput
from kohya_bridge.forbidding import parse
from kohya_bridge.settings import TrainingSettings

pytestmark = pytest.mark.torch

TIMES = st.floats(0.001, 0.999)
SHIFTS = st.floats(0.2, 20)
TIMES_B = torch.tensor([0.05, 0.3, 0.7, 0.95])


def objective(shift: float = 3.0, **settings):
    return make_flow_objective(TrainingSettings(**settings), shift=shift)


def latents(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(4, *(shape or (16, 6, 8)), generator=torch.Generator().manual_seed(seed))


def drawn(count: int = 4000, shape=(16, 64, 64), **settings) -> np.ndarray:
    ours, rng = objective(**settings), np.random.default_rng(5)
    return np.array([ours.draw(rng, shape) for _ in range(count)])


@pytest.mark.parametrize("shape", [(16, 6, 8), (16, 1, 6, 8)], ids=["pictures", "with a frame axis"])
def test_the_right_answer_implies_the_picture_and_the_noise_it_was_made_of(shape):
    ours, clean, noise = objective(), latents(1, *shape), latents(2, *shape)
    noisy, said = ours.noisy(clean, noise, TIMES_B), ours.target(clean, noise, TIMES_B)
    assert said.equal(noise - clean)
    torch.testing.assert_close(ours.clean(said, noisy, TIMES_B), clean, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(ours.noise(said, noisy, TIMES_B), noise, atol=1e-5, rtol=1e-5)


@given(TIMES, SHIFTS)
@examples(deadline=None)
def test_a_shift_keeps_the_ends_the_order_and_is_undone_by_its_inverse(time, shift):
    assert shifted(0.0, shift) == 0.0 and shifted(1.0, shift) == pytest.approx(1.0)
    assert shifted(time, shift) < shifted(min(1.0, time + 1e-3), shift)
    assert shifted(shifted(time, shift), 1 / shift) == pytest.approx(time, rel=1e-6)


@given(
    st.sampled_from(["auto", "uniform", "sigma", "sigmoid", "shift", "flux_shift"]),
    SHIFTS,
    st.integers(0, 99),
)
@examples(deadline=None)
def test_every_drawn_time_lies_among_those_that_are_trained(sampling, shift, seed):
    ours = objective(shift, timestep_sampling=sampling, min_timestep=200, max_timestep=700)
    assert 0.2 <= ours.draw(np.random.default_rng(seed), (16, 64, 64)) <= 0.7


def test_times_are_uniform_in_the_samplers_own_time_unless_asked_otherwise():
    for quantile in (0.1, 0.5, 0.9):
        assert np.quantile(drawn(), quantile) == pytest.approx(shifted(quantile, 3.0), abs=0.03)
        own = drawn(discrete_flow_shift=6.0)
        assert np.quantile(own, quantile) == pytest.approx(shifted(quantile, 6.0), abs=0.03)
        assert np.quantile(drawn(timestep_sampling="uniform"), quantile) == pytest.approx(quantile, abs=0.03)


def test_flux_shift_grows_with_the_picture():
    assert resolution_shift((16, 32, 32)) == pytest.approx(math.exp(0.5))
    assert resolution_shift((16, 128, 128)) == pytest.approx(math.exp(1.15))
    small = drawn(timestep_sampling="flux_shift", shape=(16, 32, 32))
    assert np.median(small) == pytest.approx(shifted(0.5, math.exp(0.5)), abs=0.03)


@pytest.mark.parametrize("scheme", ["logit_normal", "mode"])
def test_the_densities_are_those_of_diffusers(scheme):
    theirs = compute_density_for_timestep_sampling(
        scheme, 20000, logit_mean=-0.5, logit_std=0.8, mode_scale=1.0,
        generator=torch.Generator().manual_seed(1),
    )  # fmt: skip
    ours = drawn(
        timestep_sampling="sigma", weighting_scheme=scheme, discrete_flow_shift=1.0,
        logit_mean=-0.5, logit_std=0.8, mode_scale=1.0,
    )  # fmt: skip
    for quantile in (0.1, 0.5, 0.9):
        assert np.quantile(ours, quantile) == pytest.approx(theirs.quantile(quantile).item(), abs=0.03)


@pytest.mark.parametrize("scheme", ["none", "sigma_sqrt", "cosmap"])
def test_the_weights_are_those_of_diffusers(scheme):
    ours = objective(weighting_scheme=scheme).weight(TIMES_B)
    torch.testing.assert_close(ours, compute_loss_weighting_for_sd3(scheme, TIMES_B))


def test_a_density_without_the_sampling_that_draws_by_it_is_refused():
    with pytest.raises(InvalidInput, match="works with timestep_sampling sigma only"):
        parse(TrainingSettings, {"weighting_scheme": "mode"}, what="the settings")


def test_a_sample_begins_in_noise_and_its_times_fall():
    times = objective().sampling_times(8)
    assert times[0] == 1.0 and times == sorted(times, reverse=True) and times[-1] > 0
