"""A child process that is asked line by line: JSON in, JSON out, one answer for each question.

In: a command, questions. Out: the answers, one after the other. Models run in such children, so that neither ComfyUI's process
nor a shell ever imports them.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterable, Iterator
from typing import Any

from .. import json_text
from ..engines.contract import Command
from ..errors import Unavailable


def answers(command: Command, questions: Iterable[Any], *, who: str) -> Iterator[dict[str, Any]]:
    """The child's answer to each question in turn; it ends with the iteration.

    A child that gives up says why as `problem | fix` on its last line of stderr.

    Raises:
        Unavailable: it ended, or answered with something that is no JSON object; `who` names it.
    """
    with subprocess.Popen(
        command.argv, cwd=command.cwd, env={**os.environ, **command.environment}, text=True, encoding="utf-8",
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as child:  # fmt: skip
        try:
            for question in questions:
                answer = _ask(child, question)
                if answer is None:
                    raise _failure(child, who)
                yield answer
        finally:
            child.terminate()


def _ask(child: subprocess.Popen[str], question: Any) -> dict[str, Any] | None:
    assert child.stdin and child.stdout
    try:
        child.stdin.write(json_text.write(question) + "\n")
        child.stdin.flush()
        answer = json.loads(child.stdout.readline())
    except (ValueError, RecursionError, OSError):  # a dead child's pipe is broken, and its last line empty
        return None
    return answer if isinstance(answer, dict) else None


def _failure(child: subprocess.Popen[str], who: str) -> Unavailable:
    child.terminate()
    said = child.stderr.read().strip().splitlines() if child.stderr else []
    problem, _, fix = (said[-1] if said else "it gave no reason").partition(" | ")
    return Unavailable(f"{who} failed: {problem}", fix or "Install it again, or leave it out.")
