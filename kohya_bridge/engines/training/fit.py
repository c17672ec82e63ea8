"""The training loop.

In: a `Child` (a run folder with its orders). Out: progress events, checkpoints, states, measurements. One step is: make
the batches, forward, backward, average over processes, clip, update. After each step comes the boundary: save, measure,
choose, and do what the desk asks. Nothing in a step waits for the device.
"""

from __future__ import annotations

import torch

from ..child import Child
from .batches import Ahead
from .boundary import Boundary
from .meter import Clock, Meter
from .prepare import Opener, prepare
from .randomness import Purpose, seed_of
from .ranks import Ranks
from .training import Training


def fit(child: Child, ranks: Ranks, clock: Clock, open_side: Opener) -> None:
    """Train until the planned step, a stop or an early stop. `clock` is told where the time goes, `open_side` knows the model.

    Raises:
        StopRequested: stopped on request, with everything saved.
        ChildFailure: something that has a name went wrong.
    """
    training = prepare(child, ranks, open_side)
    settings, trained = training.settings, training.trained
    weights, optimiser, scaler = trained.weights, trained.optimiser, trained.scaler
    accumulated, picker = settings.gradient_accumulation_steps, training.maker.picker
    meter = Meter(child.report, training.device, check_norm=not scaler.is_enabled())
    boundary = Boundary(child, training, meter)

    step = training.first_step
    micro_batch = step * accumulated * ranks.world + ranks.rank
    if boundary.before_first_step(step):
        return
    ahead = Ahead(training.maker.make, micro_batch, stride=ranks.world)
    try:
        while step < settings.max_train_steps:
            with clock.step():
                loss = torch.zeros((), device=training.device)
                epoch = picker.epoch_of(micro_batch)
                for _ in range(accumulated):
                    with clock.part("data"):
                        batch = ahead.take().to(training.device)
                    with clock.part("forward + backward"):
                        _set_dropout(training, micro_batch)
                        share = training.loss(batch) / accumulated
                        torch.autograd.backward(scaler.scale(share))
                        loss += share.detach()
                    micro_batch += ranks.world
                with clock.part("optimiser"):
                    ranks.average(weights.grad_N)
                    ranks.average(loss)
                    scaler.unscale_(optimiser.inner)
                    norm = weights.clip(settings.max_grad_norm)
                    optimiser.step(step, scaler)
                    weights.zero_grad()
                step += 1
                meter.put(step, loss, norm, epoch=epoch + 1, rates=optimiser.effective_rates())
            if boundary.after_step(step):
                break
    finally:
        ahead.close()


def _set_dropout(training: Training, micro_batch: int) -> None:
    """Dropout draws from torch's own generator: seed it by the micro-batch, so that a resume draws the same."""
    if training.settings.network_dropout:
        torch.manual_seed(seed_of(training.settings.seed, Purpose.DROPOUT, micro_batch))
