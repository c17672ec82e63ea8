"""The hooks: what is wrapped around sd-scripts in memory, so that it reports to us and does what it is asked.

In: the imported upstream and an `Attempt`. Out: a trainer class ready to train. Wrapped are one trainer class (by a
subclass), a few functions of `library.train_util`, and three methods of the one Accelerator that it makes. `surface.py`
lists each of them with what must be true of it; the doctor, the review command and a test read that list.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from ...files import Tree
from ...models.lora_check import lora_problems
from ..child import EXIT_NOT_FINITE, ChildFailure
from ..saved import PARTIAL
from . import ranks
from .attempt import Attempt
from .ledger import write_ledger
from .resuming import EpochOrder, Shifted, steps_to_plan
from .state_loading import load_state
from .trainer import hooked_trainer
from .upstream import Upstream


def install(upstream: Upstream, attempt: Attempt) -> type:
    """Wrap upstream around `attempt` and return the trainer class to construct."""
    train_util = upstream.train_util
    _wrap_accelerator(train_util, attempt)
    _wrap_resume(train_util, attempt)
    _wrap_trackers(train_util, attempt)
    _wrap_optimizer_modes(train_util, attempt)
    _wrap_counters(train_util, attempt)
    _wrap_base_model_digest(train_util, attempt)
    _wrap_progress_bars(train_util, attempt)
    return hooked_trainer(upstream.trainer_class, attempt)


def _wrap_accelerator(train_util: Any, attempt: Attempt) -> None:
    make = train_util.prepare_accelerator

    def prepare_accelerator(args: Any) -> Any:
        accelerator = make(args)
        attempt.accelerator = accelerator
        _wrap_prepare(accelerator, attempt)
        _wrap_save_state(accelerator, attempt)
        return accelerator

    train_util.prepare_accelerator = prepare_accelerator


def _wrap_prepare(accelerator: Any, attempt: Attempt) -> None:
    """See what is prepared together: the network, the optimizer, the loaders and the scheduler."""
    prepare = accelerator.prepare

    def prepare_and_note(*things: Any, **options: Any) -> Any:
        prepared = prepare(*things, **options)
        if len(things) < 5:  # a model alone
            attempt.modules.append(prepared)
            return prepared
        out = list(prepared)
        attempt.network, attempt.optimizer, attempt.scheduler = (
            accelerator.unwrap_model(out[0]),
            out[1],
            out[4],
        )
        _wrap_save_weights(attempt.network, attempt)
        attempt.order = out[2] = EpochOrder(out[2], begin_at=attempt.resumed)
        attempt.batches_to_measure = len(out[3])
        return tuple(out)

    accelerator.prepare = prepare_and_note


def _wrap_save_state(accelerator: Any, attempt: Attempt) -> None:
    """States land complete under the name of their true step, with the ledger that a right resume needs, and measured."""
    save = accelerator.save_state

    def save_state(output_dir: str | None = None, **options: Any) -> None:
        def write() -> None:
            with attempt.report.state_folder(attempt.step) as folder:
                save(str(folder), **options)
                write_ledger(folder, attempt.ledger())
            attempt.report.state(attempt.step)

        if attempt.will_measure:
            attempt.late_state.hold(write)
        else:
            write()

    accelerator.save_state = save_state


def _wrap_save_weights(network: Any, attempt: Attempt) -> None:
    """LoRA files are written aside, checked, and take their place under a name that carries step and content."""
    save = network.save_weights

    def save_weights(file: str, dtype: Any, metadata: dict[str, str] | None) -> None:
        if metadata is not None:
            metadata.update(
                ss_steps=str(attempt.step),
                ss_max_train_steps=str(attempt.total),
                ss_epoch=str(attempt.epoch),
                ss_num_epochs=str(-(-attempt.total // attempt.steps_per_epoch)),
            )
        files = Tree(attempt.child.run_dir)
        aside = files.path(f"checkpoints/{PARTIAL}{os.getpid()}{Path(file).suffix}")
        files.clear(aside)  # a link of that name would be written through
        save(str(files.free(aside)), dtype, metadata)
        wrong = lora_problems(aside, steps=attempt.step)
        if wrong:
            files.remove(aside)
            raise ChildFailure(
                f"The LoRA of step {attempt.step} is not usable: {wrong[0]}",
                "Lower unet_lr, check mixed_precision, and resume from an earlier state.",
                exit_code=EXIT_NOT_FINITE,
                code="not_finite",
            )
        final = attempt.step >= attempt.total
        attempt.last_file = attempt.report.checkpoint(
            aside, attempt.step, name=attempt.orders["name"], final=final
        )
        attempt.last_saved = attempt.step

    network.save_weights = save_weights


def _wrap_resume(train_util: Any, attempt: Attempt) -> None:
    """Upstream loads the state, all of it or none; then it is let believe that a shorter training begins."""
    load = train_util.resume_from_local_or_hf_if_specified

    def resume(accelerator: Any, args: Any) -> None:
        if attempt.resume and attempt.resumed:
            load_state(attempt.resume, attempt.resumed, lambda: load(accelerator, args))
        args.initial_step, args.skip_until_initial_step = 0, False
        args.max_train_steps = steps_to_plan(
            attempt.total - attempt.offset, attempt.resumed, accumulation=args.gradient_accumulation_steps
        )

    train_util.resume_from_local_or_hf_if_specified = resume


def _wrap_trackers(train_util: Any, attempt: Attempt) -> None:
    """The last call before the loop: set the true number of steps that is left, and listen to each step's end."""
    from accelerate.tracking import GeneralTracker  # type: ignore[import-untyped]

    class StepEnds(GeneralTracker):  # type: ignore[misc]
        """Upstream logs once a micro-batch, after it saved; this is where a step ends for us."""

        name = "kohya_bridge"
        requires_logging_directory = False
        tracker = None

        def __init__(self) -> None:
            super().__init__(_blank=True)

        def store_init_configuration(self, values: Any) -> None: ...

        def log(self, values: dict[str, Any], step: int | None = None, **_: Any) -> None:
            if "loss/current" in values and attempt.accelerator.sync_gradients:
                attempt.after_step(attempt.sample)

    initialise = train_util.init_trackers

    def init_trackers(accelerator: Any, args: Any, name: str) -> None:
        initialise(accelerator, args, name)
        if not hasattr(accelerator, "trackers"):  # ranks above 0 have none of upstream's
            accelerator.trackers = []
        accelerator.trackers.append(StepEnds())
        args.max_train_steps = attempt.total - attempt.offset
        args.validate_every_n_epochs = 10**9  # upstream measures at every epoch's end unless told otherwise
        attempt.report.phase("training")
        attempt.child.controls.training = True

    train_util.init_trackers = init_trackers


def _wrap_optimizer_modes(train_util: Any, attempt: Attempt) -> None:
    """Schedule-free optimisers hold other weights for training than for use; sampling after the save needs both calls."""
    get = train_util.get_optimizer_train_eval_fn

    def get_modes(optimizer: Any, args: Any) -> Any:
        attempt.train_mode, attempt.eval_mode = get(optimizer, args)
        return attempt.train_mode, attempt.eval_mode

    train_util.get_optimizer_train_eval_fn = get_modes


def _wrap_counters(train_util: Any, attempt: Attempt) -> None:
    """Data sets shuffle by epoch and warm tags up by step; on a resume both must count from the run's first start."""
    collator = train_util.collator_class
    epochs = attempt.resumed.epoch if attempt.resumed else 0

    class Collator(collator):  # type: ignore[misc, valid-type]
        def __init__(self, epoch: Any, step: Any, dataset: Any) -> None:
            super().__init__(Shifted(epoch, epochs), Shifted(step, attempt.offset), dataset)

    Collator.__qualname__ = collator.__qualname__
    train_util.collator_class = Collator if attempt.offset else collator


def _wrap_base_model_digest(train_util: Any, attempt: Attempt) -> None:
    """The plan knows the base model's SHA-256; reading 7 GB again takes upstream 8 seconds."""
    compute = train_util.calculate_sha256
    base = attempt.child.told["paths"]["base_model_file"]
    known = attempt.child.told["plan"]["base_model"]["sha256"]

    def calculate_sha256(filename: str) -> str:
        return str(known if os.path.abspath(filename) == os.path.abspath(base) else compute(filename))

    train_util.calculate_sha256 = calculate_sha256


def _wrap_progress_bars(train_util: Any, attempt: Attempt) -> None:
    """Upstream's bars over pictures and captions become progress of the loading and caching phases."""
    bar = train_util.tqdm

    class Bar(bar):  # type: ignore[misc, valid-type]
        _told = 0.0

        def update(self, n: float | None = 1) -> Any:
            drawn = super().update(n)
            now = time.monotonic()
            if ranks.rank() == 0 and (now - Bar._told > 0.25 or self.n == self.total):
                Bar._told = now
                attempt.preparing(int(self.n), int(self.total) if self.total else None)
            return drawn

        def __iter__(self) -> Any:
            for each in self.iterable:
                yield each
                self.update(1)
            self.close()

    train_util.tqdm = Bar
