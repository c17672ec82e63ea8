"""Who may ask, and for what: the checks before any panel route does anything.

In: a request. Out: nothing, or the run and the body it names; a refusal is a BridgeError. Any page in the same browser can
send requests to ComfyUI, so state changes need a same-origin page (or a program, which sends neither header).
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from ..kohya_bridge.errors import InvalidInput, Refused
from ..kohya_bridge.run_folder import RunFolder
from ..kohya_bridge.workspace import Workspace

MOST_BODY_BYTES = 64_000


def refuse_foreign(request: web.Request) -> None:
    """Raises Refused when a page of another origin asks.

    `Sec-Fetch-Site` is set by browsers alone and can't be forged by a page, but is not sent over plain HTTP to another
    machine; there `Origin` must be the host that was asked. `X-Forwarded-Host` counts because a proxy may rewrite `Host`,
    and no foreign page can send it without ComfyUI's leave.
    """
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None and site not in ("same-origin", "none"):
        raise Refused("A page of another site asked.", "Open the panel in ComfyUI's own page.")
    origin = request.headers.get("Origin")
    if origin is None:
        return
    asked = {request.headers.get("Host"), request.headers.get("X-Forwarded-Host")} - {None, ""}
    if urlsplit(origin).netloc not in asked:
        raise Refused(f"A page of {origin[:100]} asked.", "Open the panel in ComfyUI's own page.")


async def body_of(request: web.Request) -> dict[str, Any]:
    """The JSON object that a POST carries; nothing at all counts as an empty one.

    Only `application/json` is read: a browser does not let a foreign page send that without asking first.
    """
    if request.content_type != "application/json":
        raise InvalidInput("The request is not JSON.", "Send an object as application/json.")
    text = await _read(request)
    try:
        body = json.loads(text or b"{}")
    except (ValueError, RecursionError) as error:
        raise InvalidInput("The request's JSON is damaged.", "Send one object.") from error
    if not isinstance(body, dict):
        raise InvalidInput("The request is not a JSON object.", "Send an object such as {}.")
    return body


async def _read(request: web.Request) -> bytes:
    """What a request carries, unpacked, as far as it is short enough."""
    text = b""
    try:
        async for piece in request.content.iter_chunked(8192):
            text += piece
            if len(text) > MOST_BODY_BYTES:
                raise InvalidInput("The request is too long.", f"At most {MOST_BODY_BYTES} bytes are read.")
    except (web.RequestPayloadError, HttpProcessingError, ConnectionError) as error:
        # A client that leaves in the middle is no fault of ours, and nobody is there to be told.
        raise InvalidInput("The request broke off, or can't be unpacked.", "Send it again, whole.") from error
    return text


def run_of(workspace: Workspace, run_id: str | None) -> RunFolder | None:
    """The run that a path names, looked up inside the workspace; None for paths that name none."""
    return None if run_id is None else RunFolder(workspace.run_named(run_id))
