"""The objective against diffusers: noising, velocity, SNR weights, zero terminal SNR."""

import pytest
import torch
from diffusers import DDPMScheduler
from diffusers.schedulers.scheduling_ddpm import rescale_zero_terminal_snr
from diffusers.training_utils import compute_snr

from kohya_bridge.engines.training.objective import (
    SD_SCHEDULE,
    cumulative_alphas,
    loss_B,
    make_objective,
    rescale_to_zero_terminal_snr,
)
from kohya_bridge.settings import TrainingSettings

pytestmark = pytest.mark.torch

TIMESTEPS_B = torch.tensor([0, 1, 250, 500, 999])


def latents(seed: int) -> torch.Tensor:
    return torch.randn(5, 4, 6, 8, generator=torch.Generator().manual_seed(seed))


def scheduler(**options) -> DDPMScheduler:
    return DDPMScheduler(**{**SD_SCHEDULE, **options})


def test_noising_is_that_of_diffusers():
    ours = make_objective(TrainingSettings()).noisy(latents(1), latents(2), TIMESTEPS_B)
    torch.testing.assert_close(ours, scheduler().add_noise(latents(1), latents(2), TIMESTEPS_B))


def test_the_target_of_an_epsilon_model_is_the_noise():
    assert make_objective(TrainingSettings()).target(latents(1), latents(2), TIMESTEPS_B).equal(latents(2))


def test_the_target_of_a_v_model_is_the_velocity_of_diffusers():
    ours = make_objective(TrainingSettings(prediction_type="v_prediction"))
    theirs = scheduler(prediction_type="v_prediction").get_velocity(latents(1), latents(2), TIMESTEPS_B)
    torch.testing.assert_close(ours.target(latents(1), latents(2), TIMESTEPS_B), theirs)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_min_snr_weights_follow_from_diffusers_snr(prediction):
    ours = make_objective(TrainingSettings(prediction_type=prediction, min_snr_gamma=5.0))
    snr_B = compute_snr(scheduler(), TIMESTEPS_B)
    capped_B = snr_B.clamp(max=5.0)
    expected_B = capped_B / snr_B if prediction == "epsilon" else capped_B / (snr_B + 1)
    torch.testing.assert_close(ours.weight_N[TIMESTEPS_B], expected_B, rtol=1e-4, atol=1e-6)


def test_without_gamma_every_timestep_weighs_the_same():
    assert make_objective(TrainingSettings(min_snr_gamma=0)).weight_N.unique().tolist() == [1.0]


def test_zero_terminal_snr_ends_in_pure_noise_as_in_diffusers():
    alphas_N = rescale_to_zero_terminal_snr(cumulative_alphas(SD_SCHEDULE))
    theirs_N = torch.cumprod(1.0 - rescale_zero_terminal_snr(scheduler().betas), dim=0)
    torch.testing.assert_close(alphas_N, theirs_N, rtol=1e-4, atol=1e-6)
    assert alphas_N[-1].item() == 0.0


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_a_perfect_answer_implies_the_clean_picture(prediction):
    ours = make_objective(TrainingSettings(prediction_type=prediction))
    noisy = ours.noisy(latents(1), latents(2), TIMESTEPS_B)
    perfect = ours.target(latents(1), latents(2), TIMESTEPS_B)
    torch.testing.assert_close(ours.clean(perfect, noisy, TIMESTEPS_B), latents(1), rtol=1e-3, atol=1e-3)


def test_the_loss_is_the_weighted_mean_of_each_items_error():
    ours = make_objective(TrainingSettings(min_snr_gamma=5.0))
    each_B = loss_B(latents(1).bfloat16(), latents(2))
    assert each_B.dtype == torch.float32
    expected = ((latents(1).bfloat16().float() - latents(2)) ** 2).flatten(1).mean(1)
    torch.testing.assert_close(each_B, expected)
    torch.testing.assert_close(
        ours.weighted(each_B, TIMESTEPS_B), (expected * ours.weight_N[TIMESTEPS_B]).mean()
    )
