"""The outermost edge of every node: a known failure reaches the person as problem and fix, its traceback only the log."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from ..kohya_bridge.errors import BridgeError
from ..kohya_bridge.system_errors import in_words
from .host import log
from .wires import refuse_typed_wires


class Told(Exception):
    """What ComfyUI shows in its dialog: two sentences, under a name for people. It shows where a class lies unless that is `builtins`."""


Told.__module__, Told.__qualname__, Told.__name__ = "builtins", "Wizdroid training", "Wizdroid training"


def plainly(execute: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a node's `execute` (put it under `@classmethod`). Failures that nobody foresaw pass through unchanged."""
    if inspect.iscoroutinefunction(execute):

        @functools.wraps(execute)
        async def executed_async(cls: Any, *args: Any, **inputs: Any) -> Any:
            try:
                refuse_typed_wires(cls.SCHEMA, inputs)
                return await execute(cls, *args, **inputs)
            except (BridgeError, OSError) as error:
                raise _told(error) from None

        return executed_async

    @functools.wraps(execute)
    def executed(cls: Any, *args: Any, **inputs: Any) -> Any:
        try:
            refuse_typed_wires(cls.SCHEMA, inputs)
            return execute(cls, *args, **inputs)
        except (BridgeError, OSError) as error:
            raise _told(error) from None

    return executed


def _told(error: BridgeError | OSError) -> Told:
    log.error("%s", error, exc_info=error)
    told = in_words(error) if isinstance(error, OSError) else error
    return Told(f"{told.problem}\n{told.fix}".strip())
