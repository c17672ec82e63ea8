"""Upstream's trainer class with our methods over its own.

In: the class of the chosen script and an `Attempt`. Out: a subclass. Overridden are only methods that upstream made to be
overridden; each calls upstream's own.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ...files import Tree
from ...reasons import reason_of
from ..train_log import log_traceback
from . import ranks
from .attempt import Attempt
from .measuring import clean_error_factor

SAMPLE_NUMBER = re.compile(r"_(\d{2})_\d{14}")


def hooked_trainer(base: type, attempt: Attempt) -> type:
    """A subclass of `base` that reports to `attempt`."""

    class Hooked(base):  # type: ignore[misc]
        def load_target_model(self, args: Any, *rest: Any, **options: Any) -> Any:
            attempt.report.phase("loading")
            loaded = super().load_target_model(args, *rest, **options)
            attempt.models_loaded = True
            return loaded

        def cache_text_encoder_outputs_if_needed(self, *rest: Any, **options: Any) -> None:
            attempt.preparing(0, None)
            super().cache_text_encoder_outputs_if_needed(*rest, **options)

        def post_process_network(self, args: Any, accelerator: Any, network: Any, *rest: Any) -> None:
            _note_descriptions(network, attempt)
            super().post_process_network(args, accelerator, network, *rest)

        def all_reduce_network(self, accelerator: Any, network: Any) -> None:
            """Upstream clones every gradient through a reduction even for one process: 25 ms a step on SDXL."""
            if accelerator.num_processes > 1:
                super().all_reduce_network(accelerator, network)

        def process_batch(self, *rest: Any, **options: Any) -> Any:
            loss = super().process_batch(*rest, **options)
            if options.get("is_train", True):
                attempt.losses.append(loss.detach())
            return loss

        def get_noise_pred_and_target(
            self,
            args: Any,
            accelerator: Any,
            noise_scheduler: Any,
            latents: Any,
            batch: Any,
            *rest: Any,
            **options: Any,
        ) -> Any:
            made = super().get_noise_pred_and_target(
                args, accelerator, noise_scheduler, latents, batch, *rest, **options
            )
            if not options.get("is_train", True) and attempt.held_out:
                prediction, target, timesteps = made[:3]
                factor = clean_error_factor(
                    noise_scheduler, timesteps, velocity=bool(args.v_parameterization)
                )
                attempt.held_out.take(batch, prediction, target, latents, clean_error=factor)
            return made

        def sample_images(
            self, accelerator: Any, args: Any, epoch: Any, global_step: int, *rest: Any
        ) -> None:
            """Upstream calls this after each optimizer step (no epoch), before the first one, and at each epoch's end."""

            def sample() -> None:
                upstream_sample = super(Hooked, self).sample_images
                _sample(lambda: upstream_sample(accelerator, args, None, attempt.step, *rest), args, attempt)

            attempt.sample = sample
            if epoch is None:
                attempt.boundary(global_step)
            elif global_step == 0:
                if args.sample_at_first and not attempt.offset:
                    sample()
            elif attempt.sample_due_after_epoch():
                sample()

        def accelerator_logging(
            self,
            accelerator: Any,
            logs: dict[str, Any],
            step_value: int,
            global_step: int,
            epoch: int,
            val_step: Any = None,
        ) -> None:
            """TensorBoard and W&B get steps and epochs of the whole run, and the held-out loss without the trained probe."""
            shift = attempt.resumed.epoch if attempt.resumed else 0
            if "loss/validation/step_average" in logs:
                _tell_held_out(logs, attempt)
            by_epoch = step_value == epoch and step_value != global_step
            super().accelerator_logging(
                accelerator,
                logs,
                step_value + (shift if by_epoch else attempt.offset),
                global_step + attempt.offset,
                epoch + shift,
                val_step,
            )
            if "loss/validation/step_average" in logs:
                attempt.after_measuring()

    Hooked.__name__ = f"Hooked{base.__name__}"
    return Hooked


def _note_descriptions(network: Any, attempt: Attempt) -> None:
    """Remember what the network calls its parameter groups; upstream keeps that in a local variable."""
    for name in ("prepare_optimizer_params_with_multiple_te_lrs", "prepare_optimizer_params"):
        prepare = getattr(network, name, None)
        if prepare is None:
            continue

        def prepare_and_note(*rest: Any, _prepare: Any = prepare, **options: Any) -> Any:
            results = _prepare(*rest, **options)
            if isinstance(results, tuple) and len(results) > 1:
                attempt.descriptions = list(results[1])
            return results

        setattr(network, name, prepare_and_note)


def _tell_held_out(logs: dict[str, Any], attempt: Attempt) -> None:
    loss = attempt.measured()
    if loss is not None:
        logs["loss/validation/step_divergence"] += loss - logs["loss/validation/step_average"]
        logs["loss/validation/step_average"] = loss


def _sample(render: Any, args: Any, attempt: Attempt) -> None:
    """Render upstream's sample pictures now and take them over. A failure costs the pictures, never the training."""
    run = Tree(attempt.child.run_dir)
    folder = run.make(Path(args.output_dir) / "sample")
    before = set(_pngs(run, folder))
    kept = args.sample_every_n_steps, args.sample_every_n_epochs
    args.sample_every_n_steps, args.sample_every_n_epochs = 1, None
    attempt.eval_mode()
    try:
        render()
    except Exception as error:  # the border to foreign code that is not needed for the result
        log_traceback()
        attempt.report.notice(
            f"Sampling at step {attempt.step} failed: {reason_of(error)}.",
            "Training goes on. The traceback is in train.log.",
            code="sampling_failed",
        )
    finally:
        attempt.train_mode()
        args.sample_every_n_steps, args.sample_every_n_epochs = kept
    if ranks.rank() == 0:
        for made in sorted(set(_pngs(run, folder)) - before):
            _take_over(run, made, attempt)


def _pngs(run: Tree, folder: Path) -> list[Path]:
    return [each for each in run.entries(folder) if each.suffix == ".png" and run.is_file(each)]


def _take_over(run: Tree, made: Path, attempt: Attempt) -> None:
    number = SAMPLE_NUMBER.search(made.name)
    prompts = attempt.orders.get("sample_prompts") or []
    prompt = prompts[int(number.group(1))] if number and int(number.group(1)) < len(prompts) else {}
    target = run.move(made, f"samples/step{attempt.step:08d}-{made.name}")
    attempt.report.log.write(
        "sample",
        step=attempt.step,
        file=f"samples/{target.name}",
        prompt=prompt.get("prompt", ""),
        seed=prompt.get("seed"),
    )
