"""RunState: what the events of one run mean together.

In: events in `seq` order. Out: one value that the panel, the nodes and the shell present. The fold is pure and its twin
is `web/js/run_state.js`; the fixtures under `tests/fixtures/events` prove the two equal, so change both together.
Standard library only.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from typing import Any

from .smoothing import Smoothed

FINISHED = ("stopped", "failed", "completed")
HELD = ("paused", "lent")
HELD_BY = {"pause": "paused", "lend": "lent", "resume": "training", "take_back": "training"}
"""What an acknowledged request makes of the status: a person's pause, or the GPU lent to a prompt."""


@dataclass(frozen=True)
class RunState:
    """The folded state of a run. Lists hold plain rows so that JSON and the JS twin need no conversion.

    `losses` rows are `[step, loss, loss_ema, lr]`; `validations`, `checkpoints`, `states`, `samples` and `notices` hold
    the fields of their events without `v`, `seq` and `kind`. `loss_ema` is made here from the losses, of which `loss_count` went
    into it: what the event files of earlier versions hold under that name started at the first loss.
    """

    status: str = "queued"
    step: int = 0
    total: int = 0
    epoch: int = 0
    attempt: int = 0
    engine: str = ""
    pid: int | None = None
    resumed_from: int = 0
    queue_position: int | None = None
    phase: str = ""
    phase_done: int | None = None
    phase_total: int | None = None
    loss: float | str | None = None
    loss_ema: float | None = None
    loss_count: int = 0
    lr: dict[str, float] = field(default_factory=dict)
    seconds_per_step: float | None = None
    eta_s: float | None = None
    vram_gib: float | None = None
    peak_vram_gib: float | None = None
    losses: tuple[Any, ...] = ()
    validations: tuple[Any, ...] = ()
    checkpoints: tuple[Any, ...] = ()
    states: tuple[Any, ...] = ()
    samples: tuple[Any, ...] = ()
    notices: tuple[Any, ...] = ()
    best: dict[str, Any] | None = None
    outcome: str | None = None
    problem: str = ""
    fix: str = ""
    code: str = ""
    evidence: str = ""
    started: float | None = None
    updated: float | None = None
    finished: float | None = None
    last_seq: int = 0

    @property
    def is_finished(self) -> bool:
        return self.status in FINISHED

    def to_json(self) -> dict[str, Any]:
        """Every field by name, tuples as lists: the form that the JS twin produces."""
        return {each.name: _listed(getattr(self, each.name)) for each in fields(self)}


def fold(events: Iterable[dict[str, Any]], state: RunState = RunState()) -> RunState:
    """`state` after `events`. An event whose `seq` was folded already changes nothing, so tails may overlap.

    Long series are collected in lists while folding, so a run of N steps costs O(N).
    """
    growing = _Growing(state)
    for event in events:
        if event["seq"] > growing.values["last_seq"]:
            growing.take(event)
    return growing.frozen()


class _Growing:
    """A RunState as a dict with its series as lists, while events are being folded into it: 2 microseconds an event."""

    SERIES = ("losses", "validations", "checkpoints", "states", "samples", "notices")

    def __init__(self, state: RunState):
        self.values: dict[str, Any] = {each.name: getattr(state, each.name) for each in fields(state)}
        self.series: dict[str, list[Any]] = {name: list(self.values[name]) for name in self.SERIES}

    def frozen(self) -> RunState:
        return RunState(**{**self.values, **{name: tuple(rows) for name, rows in self.series.items()}})

    def take(self, event: dict[str, Any]) -> None:
        self.values["last_seq"] = event["seq"]
        self.values["updated"] = event["time"]
        step = getattr(self, "_on_" + event["kind"], None)
        if step is not None:
            self.values.update(step(event) or {})

    def _on_queued(self, event: dict[str, Any]) -> dict[str, Any]:
        return {
            "status": "queued",
            "queue_position": event.get("position"),
            "outcome": None,
            "problem": "",
            "fix": "",
            "code": "",
            "evidence": "",
            "finished": None,
        }

    def _on_run_started(self, event: dict[str, Any]) -> dict[str, Any]:
        resumed_from = event.get("resumed_from") or 0
        self.series["losses"] = [row for row in self.series["losses"] if row[0] <= resumed_from]
        self.series["validations"] = [
            row for row in self.series["validations"] if row["step"] <= resumed_from
        ]
        rows = self.series["losses"]
        # A reader without the series keeps the average that it has.
        average = rows[-1][2] if rows else self.values["loss_ema"]
        smoothed = self._smoothed().before(max(0, (self.values["step"] or 0) - resumed_from), average)
        return {
            "loss_ema": smoothed.average,
            "loss_count": smoothed.count,
            "status": "loading",
            "attempt": event.get("attempt", 1),
            "engine": event.get("engine", ""),
            "pid": event.get("pid"),
            "total": event.get("total", 0),
            "resumed_from": resumed_from,
            "step": resumed_from,
            "queue_position": None,
            "phase": "loading",
            "phase_done": None,
            "phase_total": None,
            "outcome": None,
            "problem": "",
            "fix": "",
            "code": "",
            "evidence": "",
            "finished": None,
            "eta_s": None,
            "seconds_per_step": None,
            "started": event["time"] if self.values["started"] is None else self.values["started"],
        }

    def _smoothed(self) -> Smoothed:
        return Smoothed(self.values["loss_ema"], self.values["loss_count"])

    def _on_phase(self, event: dict[str, Any]) -> dict[str, Any]:
        held = self.values["status"] in HELD
        status = self.values["status"] if held else event["name"]
        return {
            "status": status,
            "phase": event["name"],
            "phase_done": event.get("done"),
            "phase_total": event.get("total"),
        }

    def _on_progress(self, event: dict[str, Any]) -> dict[str, Any]:
        lr = event.get("lr") or {}
        smoothed = self._smoothed().after(event.get("loss"))
        self.series["losses"].append(
            [event["step"], event.get("loss"), smoothed.average, next(iter(lr.values()), None)]
        )
        vram, peak = event.get("vram_gib"), self.values["peak_vram_gib"]
        return {
            "status": "training",
            "phase": "training",
            "phase_done": None,
            "phase_total": None,
            "step": event["step"],
            "total": event.get("total", self.values["total"]),
            "epoch": event.get("epoch", self.values["epoch"]),
            "loss": event.get("loss"),
            "loss_ema": smoothed.average,
            "loss_count": smoothed.count,
            "lr": lr,
            "seconds_per_step": event.get("seconds_per_step"),
            "eta_s": event.get("eta_s"),
            "vram_gib": vram,
            "peak_vram_gib": vram if peak is None else peak if vram is None else max(vram, peak),
        }

    def _on_validation(self, event: dict[str, Any]) -> None:
        self._put("validations", event, same="step")

    def _on_checkpoint(self, event: dict[str, Any]) -> None:
        self._put("checkpoints", event, same="step")

    def _on_state(self, event: dict[str, Any]) -> None:
        removed = set(event.get("removed") or ())
        self.series["states"] = [row for row in self.series["states"] if row["dir"] not in removed]
        self._put("states", event, same="dir")

    def _on_sample(self, event: dict[str, Any]) -> None:
        self._put("samples", event, same="file")

    def _on_notice(self, event: dict[str, Any]) -> None:
        self.series["notices"].append(_row(event))

    def _on_best(self, event: dict[str, Any]) -> dict[str, Any]:
        return {"best": _row(event)}

    def _on_control(self, event: dict[str, Any]) -> dict[str, Any]:
        status = HELD_BY.get(event.get("action", ""))
        return {"status": status} if status and event.get("stage") == "acknowledged" else {}

    def _on_run_finished(self, event: dict[str, Any]) -> dict[str, Any]:
        return {
            "status": event["outcome"],
            "outcome": event["outcome"],
            "step": event.get("step", self.values["step"]),
            "problem": event.get("problem", ""),
            "fix": event.get("fix", ""),
            "code": event.get("code", ""),
            "evidence": event.get("evidence", ""),
            "finished": event["time"],
            "pid": None,
            "eta_s": None,
            "phase": "",
            "phase_done": None,
            "phase_total": None,
            "vram_gib": None,
        }

    def _put(self, series: str, event: dict[str, Any], *, same: str) -> None:
        """Append the event's row; one that names the same thing is replaced (a resumed run makes it again)."""
        row = _row(event)
        self.series[series] = [each for each in self.series[series] if each.get(same) != row.get(same)] + [
            row
        ]


def _row(event: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in event.items() if key not in ("v", "seq", "kind")}


def _listed(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_listed(each) for each in value]
    return value
