"""What each panel route answers: one function each, from what is asked to plain JSON or a picture.

In: a `Panel` (desk, host, views) and an `Ask` whose run is fenced already. Out: the answer; a failure is a BridgeError.
Whatever training needs is decided in the core; here a request's words become one call of it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..kohya_bridge import json_text
from ..kohya_bridge.errors import InvalidInput, NotFound, Unavailable
from ..kohya_bridge.files import read_named
from ..kohya_bridge.redaction import cleaned, without_secrets
from ..kohya_bridge.run_folder import RunFolder
from ..kohya_bridge.runs.choices import read_choices
from ..kohya_bridge.runs.damage import damages_of
from ..kohya_bridge.runs.retry import changed_request, choices_of, suggestions
from ..kohya_bridge.runs.run_list import RunList
from ..kohya_bridge.runs.run_pictures import (
    PICTURE_TYPES,
    THUMBNAIL_SIZES,
    dataset_picture,
    find_picture,
)
from ..kohya_bridge.runs.run_pictures import thumbnail as make_thumbnail
from ..kohya_bridge.runs.run_view import RunViews
from ..kohya_bridge.runs.thinning import MOST_ROWS
from ..kohya_bridge.workspace import Workspace, check_run_id

MOST_EVENTS = 2_000
MOST_LOG_LINES = 500


@dataclass(frozen=True)
class Panel:
    """What the answers are made from."""

    desk: Any
    host: Any
    workspace: Workspace
    run_list: RunList
    views: RunViews
    agreed: Callable[[RunFolder], None] = lambda run: None
    """Called when a person let something of a run act that had come along with its folder."""

    @classmethod
    def at(cls, desk: Any, host: Any, *, agreed: Callable[[RunFolder], None] = lambda run: None) -> Panel:
        run_list = RunList(desk.workspace)
        # With readers of their own: whoever asked the desk for its would have it made while ComfyUI loads its packs.
        return cls(desk, host, desk.workspace, run_list, RunViews(desk.workspace, run_list), agreed)


@dataclass(frozen=True)
class Ask:
    """A request, parsed: the run it names, the other parts of its path, its query and its body."""

    named_run: RunFolder | None
    path: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] = field(default_factory=dict)

    @property
    def run(self) -> RunFolder:
        if self.named_run is None:
            raise InvalidInput("The address names no run.", "Name one by its id.")
        return self.named_run

    def number(self, name: str, default: int, *, least: int, most: int) -> int:
        """A whole number of the query. Raises InvalidInput outside `least` to `most`."""
        text = self.query.get(name)
        if text is None:
            return default
        if not (text.isascii() and text.isdigit() and len(text) <= 12 and least <= int(text) <= most):
            raise InvalidInput(
                f"{name} = {text[:40]!r} is not a number that fits.", f"Write {least} to {most}."
            )
        return int(text)

    def switch(self, name: str) -> bool:
        """A true or false of the body, false when it is not there."""
        value = self.body.get(name, False)
        if not isinstance(value, bool):
            raise InvalidInput(f"{name} = {value!r} is neither true nor false.", "Send true or false.")
        return value

    def word(self, name: str, default: str) -> str:
        value = self.body.get(name, default)
        if not isinstance(value, str) or len(value) > 64:
            raise InvalidInput(f"{name} is not a short text.", f"Send a text such as {default!r}.")
        return value


@dataclass(frozen=True)
class Data:
    """Answer with these bytes."""

    data: bytes
    content_type: str


# --- looking -------------------------------------------------------------------------------------------------------


def runs(panel: Panel, ask: Ask) -> bytes:
    """JSON put together from what is encoded already: a thousand runs take milliseconds."""
    names = list(panel.workspace.run_names())
    first = {
        "now": round(time.time(), 3),
        "queue": panel.desk.queue(),
        # Without the prompts' own text: that is fetched when somebody looks.
        "asks": [{**each.to_json(), "text": ""} for each in panel.desk.answers.asks(names)],
        "aside": _aside(panel),
    }
    before = json_text.write(first)[:-1].encode() + b',"runs":'
    return panel.run_list.encoded(names, before=before, behind=b"}")


def _aside(panel: Panel) -> dict[str, dict[str, str]]:
    """Runs that could not be dealt with since ComfyUI started, with what is wrong."""
    aside = panel.desk.slot.aside
    found = {run.run_id: aside.of(run) for run in aside.runs()}
    return {run_id: {"problem": each.problem, "fix": each.fix} for run_id, each in found.items() if each}


def held(panel: Panel, ask: Ask) -> dict[str, Any]:
    found = [RunFolder(each) for each in panel.workspace.run_dirs()]
    waiting = [(run, os.lstat(run.held_prompts_dir).st_mtime) for run in found if run.held_prompts()]
    return {"held": [{"run_id": run.run_id, "slug": run.slug, "since": since} for run, since in waiting]}


def compare(panel: Panel, ask: Ask) -> dict[str, Any]:
    names = [name for name in ask.query.get("runs", "").split(",") if name]
    return panel.views.compare([RunFolder(panel.workspace.run_named(name)) for name in names])


def run(panel: Panel, ask: Ask) -> dict[str, Any]:
    queue = panel.desk.queue()
    return {
        "now": time.time(),
        **panel.views.snapshot(ask.run),
        "queue": queue,
        "held": bool(ask.run.held_prompts()),
        "damages": [each.to_json() for each in damages_of(ask.run, panel.views.odd_lines(ask.run))],
        "aside": _aside(panel).get(ask.run.run_id),
    }


def waiting(panel: Panel, ask: Ask) -> dict[str, Any]:
    return panel.desk.answers.ask(ask.run, ask.path["what"]).to_json()


def events(panel: Panel, ask: Ask) -> dict[str, Any]:
    after = ask.number("after", 0, least=0, most=10**9)
    found = panel.views.events(ask.run, after=after, most=MOST_EVENTS + 1)
    return {"events": found[:MOST_EVENTS], "more": len(found) > MOST_EVENTS}


def losses(panel: Panel, ask: Ask) -> dict[str, Any]:
    first = ask.number("from", 0, least=0, most=10**9)
    last = ask.number("to", 10**9, least=first, most=10**9)
    most = ask.number("points", MOST_ROWS, least=10, most=MOST_ROWS)
    return {
        "from": first,
        "to": last,
        "losses": panel.views.losses(ask.run, first=first, last=last, most=most),
    }


def log_tail(panel: Panel, ask: Ask) -> dict[str, Any]:
    return {"text": ask.run.log_tail(ask.number("lines", 80, least=1, most=MOST_LOG_LINES))}


def plan(panel: Panel, ask: Ask) -> dict[str, Any]:
    return {
        "plan": cleaned(ask.run.plan().model_dump(mode="json")),
        "text": without_secrets(ask.run.files.read_text(ask.run.plan_file)),
    }


def request(panel: Panel, ask: Ask) -> dict[str, Any]:
    automatic = ["mixed_precision"] if read_choices(ask.run).mixed_precision else []
    return {"request": choices_of(ask.run.plan(), automatic=automatic).model_dump(mode="json")}


def checkpoint(panel: Panel, ask: Ask) -> dict[str, Any]:
    return {"run_id": ask.run.run_id, "slug": ask.run.slug, **ask.run.checkpoint(ask.path["which"])}


# --- pictures ------------------------------------------------------------------------------------------------------


def pictures(panel: Panel, ask: Ask) -> dict[str, Any]:
    return panel.views.judged(ask.run)


def picture(panel: Panel, ask: Ask) -> Data:
    file = find_picture(panel.views.pictures(ask.run), ask.path["name"]).file
    size = ask.number("size", 0, least=0, most=max(THUMBNAIL_SIZES))
    if size == 0:
        return Data(read_named(file), PICTURE_TYPES[file.suffix.lower()])
    if size not in THUMBNAIL_SIZES:
        raise InvalidInput(f"There are no thumbnails of {size} pixels.", f"Sizes: {THUMBNAIL_SIZES}.")
    return Data(make_thumbnail(panel.workspace, file, size=size), "image/webp")


def thumbnail(panel: Panel, ask: Ask) -> Data:
    """The newest sample or grid; before there is one, a picture of the data set."""
    found = panel.views.pictures(ask.run)
    file = found[-1].file if found else dataset_picture(panel.workspace, ask.run.plan().dataset.slug)
    if file is None:
        raise NotFound("This run has no picture yet.", "Samples and grids appear here.")
    return Data(make_thumbnail(panel.workspace, file, size=THUMBNAIL_SIZES[0]), "image/webp")


# --- steering ------------------------------------------------------------------------------------------------------


def stop(panel: Panel, ask: Ask) -> dict[str, Any]:
    panel.desk.stop(ask.run.run_id, at_once=ask.switch("at_once"))
    return {"asked": "stop"}


def pause(panel: Panel, ask: Ask) -> dict[str, Any]:
    panel.desk.pause(ask.run.run_id)
    return {"asked": "pause"}


def unpause(panel: Panel, ask: Ask) -> dict[str, Any]:
    panel.desk.unpause(ask.run.run_id)
    return {"asked": "unpause"}


def resume(panel: Panel, ask: Ask) -> dict[str, Any]:
    panel.desk.resume(ask.run.run_id)
    return {"asked": "resume", "run_id": ask.run.run_id}


def checkpoint_now(panel: Panel, ask: Ask) -> dict[str, Any]:
    panel.desk.checkpoint_now(ask.run.run_id)
    return {"asked": "checkpoint"}


def sample_now(panel: Panel, ask: Ask) -> dict[str, Any]:
    panel.desk.sample_now(ask.run.run_id)
    return {"asked": "sample"}


def retry(panel: Panel, ask: Ask) -> dict[str, Any]:
    """A new run with the suggestion's numbers: the old one stays as it is."""
    code, choice = ask.word("code", ""), ask.body.get("choice", 0)
    known = suggestions(ask.run.plan(), code)
    if not isinstance(choice, int) or isinstance(choice, bool) or not 0 <= choice < len(known):
        raise NotFound(
            f"No safer settings are known for this failure ({code}).",
            "Change the numbers on the Kohya Train node.",
        )
    started = panel.desk.submit(changed_request(ask.run.plan(), known[choice]))
    return {"asked": "retry", "run_id": started.run_id}


def package(panel: Panel, ask: Ask) -> dict[str, Any]:
    lora_dirs = panel.host.model_dirs("loras")
    if not lora_dirs:
        raise Unavailable("ComfyUI has no loras folder.", "Add one to its model paths.")
    from ..kohya_bridge.package import package_lora

    made = package_lora(ask.run, ask.word("which", "best"), lora_dir=lora_dirs[0], workspace=panel.workspace)
    return {"asked": "package", "name": made.name, "file": str(made.file)}


def delete(panel: Panel, ask: Ask) -> dict[str, Any]:
    panel.desk.delete(ask.run.run_id)
    return {"asked": "delete"}


def agree(panel: Panel, ask: Ask) -> dict[str, Any]:
    panel.desk.answers.agree(ask.run, ask.word("what", ""))
    panel.agreed(ask.run)
    return {"asked": "agree"}


def decline(panel: Panel, ask: Ask) -> dict[str, Any]:
    panel.desk.answers.decline(ask.run, ask.word("what", ""))
    return {"asked": "decline"}


def mend(panel: Panel, ask: Ask) -> dict[str, Any]:
    return {"asked": "mend", "moved": panel.desk.answers.mend(ask.run)}


def move(panel: Panel, ask: Ask) -> dict[str, Any]:
    run_id = check_run_id(ask.word("run_id", ""))
    position = ask.body.get("position")
    if not isinstance(position, int) or isinstance(position, bool) or not 1 <= position <= 10_000:
        raise InvalidInput(f"position = {position!r} is not a place in the queue.", "Places count from 1.")
    panel.desk.move(run_id, position)
    return {"queue": panel.desk.queue()}
