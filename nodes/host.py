"""The one adapter to ComfyUI: its folders, its memory, its queue, its progress bars.

In: calls from the nodes and the desk's watcher. Out: plain values. Nothing here knows what training is. Every ComfyUI
module that only some calls need is imported where it is used: importing the pack has to cost milliseconds.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import ssl
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NoReturn

import folder_paths
from server import PromptServer

from ..kohya_bridge import json_text
from ..kohya_bridge.files import read_named
from ..kohya_bridge.workspace import Workspace

log = logging.getLogger("wizdroid.training")


# --- folders ---------------------------------------------------------------------------------------------------------


def workspace() -> Workspace:
    """`training/` in ComfyUI's base folder: no user data lies in the pack's own folder."""
    return Workspace.at(Path(folder_paths.base_path) / "training")


MODEL_KINDS = ("diffusion_models", "text_encoders", "vae")
"""ComfyUI's folders that hold base models and their parts, beside the checkpoints."""


def model_names(kind: str) -> list[str]:
    """Names as ComfyUI's loaders list them; `kind` is `checkpoints`, `loras` or one of MODEL_KINDS."""
    return list(folder_paths.get_filename_list(kind))


def model_dirs(kind: str) -> list[Path]:
    return [Path(each) for each in folder_paths.get_folder_paths(kind)]


def model_file(kind: str, name: str) -> Path | None:
    """The file behind a name, or None. ComfyUI refuses names that lead out of its folders."""
    found = folder_paths.get_full_path(kind, name)
    return Path(found) if found else None


def input_dir() -> Path:
    return Path(folder_paths.get_input_directory())


def import_dirs() -> list[Path]:
    """Where this ComfyUI finds its packages, without what packs have put there."""
    packs = [Path(each) for each in folder_paths.get_folder_paths("custom_nodes")]
    named = [Path(each).absolute() for each in sys.path if each]
    return [each for each in named if each.is_dir() and not any(pack in each.parents for pack in packs)]


def tokenizer_dir() -> Path | None:
    """ComfyUI's own CLIP vocabulary (`vocab.json`, `merges.txt`), so that no hub is needed."""
    spec = importlib.util.find_spec("comfy")
    for place in spec.submodule_search_locations or () if spec else ():
        if (Path(place) / "sd1_tokenizer" / "vocab.json").is_file():
            return Path(place) / "sd1_tokenizer"
    return None


# --- the running server ----------------------------------------------------------------------------------------------


def send_event(name: str, detail: dict[str, Any], *, to: str | None = None) -> None:
    """To every open page, or to one client; safe from any thread."""
    PromptServer.instance.send_sync(name, detail, to)


def on_server_start(begin: Callable[[], Awaitable[None]]) -> None:
    """Have `begin` awaited once every pack is loaded and before the first request is answered."""

    async def started(app: Any) -> None:
        await begin()

    PromptServer.instance.app.on_startup.append(started)


def add_middleware(middleware: Any) -> None:
    """Have every request pass through an aiohttp middleware, behind ComfyUI's own. Before the server starts."""
    PromptServer.instance.app.middlewares.append(middleware)


def prompts_under_way() -> int:
    """How many prompts run or wait in ComfyUI's queue."""
    return int(PromptServer.instance.prompt_queue.get_tasks_remaining())


def prompt_is_over(prompt_id: str) -> bool:
    """Whether a prompt has run, failed, or was taken out of the queue."""
    running, waiting = PromptServer.instance.prompt_queue.get_current_queue_volatile()
    return all(item[1] != prompt_id for item in (*running, *waiting))


def prompt_outcome(prompt_id: str) -> str:
    """How a prompt that is over has ended: `success`, `error: ` and what which node said, or "" when it never ran."""
    entry = PromptServer.instance.prompt_queue.get_history(prompt_id=prompt_id).get(prompt_id)
    status = (entry or {}).get("status") or {}
    for kind, data in status.get("messages") or ():
        if kind == "execution_error":
            said = " ".join(str(data.get("exception_message", "")).split())
            return f"error: {data.get('node_type', 'a node')}: {said}"
    return str(status.get("status_str", "")) if entry else ""


def user_setting(name: str, default: Any) -> Any:
    """A setting of the page as ComfyUI keeps it for its default user, whether or not a page is open."""
    file = Path(folder_paths.get_user_directory()) / "default" / "comfy.settings.json"
    try:
        return json.loads(read_named(file)).get(name, default)
    except (OSError, ValueError, RecursionError, AttributeError):
        return default


def wait_until_it_answers(*, timeout_s: float = 120) -> None:
    """Return once the server takes requests. Not from the event loop."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        try:
            _ask("system_stats").close()
            return
        except OSError:
            time.sleep(0.2)


def executing_client() -> str | None:
    """The page that queued the prompt that runs now: its websocket is told of held-back nodes as well."""
    return PromptServer.instance.client_id


def queue_prompt(prompt: dict[str, Any], *, client_id: str | None, extra_pnginfo: Any = None) -> str:
    """Queue a prompt in API form through ComfyUI's own door, with its validation, and return its id. Not from the event loop.

    Over loopback HTTP and not through `prompt_queue.put`, whose tuple has changed between versions.

    Raises:
        ValueError: ComfyUI's validation refused it; the text is its answer.
        OSError: the server does not answer.
    """
    body: dict[str, Any] = {"prompt": prompt, "extra_data": {}}
    if client_id:
        body["client_id"] = client_id
    if extra_pnginfo:
        body["extra_data"]["extra_pnginfo"] = extra_pnginfo
    try:
        with _ask("prompt", json_text.write(body).encode("utf-8")) as answer:
            return str(json.loads(answer.read())["prompt_id"])
    except urllib.error.HTTPError as error:
        raise ValueError(error.read().decode("utf-8", "replace")) from None


def _ask(path: str, body: bytes | None = None) -> Any:
    from comfy.cli_args import args

    server = PromptServer.instance
    address = getattr(server, "address", "")  # set once it listens
    if address in ("", "0.0.0.0", "::"):
        address = "127.0.0.1"
    host = f"[{address}]" if ":" in address else address
    port = getattr(server, "port", args.port)
    scheme = "https" if args.tls_keyfile else "http"
    # The certificate is the person's own and names their host, not this loopback address.
    trusting = ssl._create_unverified_context() if args.tls_keyfile else None
    request = urllib.request.Request(
        f"{scheme}://{host}:{port}/{path}", data=body, headers={"Content-Type": "application/json"}
    )
    return urllib.request.urlopen(request, timeout=60, context=trusting)


# --- memory, progress, interruption ----------------------------------------------------------------------------------


def free_vram() -> None:
    """Give ComfyUI's models back to system memory. Only from a node; from elsewhere use `free_vram_soon`."""
    from comfy import model_management

    model_management.unload_all_models()
    model_management.soft_empty_cache()


def wait_until_freed(*, timeout_s: float) -> None:
    """Return once ComfyUI has taken up what `free_vram_soon` asked for. Not from the thread that runs prompts."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline and "unload_models" in PromptServer.instance.prompt_queue.get_flags(
        reset=False
    ):
        time.sleep(0.05)
    time.sleep(0.2)  # it is taken up first and carried out next


def free_vram_soon() -> None:
    """The same, between prompts (at once when none runs); safe from any thread."""
    PromptServer.instance.prompt_queue.set_flag("unload_models", True)


def take_interruption() -> bool:
    """Whether the person pressed Cancel since this was last asked. Taking it lets the caller end in its own way."""
    from comfy import model_management

    if not model_management.processing_interrupted():
        return False
    model_management.interrupt_current_processing(False)
    return True


def end_as_interrupted() -> NoReturn:
    """End the running prompt the way ComfyUI ends an interrupted one."""
    from comfy import model_management

    raise model_management.InterruptProcessingException


class NodeProgress:
    """The progress bar on the node that runs now. Setting it never raises: the caller asks for interruption itself."""

    def __init__(self, total: int, *, node_id: str = ""):
        from comfy.utils import ProgressBar

        self._bar = ProgressBar(total)
        self._node_id = node_id

    def say(self, text: str) -> None:
        """A line of text on the node."""
        PromptServer.instance.send_progress_text(text, self._node_id)

    def set(self, value: int, total: int) -> None:
        from comfy import model_management

        if model_management.processing_interrupted():
            return  # ComfyUI's hook would raise here and clear the flag; `take_interruption` answers it
        self._bar.update_absolute(value, total)
