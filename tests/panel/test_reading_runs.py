"""What the panel, the shell and the watcher are told of sound runs: the same bytes, however the events are read.

The digests in `answers.json` were taken of answers before one reader took the place of all others.
`python -m tests.panel.test_reading_runs` takes them anew: do that only where an answer is meant to change.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path

import pytest

from kohya_bridge.__main__ import main
from kohya_bridge.workspace import Workspace
from tests.panel.loaded_pack import pack_module
from tests.rehearsed_runs import START, Rehearsal, rehearse, rehearsed_plan

ANSWERS = Path(__file__).with_name("answers.json")
ROUTES = (
    ("runs", {}),
    ("compare", {}),
    ("runs/{run}", {}),
    ("runs/{run}/events", {}),
    ("runs/{run}/events", {"after": "57"}),
    ("runs/{run}/events", {"after": "4000"}),
    ("runs/{run}/losses", {"from": "10", "to": "9000", "points": "100"}),
    ("runs/{run}/losses", {}),
    ("runs/{run}/pictures", {}),
    ("runs/{run}/checkpoints/{which}", {}),
)  # fmt: skip


def tell(workspace: Workspace) -> Iterator[Rehearsal]:
    """Runs of every length and ending; after each `yield` one of them has told more."""
    clock: dict = {"now": START}
    short = rehearse(workspace, rehearsed_plan(max_train_steps=60), every=20, **clock)
    yield short.start().train(1, 31)
    yield short.train(32, 60)
    yield short.milestone(60, final=True).finish("completed", problem="", fix="")
    killed = rehearse(workspace, rehearsed_plan(max_train_steps=90, seed=2), every=20, **clock)
    yield killed.start().train(1, 53).close()
    yield killed.start(resumed_from=40).train(41, 71).close()
    yield killed.start(resumed_from=60).train(61, 90).milestone(90, final=True).finish("completed")
    broken = rehearse(workspace, rehearsed_plan(max_train_steps=60, seed=3), every=20, **clock)
    yield broken.start().train(1, 33)
    broken.report.progress(34, loss=float("nan"), epoch=2, lr={"unet": 1e-4}, vram_gib=None)
    broken.report.notice("The loss is not a number.", "Halve the rate.", level="error", code="not_finite")
    yield broken.finish("failed", problem="It became infinite.", fix="Halve the rate.", code="not_finite")
    yield broken.start(resumed_from=20).train(21, 25).finish("stopped", problem="Stopped.", fix="Resume.")
    long = rehearse(workspace, rehearsed_plan(max_train_steps=30_000, seed=4), every=1000, **clock)
    yield long.start().many_steps(9_000)
    yield long.start(resumed_from=8_000).train(8_001, 12_345).close()
    yield long.start(resumed_from=12_000).train(12_001, 12_100).finish("stopped", problem="", fix="")


class Looks:
    """Everything that is answered about the runs, as digests: from readers that were there all the time, and from new ones."""

    def __init__(self, workspace: Workspace):
        self.workspace = workspace
        self.panel = self._panel()
        self.digests: dict[str, str] = {}

    def _panel(self):
        desk = pack_module("kohya_bridge.desk").Desk(
            pack_module("kohya_bridge.workspace").Workspace.at(self.workspace.root), engines={}
        )
        return pack_module("nodes.panel_answers").Panel.at(desk, None)

    def look(self, at: str) -> None:
        for plan in self.workspace.runs_dir.rglob("plan.yaml"):
            os.utime(plan, (START, START))
        told, afresh = self._asked(self.panel), self._asked(self._panel())
        assert told == afresh, f"a reader that goes on tells another story than one that begins ({at})"
        for name, text in told.items():
            self.digests[f"{at} {name}"] = hashlib.sha256(text.encode()).hexdigest()[:20]

    def _asked(self, panel) -> dict[str, str]:
        routes = {each.path: each for each in pack_module("nodes.routes").ROUTES if each.method == "GET"}
        runs = sorted(each.name for each in self.workspace.run_dirs())
        told = {}
        for path, query in ROUTES:
            names = runs if "{run}" in path else [None]
            for run in names:
                query = {"runs": ",".join(runs[:6])} if path == "compare" else query
                answer = self._answer(panel, routes[path], run, query)
                told[f"{path} {run} {json.dumps(query)}"] = self._without_the_moment(answer)
        return told

    def _answer(self, panel, route, run, query) -> str:
        path = {"run": run, "which": "latest"} if run else {}
        answered = pack_module("nodes.routes")._answered
        try:
            return answered(panel, route, path, query, {}).data.decode()
        except pack_module("kohya_bridge.errors").BridgeError as error:
            return f"{error.problem} {error.fix}"

    def shell(self) -> None:
        for run in sorted(each.name for each in self.workspace.run_dirs()):
            self._said("status", run)
        self._said("runs")

    def _said(self, *words: str) -> None:
        out = io.StringIO()
        with redirect_stdout(out):
            main([*words, "--json", "--workspace", str(self.workspace.root)])
        text = self._without_the_moment(out.getvalue())
        self.digests[f"shell {' '.join(words)}"] = hashlib.sha256(text.encode()).hexdigest()[:20]

    def _without_the_moment(self, text: str) -> str:
        text = text.replace(json.dumps(str(self.workspace.root))[1:-1], "WORKSPACE")
        try:
            return json.dumps(_steady(json.loads(text)), ensure_ascii=False, indent=None)
        except ValueError:
            return text


def _steady(told):
    """An answer without what differs from one moment and machine to the next. The order of its fields stays."""
    if isinstance(told, dict):
        return {
            key: _steady(each)
            for key, each in told.items()
            if key not in ("now", "version", "created", "pid")
        }
    return [_steady(each) for each in told] if isinstance(told, list) else told


def digests(root: Path) -> dict[str, str]:
    workspace = Workspace.at(root / "training")
    looks = Looks(workspace)
    for at, _ in enumerate(tell(workspace)):
        for picture in workspace.runs_dir.rglob("*.png"):
            os.utime(picture, (START, START))
        looks.look(f"{at:02d}")
    looks.shell()
    return looks.digests


@pytest.mark.timeout(300)
def test_sound_runs_are_told_as_they_always_were(tmp_path):
    assert digests(tmp_path) == json.loads(ANSWERS.read_text("utf-8"))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        ANSWERS.write_text(json.dumps(digests(Path(folder)), indent=0) + "\n", "utf-8")
