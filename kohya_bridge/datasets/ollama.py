"""A local model behind Ollama's HTTP API: one question, one answer.

In: a host, a model, a prompt, pictures. Out: the model's text. It talks to that host alone, never downloads a model, and a
service that does not answer is an error with a fix. Source: https://github.com/ollama/ollama/blob/main/docs/api.md.
"""

from __future__ import annotations

import base64
import io
import os
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from PIL.Image import Image

from .. import json_text
from ..errors import InvalidInput, Unavailable
from ..redaction import without_secrets

DEFAULT_HOST = "http://127.0.0.1:11434"
MAX_ANSWER_BYTES = 4 << 20
PICTURE_SIDE = 768


@dataclass(frozen=True)
class Ollama:
    """A model of an Ollama service. `host` is `$OLLAMA_HOST` or this machine's unless it is given."""

    model: str
    host: str = ""
    timeout_s: float = 180.0

    def ask(self, prompt: str, *, pictures: Sequence[Image] = ()) -> str:
        """The model's answer, trimmed.

        Raises:
            InvalidInput: the host is no http address.
            Unavailable: nobody answers there, the model is not installed, or the answer makes no sense.
        """
        body = {
            "model": self.model,
            "prompt": prompt,
            "images": [_encoded(picture) for picture in pictures],
            "stream": False,
            "options": {"temperature": 0.2, "seed": 1},
        }
        answer = self._post("/api/generate", body).get("response")
        if not isinstance(answer, str) or not answer.strip():
            raise Unavailable(f"The model {self.model} gave no answer.", "Try another model.")
        return answer.strip()

    def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        address, login = _address(self.host or os.environ.get("OLLAMA_HOST") or DEFAULT_HOST)
        request = urllib.request.Request(
            address + path,
            json_text.write(body).encode("utf-8"),
            {"Content-Type": "application/json", **login},
        )
        try:
            with urllib.request.urlopen(request, timeout=self.timeout_s) as response:
                answer = json_text.read(response.read(MAX_ANSWER_BYTES))
        except urllib.error.HTTPError as error:
            missing = error.code == 404
            raise Unavailable(
                f"The model {self.model!r} is not installed in Ollama."
                if missing
                else f"Ollama at {address} answered with error {error.code}.",
                f"Run `ollama pull {self.model}` yourself." if missing else "See Ollama's log.",
            ) from None
        except OSError as error:
            raise Unavailable(
                f"No Ollama answers at {address}: {getattr(error, 'reason', error)}.",
                "Start it with `ollama serve`, or set OLLAMA_HOST.",
            ) from None
        except (ValueError, RecursionError):
            raise Unavailable(f"What answers at {address} is not Ollama.", "Check the host.") from None
        if not isinstance(answer, dict):
            raise Unavailable(f"What answers at {address} is not Ollama.", "Check the host.")
        return answer


def _address(host: str) -> tuple[str, dict[str, str]]:
    """The address without a login, which is all that messages show, and the header that brings the login along."""
    host = host if "://" in host else f"http://{host}"
    try:
        parts = urlsplit(host)
        user, password = unquote(parts.username or ""), unquote(parts.password or "")
    except ValueError:  # half a bracket
        parts, user, password = urlsplit(""), "", ""
    if parts.scheme not in ("http", "https") or not parts.hostname:
        shown = without_secrets(repr(host))
        raise InvalidInput(
            f"{shown} is not the address of an Ollama service.", f"Write it like {DEFAULT_HOST}."
        )
    coded = base64.b64encode(f"{user}:{password}".encode()).decode("ascii")
    login = {"Authorization": f"Basic {coded}"} if user or password else {}
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}", login


def _encoded(picture: Image) -> str:
    small = picture.convert("RGB")
    small.thumbnail((PICTURE_SIDE, PICTURE_SIDE))
    buffer = io.BytesIO()
    small.save(buffer, format="JPEG", quality=90)
    return base64.b64encode(buffer.getvalue()).decode("ascii")
