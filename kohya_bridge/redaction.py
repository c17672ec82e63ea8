"""Secrets that a person typed: known by the names in front of them, and left out of what is kept and shown.

In: names of options, words of a command line, text. Out: whether a name stands for a secret, and the text without any. A name is
told by its end (`wandb_api_key`, `--hub-token`), so that `max_token_length` and `keep_tokens` are none. Standard library only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

LEFT_OUT = "(left out)"
_SECRET = re.compile(
    r"(?:^|[._-])(?:api[_-]?key|access[_-]?key|token|secret|password|passwd|credentials)$", re.I
)
_IN_AN_ADDRESS = re.compile(r"(?<=://)([^\s/@:]{0,200}):([^\s/@]{1,200})@")


def is_secret(name: str) -> bool:
    """Whether what stands behind that name is nobody's business."""
    return bool(_SECRET.search(name.strip()[-100:]))


def without_secrets(text: str, *, typed: Sequence[str] = ()) -> str:
    """`text` without passwords in addresses and without the secrets among the words that were `typed`."""
    for secret in sorted(set(_secrets_in(typed)), key=len, reverse=True):
        text = text.replace(secret, LEFT_OUT)
    return _IN_AN_ADDRESS.sub(f"{LEFT_OUT}@", text)


def _secrets_in(words: Sequence[str]) -> Iterator[str]:
    """Values behind `name=` and behind a word that is such a name, as `--token abc`."""
    for word, following in zip(words, [*words[1:], ""], strict=False):
        name, equals, value = word.partition("=")
        if is_secret(name):
            yield from filter(None, [value if equals else following])
