"""Stage: a small server that stands where ComfyUI stands, with the panel's real routes and files.

In: a workspace with runs. Out: a page at `/bare/`, or the real frontend at `/` when its folder is given. It runs in a
thread of its own, so that a test reads from top to bottom. What a trainer would do is done by `StageDesk`.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aiohttp import web

from tests.panel.loaded_pack import ROOT, pack_module
from tests.waiting import wait_until

PACK = "wizdroid-lora-training"
BARE = Path(__file__).resolve().parent / "bare"

A_PICTURE = next((ROOT / "training/kohya/datasets/char_wren/images").glob("0001-*.png")).read_bytes()

# What the frontend asks for before it draws its sidebar; anything else may answer 404.
ANSWERS: dict[str, Any] = {
    "users": {"storage": "server", "migrated": True},
    "settings": {
        "Comfy.TutorialCompleted": True,
        "Comfy.Locale": "en",
        "Comfy.Release.Status": "skipped",
        "Comfy.Workflow.Persist": False,
    },
    "object_info": {},
    "userdata": [],
    "system_stats": {
        "system": {
            "os": "posix",
            "ram_total": 1,
            "ram_free": 1,
            "comfyui_version": "0.8.0",
            "python_version": "3.11",
            "pytorch_version": "2.13.0",
            "embedded_python": False,
            "argv": [],
        },
        "devices": [],
    },
    "queue": {"queue_running": [], "queue_pending": []},
    "history": {},
    "jobs": {"jobs": [], "pagination": {"offset": 0, "limit": 200, "total": 0, "has_more": False}},
    "experiment/models": [],
    "models": [],
    "global_subgraphs": {},
    "workflow_templates": {},
    "features": {},
    "node_replacements": {},
    "i18n": {},
}


class StageHost:
    """What the routes ask of `nodes.host`."""

    def __init__(self, loras_dir: Path):
        self.loras_dir = loras_dir

    def model_dirs(self, kind: str) -> list[Path]:
        return [self.loras_dir]


class StageDesk:
    """The desk's methods, with a trainer that does at once what it is asked. `asked` lists every call."""

    def __init__(self, workspace: Any, on_event: Callable[[Any, dict[str, Any]], None]):
        self.workspace = workspace
        self.line: list[str] = []
        self.asked: list[tuple[Any, ...]] = []
        self._on_event = on_event
        self._run_folder = pack_module("kohya_bridge.run_folder").RunFolder
        self.slot = pack_module("kohya_bridge.steering.slot").Slot(workspace)
        self.answers = pack_module("kohya_bridge.steering.answers").Answers(self.slot, queue=self.resume)

    def within(self, patience_s: float) -> StageDesk:
        return self  # it waits for nobody

    def is_asked(self, *calls: tuple[Any, ...]) -> None:
        """Wait until exactly these calls have come: a click returns before its request has reached the desk."""
        wait_until(lambda: len(self.asked) >= len(calls), told=lambda: f"asked so far: {self.asked}")
        assert self.asked == list(calls)

    def tell(self, run_id: str, kind: str, **fields: Any) -> dict[str, Any]:
        """Write an event line for a run and pass it on, as the watcher does."""
        run = self._run_folder(self.workspace.run_named(run_id))
        event = run.append(kind, **fields)
        self._on_event(run, event)
        return event

    def queue(self) -> list[str]:
        return list(self.line)

    def stop(self, run_id: str, *, at_once: bool = False) -> None:
        self.asked.append(("stop", run_id, at_once))
        words = {"problem": "Stopped on request.", "fix": "Resume continues from here."}
        self.tell(run_id, "run_finished", outcome="stopped", **words)

    def pause(self, run_id: str) -> None:
        self.asked.append(("pause", run_id))
        self.tell(run_id, "control", action="pause", stage="acknowledged")

    def unpause(self, run_id: str) -> None:
        self.asked.append(("unpause", run_id))
        self.tell(run_id, "control", action="resume", stage="acknowledged")

    def resume(self, run_id: str) -> None:
        self.asked.append(("resume", run_id))
        self.tell(run_id, "run_started", attempt=2, engine="native", pid=1, total=1500, resumed_from=400)

    def checkpoint_now(self, run_id: str) -> None:
        self.asked.append(("checkpoint", run_id))

    def sample_now(self, run_id: str) -> None:
        self.asked.append(("sample", run_id))

    def delete(self, run_id: str) -> None:
        self.asked.append(("delete", run_id))
        folder = self.workspace.run_named(run_id)
        self.workspace.trash_dir.mkdir(parents=True, exist_ok=True)
        folder.rename(self.workspace.trash_dir / run_id)

    def move(self, run_id: str, position: int) -> None:
        self.asked.append(("move", run_id, position))
        if run_id not in self.line:
            raise pack_module("kohya_bridge.errors").Conflict(
                f"Run {run_id} does not wait.", "Nothing to move."
            )
        self.line.remove(run_id)
        self.line.insert(position - 1, run_id)

    def submit(self, request: Any) -> Any:
        self.asked.append(("submit", request.settings))
        return self._run_folder(next(self.workspace.run_dirs()))


class Stage:
    """The server. `with Stage(workspace) as stage:` serves until the block ends."""

    def __init__(
        self,
        workspace_root: Path,
        *,
        frontend_dir: Path | None = None,
        object_info: dict[str, Any] | None = None,
    ):
        self.routes_module = pack_module("nodes.routes")
        self.workspace = pack_module("kohya_bridge.workspace").Workspace.at(workspace_root)
        self.frontend_dir = frontend_dir
        self.sockets: list[web.WebSocketResponse] = []
        self.desk = StageDesk(self.workspace, self.routes_module.live_events(self.push))
        self.requests: list[tuple[str, str]] = []
        self.prompts: list[dict[str, Any]] = []
        """Bodies of the prompts that were queued; the id of each is `prompt-` and its place, counted from 1."""
        self._read = 0
        self.answers = {**ANSWERS, "object_info": object_info or {}}
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="stage", daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def push(self, kind: str, detail: Any) -> None:
        """A socket message to every open page; from any thread."""
        asyncio.run_coroutine_threadsafe(self._send(kind, detail), self._loop).result(10)

    def next_prompt(self) -> dict[str, Any]:
        """The body of the prompt behind the last one that was asked for, once a page has queued it."""
        self._read += 1
        wait_until(
            lambda: len(self.prompts) >= self._read, told=lambda: f"queued so far: {len(self.prompts)}"
        )
        return self.prompts[self._read - 1]

    def drop_sockets(self) -> None:
        """What a page sees when ComfyUI goes away for a moment."""
        asyncio.run_coroutine_threadsafe(self._drop(), self._loop).result(10)

    def __enter__(self) -> Stage:
        self._thread.start()
        assert self._ready.wait(20), "the stage did not open"
        return self

    def __exit__(self, *error: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def application(self) -> web.Application:
        routes = web.RouteTableDef()
        self.panel = self.routes_module.add_routes(
            routes, self.desk, StageHost(self.workspace.root.parent / "loras")
        )
        app = web.Application(middlewares=[self._note])
        app.add_routes(routes)
        # ComfyUI serves every route under /api as well.
        app.router.add_routes([web.route(each.method, f"/api{each.path}", each.handler) for each in routes])
        app.router.add_get("/ws", self._socket)
        app.router.add_get("/api/ws", self._socket)
        app.router.add_static(f"/extensions/{PACK}", ROOT / "web")
        app.router.add_get("/bare/", self._page(BARE / "index.html"))
        app.router.add_static("/bare", BARE)
        app.router.add_route("*", "/api/{rest:.*}", self._comfy)
        if self.frontend_dir:
            frontend = self.frontend_dir
            app.router.add_get("/", self._page(frontend / "index.html"))
            app.router.add_static("/", frontend)
        return app

    @staticmethod
    def _page(file: Path) -> Callable[[web.Request], Any]:
        async def page(request: web.Request) -> web.FileResponse:
            return web.FileResponse(file)

        return page

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        runner = web.AppRunner(self.application(), shutdown_timeout=1)
        self._loop.run_until_complete(runner.setup())
        site = web.TCPSite(runner, "127.0.0.1", 0)
        self._loop.run_until_complete(site.start())
        self.port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
        self._ready.set()
        self._loop.run_forever()
        self._loop.run_until_complete(runner.cleanup())
        self._loop.close()

    @web.middleware
    async def _note(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self.requests.append((request.method, request.path_qs))
        return await handler(request)

    async def _socket(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.sockets.append(socket)
        status = {"status": {"exec_info": {"queue_remaining": 0}}, "sid": "stage"}
        await socket.send_json({"type": "status", "data": status})
        async for _ in socket:
            pass
        self.sockets.remove(socket)
        return socket

    async def _send(self, kind: str, detail: Any) -> None:
        for socket in self.sockets:
            if not socket.closed:
                await socket.send_json({"type": kind, "data": detail})

    async def _drop(self) -> None:
        for socket in list(self.sockets):
            await socket.close()

    async def _comfy(self, request: web.Request) -> web.Response:
        name = request.path.removeprefix("/api/")
        if name == "extensions":
            files = sorted((ROOT / "web").rglob("*.js"))
            return web.json_response(
                [f"/extensions/{PACK}/{file.relative_to(ROOT / 'web').as_posix()}" for file in files]
            )
        if request.method == "GET" and name in self.answers:
            return web.json_response(self.answers[name])
        if request.method == "GET" and name == "view":
            return web.Response(body=A_PICTURE, content_type="image/png")
        if request.method == "POST" and name == "prompt":
            self.prompts.append(await request.json())
            taken = {"prompt_id": f"prompt-{len(self.prompts)}", "number": 1, "node_errors": {}}
            return web.json_response(taken)
        if request.method == "POST" and name.startswith("settings"):
            return web.Response()
        return web.json_response({}, status=404)
