"""The panel's routes: one table, one guard, one error shape.

In: HTTP requests of the page. Out: JSON, or a picture. Every handler is a plain function from a `Panel` and an `Ask` to
an answer; it runs in a worker thread with its answer's encoding, since ComfyUI's event loop must not wait for files. What a handler
may name is fenced by the `Ask`. Importing this needs aiohttp but no ComfyUI, so that tests can serve it with a desk alone.
"""

from __future__ import annotations

import gzip
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from aiohttp import web

from ..kohya_bridge import json_text
from ..kohya_bridge.errors import (
    BridgeError,
    Busy,
    Conflict,
    InvalidInput,
    NotFound,
    Refused,
    StorageError,
    Unavailable,
)
from ..kohya_bridge.run_folder import RunFolder
from ..kohya_bridge.system_errors import in_words
from . import panel_answers as answers
from .off_loop import LOOKING, STEERING
from .panel_answers import Panel
from .request_guard import body_of, refuse_foreign, run_of
from .shared_answers import SharedAnswers

log = logging.getLogger("wizdroid.training")

PREFIX = "/wizdroid/training"
LIVE_EVENT = "wizdroid.training"

STATUS_OF: tuple[tuple[type[BridgeError], int], ...] = (
    (InvalidInput, 400),
    (Refused, 403),
    (NotFound, 404),
    (Busy, 503),
    (Conflict, 409),
    (Unavailable, 503),
    (StorageError, 507),
    (BridgeError, 500),
)


WORTH_ZIPPING = 16_000
"""Bytes."""
PATIENCE_S = 2.0
"""How long a page's request waits for whoever holds the runs; then it is told who does."""
LEAST_PATIENCE_S = 0.1


@dataclass(frozen=True)
class Answer:
    """What goes out, made whole in a worker thread; the same for everybody who asked together."""

    data: bytes
    headers: dict[str, str]
    zipped: bytes | None = None

    @classmethod
    def of(cls, data: bytes, headers: dict[str, str]) -> Answer:
        """With a short form beside a long one: a list of 3,000 runs is 3 MB of JSON, and 0.2 MB as gzip."""
        is_long = len(data) >= WORTH_ZIPPING
        return cls(data, headers, gzip.compress(data, 1, mtime=0) if is_long else None)

    def response(self, *, zipped: bool) -> web.Response:
        if zipped and self.zipped is not None:
            return web.Response(body=self.zipped, headers={**self.headers, "Content-Encoding": "gzip"})
        return web.Response(body=self.data, headers=self.headers)


@dataclass(frozen=True)
class Route:
    """One line of the table. `{run}` in a path is a run id; handlers get the run's folder for it."""

    method: str
    path: str
    answer: Callable[[Panel, answers.Ask], Any]
    meaning: str


ROUTES: tuple[Route, ...] = (
    Route(
        "GET", "runs", answers.runs, "All runs, newest first, the queue, and what waits for a person's word."
    ),
    Route("GET", "held", answers.held, "Runs that a workflow waits for."),
    Route("GET", "compare", answers.compare, "Curves and plan differences of 2 to 6 runs: `runs=ID,ID`."),
    Route(
        "GET",
        "runs/{run}",
        answers.run,
        "One run: state, plan, what was chosen for it and why, changes, pictures, suggestions.",
    ),
    Route("GET", "runs/{run}/events", answers.events, "Events with `seq` above `after`, at most 2,000."),
    Route(
        "GET", "runs/{run}/losses", answers.losses, "Loss rows of steps `from` to `to`, thinned to `points`."
    ),
    Route("GET", "runs/{run}/log", answers.log_tail, "The last `lines` lines of the log."),
    Route("GET", "runs/{run}/plan", answers.plan, "The plan, as numbers and as the text of `plan.yaml`."),
    Route(
        "GET", "runs/{run}/request", answers.request, "The choices that lead to this plan, to train again."
    ),
    Route(
        "GET",
        "runs/{run}/pictures",
        answers.pictures,
        "Names of samples and grids, and which grids were not made.",
    ),
    Route(
        "GET", "runs/{run}/pictures/{name}", answers.picture, "One picture; `size` 96 or 320 for a thumbnail."
    ),
    Route("GET", "runs/{run}/thumbnail", answers.thumbnail, "The newest picture, small."),
    Route(
        "GET",
        "runs/{run}/checkpoints/{which}",
        answers.checkpoint,
        "A checkpoint: `best`, `latest` or a step.",
    ),
    Route(
        "GET",
        "runs/{run}/waiting/{what}",
        answers.waiting,
        "The whole prompt of what waits for a person's word.",
    ),
    Route("POST", "runs/{run}/stop", answers.stop, "Stop after this step; `at_once` stops now."),
    Route("POST", "runs/{run}/pause", answers.pause, "Hold at the next step."),
    Route("POST", "runs/{run}/unpause", answers.unpause, "Go on after a pause."),
    Route("POST", "runs/{run}/resume", answers.resume, "Start again from the newest saved state."),
    Route("POST", "runs/{run}/checkpoint", answers.checkpoint_now, "Save a LoRA at the next step."),
    Route("POST", "runs/{run}/sample", answers.sample_now, "Render a sample at the next step."),
    Route(
        "POST",
        "runs/{run}/retry",
        answers.retry,
        "Train again with the suggestion of that `code`, as a new run.",
    ),
    Route(
        "POST", "runs/{run}/package", answers.package, "Install a checkpoint (`which`) among ComfyUI's LoRAs."
    ),
    Route("POST", "runs/{run}/delete", answers.delete, "Move the run to the workspace's trash."),
    Route(
        "POST", "runs/{run}/agree", answers.agree, "Let act what came along with the run's folder: `what`."
    ),
    Route("POST", "runs/{run}/decline", answers.decline, "Put it aside: `what`."),
    Route("POST", "runs/{run}/mend", answers.mend, "Put aside what is damaged in the run's folder."),
    Route("POST", "queue", answers.move, "Put `run_id` at `position` of the queue."),
)


def add_routes(
    routes: web.RouteTableDef,
    desk: Any,
    host: Any,
    *,
    agreed: Callable[[RunFolder], None] = lambda run: None,
) -> Panel:
    """Put the table into `routes` (ComfyUI's own, or a test's). `host` is `nodes.host`, or what stands in for it; `agreed` is
    called when a person let something act that had come along with a run's folder."""
    panel = Panel.at(desk, host, agreed=agreed)
    for route in ROUTES:
        routes.route(route.method, f"{PREFIX}/{route.path}")(_served(panel, route))
    routes.route("*", PREFIX + "/{rest:.*}")(_unknown)
    return panel


def live_events(
    send_event: Callable[[str, dict[str, Any]], None],
) -> Callable[[RunFolder, dict[str, Any]], None]:
    """What the desk's watcher calls with every new event line: it goes to every open page."""

    def on_event(run: RunFolder, event: dict[str, Any]) -> None:
        send_event(LIVE_EVENT, {"run_id": run.run_id, "slug": run.slug, "event": event})

    return on_event


def _served(panel: Panel, route: Route) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """The route's handler with guard, fences, worker thread and the one error shape around it."""
    looked = SharedAnswers[Answer](LOOKING)

    async def handle(request: web.Request) -> web.StreamResponse:
        try:
            refuse_foreign(request)
            path, query = dict(request.match_info), dict(request.query)
            if route.method == "POST":
                body = await body_of(request)
                told = await STEERING.do(_steered, time.monotonic(), panel, route, path, query, body)
            else:
                told = await looked.get(request.path_qs, partial(_answered, panel, route, path, query, {}))
            return told.response(zipped="gzip" in request.headers.get("Accept-Encoding", ""))
        except BridgeError as error:
            return _told(error)
        except web.HTTPException:
            raise
        except OSError as error:
            log.exception("%s %s failed", request.method, request.path)
            return _told(in_words(error))
        except Exception:  # the outermost edge: the traceback goes to the log, two sentences to the page
            log.exception("%s %s failed", request.method, request.path)
            return failure(500, "The panel's server side failed.", "ComfyUI's console has the traceback.")

    handle.__doc__ = route.meaning
    return handle


def _steered(came: float, panel: Panel, *asked: Any) -> Answer:
    """In a worker thread, for somebody who looks at the page meanwhile: waiting has an end that they live to see, and whoever stood in
    line for a thread has waited already."""
    left_s = max(LEAST_PATIENCE_S, PATIENCE_S - (time.monotonic() - came))
    return _answered(replace(panel, desk=panel.desk.within(round(left_s, 1))), *asked)


def _answered(
    panel: Panel, route: Route, path: dict[str, str], query: dict[str, str], body: dict[str, Any]
) -> Answer:
    """In a worker thread: looking for the run is the first of its questions to the disk."""
    run = run_of(panel.workspace, path.get("run"))
    try:
        answer = route.answer(panel, answers.Ask(run, path, query, body))
    except FileNotFoundError:
        if run is None or run.exists:
            raise
        raise NotFound(
            f"Run {run.run_id} is gone: it was deleted meanwhile.", "Look at the list of runs."
        ) from None
    if isinstance(answer, answers.Data):
        return Answer(answer.data, _headers(answer.content_type))
    data = answer if isinstance(answer, bytes) else json_text.write_in_parts(answer).encode("utf-8")
    return Answer.of(data, {"Content-Type": "application/json", "Cache-Control": "no-store"})


def _headers(content_type: str) -> dict[str, str]:
    """ComfyUI lets browsers keep anything that looks like a picture for a day unless the answer says otherwise."""
    return {
        "Content-Type": content_type,
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "default-src 'none'; sandbox",
    }


async def _unknown(request: web.Request) -> web.Response:
    return failure(404, "The panel has no such address.", f"docs/panel.md lists what is under {PREFIX}.")


def _told(error: BridgeError) -> web.Response:
    status = next(number for kind, number in STATUS_OF if isinstance(error, kind))
    again = {"Retry-After": str(error.RETRY_S)} if isinstance(error, Busy) else {}
    return failure(status, error.problem, error.fix, **again)


def failure(status: int, problem: str, fix: str, **headers: str) -> web.Response:
    """The one error shape: a sentence of problem and one of fix."""
    told = json_text.write({"problem": problem, "fix": fix})
    return web.Response(
        text=told,
        status=status,
        content_type="application/json",
        headers={"Cache-Control": "no-store", **headers},
    )
