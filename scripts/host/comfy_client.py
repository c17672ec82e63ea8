"""ComfyClient: the few things a program says to a running ComfyUI over HTTP and its websocket.

In: prompts in API form. Out: what the server answers, its events while a prompt runs, and the history of a prompt.
"""

from __future__ import annotations

import asyncio
import json
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable
from typing import Any

from kohya_bridge.daemon_pool import DaemonPool

ENDINGS = ("execution_success", "execution_error", "execution_interrupted")


class PromptRefused(Exception):
    """ComfyUI's validation said no; `answer` is its JSON, with an entry for each node at fault."""

    def __init__(self, answer: dict[str, Any]):
        super().__init__(json.dumps(answer, indent=1))
        self.answer = answer


class ComfyClient:
    """A client with one identity: prompts it queues report to its websocket."""

    def __init__(self, url: str, *, client_id: str = ""):
        self.url = url.rstrip("/")
        self.client_id = client_id or uuid.uuid4().hex

    def get(self, path: str, **query: Any) -> Any:
        """The JSON at `path`."""
        return json.loads(self.get_bytes(path, **query))

    def get_bytes(self, path: str, **query: Any) -> bytes:
        suffix = f"?{urllib.parse.urlencode(query)}" if query else ""
        with urllib.request.urlopen(f"{self.url}/{path.lstrip('/')}{suffix}", timeout=60) as answer:
            return bytes(answer.read())

    def post(self, path: str, data: Any) -> Any:
        """POST JSON; the answer's JSON, or None when it is empty."""
        body = json.dumps(data).encode("utf-8")
        request = urllib.request.Request(
            f"{self.url}/{path.lstrip('/')}", data=body, headers={"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def answers(self) -> bool:
        try:
            self.get("system_stats")
            return True
        except (OSError, ValueError):
            return False

    def queue(self, prompt: dict[str, Any]) -> str:
        """Queue a prompt and return its id.

        Raises:
            PromptRefused: validation failed for some part of it. ComfyUI would run the rest; here nothing is run.
        """
        try:
            answer = self.post("prompt", {"prompt": prompt, "client_id": self.client_id})
        except urllib.error.HTTPError as error:
            raise PromptRefused(json.loads(error.read())) from None
        if answer.get("node_errors"):
            self.post("queue", {"delete": [answer["prompt_id"]]})
            raise PromptRefused(answer)
        return str(answer["prompt_id"])

    def history(self, prompt_id: str) -> dict[str, Any] | None:
        """What a finished prompt left (`status`, `outputs`), or None while it waits or runs."""
        found = self.get(f"history/{prompt_id}").get(prompt_id)
        return found if found else None

    def wait(self, prompt_id: str, *, timeout_s: float = 300, poll_s: float = 0.1) -> dict[str, Any]:
        """The history of a prompt, once it is over. Raises TimeoutError."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            found = self.history(prompt_id)
            if found:
                return found
            time.sleep(poll_s)
        raise TimeoutError(f"prompt {prompt_id} was not finished after {timeout_s:.0f} s")

    def run(self, prompt: dict[str, Any], *, timeout_s: float = 300) -> dict[str, Any]:
        """Queue, wait, and return the history."""
        return self.wait(self.queue(prompt), timeout_s=timeout_s)

    def follow(
        self, prompt: dict[str, Any], on_event: Callable[[str, dict[str, Any]], None]
    ) -> dict[str, Any]:
        """Queue a prompt, hand each of its websocket events to `on_event`, and return its history.

        In a thread of its own: the caller may have an event loop running. Nobody waits for it when the caller is interrupted.
        """
        thread = DaemonPool(1, name="following")
        prompt_id = thread.submit(lambda: asyncio.run(self._follow(prompt, on_event))).result()
        thread.shutdown(wait=False)
        return self.wait(prompt_id)

    async def _follow(self, prompt: dict[str, Any], on_event: Callable[[str, dict[str, Any]], None]) -> str:
        """The id of the prompt, once it is over or the server is gone."""
        import aiohttp

        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(f"{self.url}/ws?clientId={self.client_id}", max_msg_size=0) as socket,
        ):
            prompt_id = self.queue(prompt)  # nothing else runs on this loop
            async for message in socket:
                if message.type is not aiohttp.WSMsgType.TEXT:
                    continue
                event = json.loads(message.data)
                data = event.get("data") or {}
                if data.get("prompt_id", prompt_id) != prompt_id:
                    continue
                on_event(event["type"], data)
                if event["type"] in ENDINGS:
                    break
        return prompt_id

    def interrupt(self, prompt_id: str = "") -> None:
        self.post("interrupt", {"prompt_id": prompt_id} if prompt_id else {})


def outcome(history: dict[str, Any]) -> str:
    """How a prompt ended: `success`, or the message of the error or interruption."""
    for kind, data in history["status"]["messages"]:
        if kind == "execution_error":
            return str(data["exception_message"]).strip()
        if kind == "execution_interrupted":
            return "interrupted"
    return str(history["status"]["status_str"])
