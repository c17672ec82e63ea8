"""Rehearsed runs: run folders as a real training leaves them, written by the child's own reporter with a rehearsed clock.

In: a workspace and a story. Out: a run folder with plan, events, checkpoints, states, samples and a log, the same bytes
every time. Nothing is trained: losses follow a formula. Used by the event fixtures, the panel's tests and the screenshots.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image, ImageDraw

from kohya_bridge.architectures import architecture
from kohya_bridge.engines.reporter import Reporter
from kohya_bridge.plan import (
    BaseModelFacts,
    DatasetFacts,
    TrainingPlan,
    TrainingRequest,
    make_plan,
)
from kohya_bridge.run_folder import RunFolder
from kohya_bridge.workspace import Workspace

REHEARSED_PID = 4242
START = 1_790_000_000.0


def rehearsed_plan(
    *,
    dataset: str = "herbalist",
    base: str = "dreamshaper_8.safetensors",
    family_name: str = "sd15",
    images: int = 24,
    preset: str = "standard",
    engine: str = "native",
    **settings: object,
) -> TrainingPlan:
    """A valid plan; the dataset's digest and the base's hash are made from their names."""
    request = TrainingRequest(
        dataset=dataset,
        base_model=base,
        family=family_name,
        preset=preset,
        settings={"mixed_precision": "bf16", **settings},
    )
    return make_plan(
        request,
        dataset=DatasetFacts(slug=dataset, digest=_digits(dataset), images=images, trigger=f"char_{dataset}"),
        base_model=BaseModelFacts(name=base, sha256=_digits(base), family=architecture(family_name).name),
        engine=engine,
        engine_version="1",
    )


@dataclass
class Rehearsal:
    """One run folder being written; `now` moves on as the story is told."""

    run: RunFolder
    plan: TrainingPlan
    now: float = START
    seconds_per_step: float = 0.42
    every: int = 100
    """Steps between validation, checkpoint, state and sample."""
    checkpoint_bytes: int = 0
    """Length of a checkpoint's file; 0 leaves it at a few words."""
    picture: Callable[[int, int], Image.Image] | None = None
    """Draws the sample of a step out of a total; a plain face when none is given."""
    held_out: Callable[[int], float] | None = None
    """Held-out loss at a step; `held_out_loss` when none is given."""
    thin: int = 1
    """Only every n-th step is told, to keep fixtures readable."""
    reporter: Reporter | None = None

    @property
    def report(self) -> Reporter:
        assert self.reporter is not None, "start() first"
        return self.reporter

    def start(self, *, resumed_from: int = 0, engine: str = "native") -> Rehearsal:
        """A new attempt with its loading and caching."""
        self.reporter = Reporter(self.run.dir, keep_states=2, clock=lambda: self.now)
        self.report.started(
            engine=engine, total=self.plan.settings.max_train_steps, resumed_from=resumed_from
        )
        self._wait(2.0)
        for done in (0, self.plan.dataset.images):
            self.report.phase("caching", done=done, total=self.plan.dataset.images)
            self._wait(3.0)
        self.report.phase("training")
        return self

    def train(self, first: int, last: int, *, loss: Callable[[int], float] | None = None) -> Rehearsal:
        """Steps `first` to `last`, with everything that is due on the way."""
        curve = loss or train_loss
        for step in range(first, last + 1):
            self._wait(self.seconds_per_step)
            if step % self.thin == 0 or step in (first, last) or step % self.every == 0:
                self.report.progress(
                    step,
                    loss=round(curve(step), 6),
                    epoch=1 + (step - 1) * 2 // self.plan.dataset.images,
                    lr={"unet": round(rate(step, self.report.total), 10)},
                    vram_gib=round(7.9 + 0.2 * math.sin(step / 40), 2),
                )
            if step % self.every == 0:
                self.milestone(step)
        return self

    def milestone(self, step: int, *, final: bool = False) -> Rehearsal:
        """Held-out loss, checkpoint, state, sample and, where it is the lowest so far, best."""
        report = self.report
        report.phase("validating", done=0, total=4)
        self._wait(1.5)
        measure = self.held_out or held_out_loss
        loss = measure(step)
        report.log.write(
            "validation",
            step=step,
            loss=round(loss, 5),
            loss_low=round(loss - 0.004, 5),
            loss_high=round(loss + 0.004, 5),
            psnr=round(18.0 - 40 * loss, 3),
            train_loss=round(loss - 0.006 - step * 4e-6, 5),
            items=4,
        )
        report.phase("saving")
        self._wait(0.4)
        written = self.run.dir / "checkpoints" / "part.safetensors"
        written.parent.mkdir(parents=True, exist_ok=True)
        content = f"{self.plan.run_id} step {step}".encode()
        written.write_bytes(content.ljust(self.checkpoint_bytes, b"."))
        kept = report.checkpoint(written, step, name=self.plan.character, final=final)
        with report.state_folder(step) as folder:
            (folder / "state.json").write_text(json.dumps({"step": step}), encoding="utf-8")
        report.state(step)
        self._sample(step)
        if all(measure(step) <= measure(each) for each in range(self.every, step, self.every)):
            report.log.write(
                "best",
                step=step,
                file=kept.relative_to(self.run.dir).as_posix(),
                reason=f"Lowest held-out loss so far: {loss:.4f} over 4 pictures.",
            )
        report.phase("training")
        return self

    def _sample(self, step: int) -> None:
        file = self.run.samples_dir / f"step{step:08d}-0.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        (self.picture or portrait)(step, self.report.total).save(file)
        self.report.log.write(
            "sample",
            step=step,
            file=file.relative_to(self.run.dir).as_posix(),
            prompt=f"{self.plan.dataset.trigger}, portrait, soft light",
            seed=7,
        )

    def many_steps(self, count: int) -> Rehearsal:
        """Steps 1 to `count` written straight into the file, with nothing else on the way: for very long runs."""
        self.close()
        with open(self.run.events_file, "a", encoding="utf-8") as file:
            for step in range(1, count + 1):
                file.write(
                    f'{{"v":1,"seq":{10 + step},"time":{self.now + step},"kind":"progress","step":{step},'
                    f'"total":{self.plan.settings.max_train_steps},"loss":{0.1 + (step % 37) / 1000},'
                    f'"loss_ema":0.12,"lr":{{"unet":0.0001}}}}\n'
                )
        return self

    def finish(self, outcome: str, **words: str) -> Rehearsal:
        self._wait(1.0)
        self.report.finished(outcome, **words)
        return self.close()

    def close(self) -> Rehearsal:
        """Let go of the event file, as a killed child does; the story may go on with `start`."""
        if self.reporter is not None:
            self.reporter.log.close()
            self.reporter = None
        return self

    def _wait(self, seconds: float) -> None:
        self.now = round(self.now + seconds, 3)


def rehearse(workspace: Workspace, plan: TrainingPlan | None = None, **options: object) -> Rehearsal:
    """A run folder for `plan` with nothing told yet."""
    plan = plan or rehearsed_plan()
    run = RunFolder(workspace.run_dir(plan.character, plan.run_id))
    run.dir.mkdir(parents=True, exist_ok=True)
    run.plan_file.write_text(plan.to_yaml(), encoding="utf-8")
    run.log_file.write_text(
        "loading base model\ncaching latents\nsteps:  10%|#\rsteps:  50%|#####\rsteps: 100%|##########\n",
        encoding="utf-8",
    )
    return Rehearsal(run, plan, **options)  # type: ignore[arg-type]


def train_loss(step: int) -> float:
    """Falls from 0.16 to 0.09; the noise is that of random timesteps: a few values are far above the rest."""
    noise = random.Random(step).gammavariate(2.0, 0.018) - 0.03
    return 0.088 + 0.05 * math.exp(-step / 260) + noise


def held_out_loss(step: int) -> float:
    """Falls, is lowest near step 1,000 of 1,500, then rises as the set is learnt by heart."""
    return 0.092 + 0.035 * math.exp(-step / 380) + max(0.0, step - 950) * 1.6e-5


def rate(step: int, total: int) -> float:
    """1e-4 along a cosine, after a warm-up of a twentieth."""
    warmup = max(1, total // 20)
    share = (step - warmup) / max(1, total - warmup)
    return 1e-4 * (step / warmup if step < warmup else 0.5 * (1 + math.cos(math.pi * min(1.0, share))))


def portrait(step: int, total: int, size: int = 192) -> Image.Image:
    """A face that comes out of the mist as training goes on."""
    picture = Image.new("RGB", (size, size), "#7d8fa3")
    draw = ImageDraw.Draw(picture)
    clear = min(1.0, step / max(1, total))

    def mixed(colour: tuple[int, int, int]) -> tuple[int, ...]:
        return tuple(round(125 + (each - 125) * (0.35 + 0.65 * clear)) for each in colour)

    draw.rectangle((0, 0, size, size), fill=mixed((88, 120, 104)))
    draw.ellipse((size * 0.2, size * 0.12, size * 0.8, size * 0.86), fill=mixed((92, 52, 44)))
    draw.rectangle((size * 0.2, size * 0.5, size * 0.8, size), fill=mixed((92, 52, 44)))
    draw.ellipse((size * 0.3, size * 0.24, size * 0.7, size * 0.76), fill=mixed((238, 200, 176)))
    draw.ellipse((size * 0.16, size * 0.78, size * 0.84, size * 1.4), fill=mixed((72, 98, 140)))
    for x in (0.42, 0.58):
        draw.ellipse((size * x - 6, size * 0.46, size * x + 6, size * 0.46 + 12), fill=mixed((36, 44, 60)))
    draw.arc(
        (size * 0.43, size * 0.54, size * 0.57, size * 0.66), 20, 160, fill=mixed((150, 60, 66)), width=4
    )
    return picture


def _digits(text: str) -> str:
    return random.Random(text).randbytes(32).hex()
