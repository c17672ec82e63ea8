"""Secrets that a person typed: what they are known by, and how they stay out of everything that is kept, shown or given away.

In: names of options, words of a command line, text, plain values. Out: whether there is a secret, and the same without it. A secret is
known by the name before it (`wandb_api_key`, `--hub-token`, `"clientSecret": ...`; `max_token_length` and `keep_tokens` are none),
or by its own look: a password or a key in an address, what follows `Bearer`, the keys that services give out. Standard library only.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

LEFT_OUT = "(left out)"
ADVICE = "Set it in the environment, as its program documents (WANDB_API_KEY, HF_TOKEN): plans and folders are copied and read."
MOST_NAME = 100
SHORTEST = 4
"""Characters of a secret that is looked for in other texts: a shorter one would be found in half the words there are."""

_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_ALONE = frozenset(
    [
        "secret",
        "secrets",
        "password",
        "passwd",
        "passphrase",
        "credential",
        "credentials",
        "authorization",
        "apikey",
        "accesskey",
        "privatekey",
    ]
)
_KEYS = frozenset(["api", "access", "private", "secret", "auth", "account", "signing", "encryption"])
_NOT_OF_A_TOKEN = frozenset(
    [
        "length",
        "len",
        "limit",
        "count",
        "warmup",
        "ids",
        "id",
        "index",
        "min",
        "max",
        "num",
        "separator",
        "dim",
        "dims",
        "padding",
    ]
)
"""What stands behind `token` where tokens of a text are meant."""

_BEFORE_A_VALUE = re.compile(
    r"""(?P<quote>["']?)(?<![A-Za-z0-9_.\-])-*(?P<name>[A-Za-z][A-Za-z0-9_.\-]*)["']?\s{0,3}(?P<sign>[=:])\s{0,3}"""
)
_VALUE = re.compile(r"""(?P<quote>["']?)(?P<value>(?<=")[^"\n]+|(?<=')[^'\n]+|[^\s"',;&}\])]+)""")
_NO_VALUES = frozenset(("true", "false", "null", "none", "bearer", "basic", "token", LEFT_OUT, "(left"))
_IN_AN_ADDRESS = re.compile(r"(?<=://)(?!git@)[^\s/@?#\"'<>]+@")
_SHAPES = (
    re.compile(r"(?P<kept>\b(?:Bearer|Basic|Token)\s{1,3})[A-Za-z0-9._~+/=\-]{8,}", re.I),
    re.compile(
        r"(?P<kept>)\b(?:hf|ghp|gho|ghs|ghu|glpat|sk|rk|pk|xox[abps]|r8|civitai)[_-][A-Za-z0-9_\-]{16,}"
    ),
    re.compile(r"(?P<kept>)\bgithub_pat_[A-Za-z0-9_]{20,}"),
    re.compile(r"(?P<kept>)\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"),
    re.compile(r"(?P<kept>)\bAIza[A-Za-z0-9_\-]{30,}"),
    re.compile(r"(?P<kept>)\beyJ[A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-]{4,}"),
)


def is_secret(name: str) -> bool:
    """Whether what stands behind that name is nobody's business."""
    words = [each.lower() for each in _WORDS.findall(name.strip()[-MOST_NAME:])]
    if not _ALONE.isdisjoint(words):
        return True
    for at, word in enumerate(words):
        following = words[at + 1] if at + 1 < len(words) else ""
        if word == "token" and following not in _NOT_OF_A_TOKEN:
            return True
        if word == "key" and at and words[at - 1] in _KEYS:
            return True
    return False


def without_secrets(text: str, *, typed: Sequence[str] = (), known: Iterable[str] = ()) -> str:
    """`text` without what looks like a secret, without those among the words that were `typed`, and without those that are `known`."""
    told = {*_typed(typed), *(each for each in known if each)}
    for secret in sorted(told, key=len, reverse=True):
        text = text.replace(secret, LEFT_OUT)
    text = _IN_AN_ADDRESS.sub(f"{LEFT_OUT}@", text)
    for shape in _SHAPES:
        text = shape.sub(lambda found: f"{found['kept']}{LEFT_OUT}", text)
    return _without_named(text)


def has_secret(text: str) -> bool:
    """Whether there is one in `text`."""
    return without_secrets(text) != text


def cleaned(value: Any, *, known: Iterable[str] = ()) -> Any:
    """A plain value without secrets: those that stand behind a key's name, those in any text, and those that are `known`."""
    known = tuple(known)
    if isinstance(value, dict):
        return {
            key: LEFT_OUT if _is_kept_secret(key, each) else cleaned(each, known=known)
            for key, each in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [cleaned(each, known=known) for each in value]
    return without_secrets(value, known=known) if isinstance(value, str) else value


def secrets_below(value: Any, name: str = "") -> Iterator[str]:
    """Where secrets stand in a plain value, as dotted names."""
    if isinstance(value, dict):
        for key, each in value.items():
            where = f"{name}.{key}" if name else str(key)
            yield from [where] if _is_kept_secret(key, each) else secrets_below(each, where)
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from secrets_below(each, name)
    elif isinstance(value, str) and has_secret(value):
        yield name


def named_secrets(value: Any) -> set[str]:
    """The secrets in a plain value that are known by the key before them: what its other texts may repeat."""
    if isinstance(value, dict):
        mine = {each for key, each in value.items() if _is_kept_secret(key, each) and len(each) >= SHORTEST}
        return mine.union(*map(named_secrets, value.values()))
    return set().union(*map(named_secrets, value)) if isinstance(value, (list, tuple)) else set()


def _is_kept_secret(key: Any, value: Any) -> bool:
    """A name of a secret with a text behind it; a number, a switch or a link to another node is none."""
    return isinstance(key, str) and is_secret(key) and isinstance(value, str) and value not in ("", LEFT_OUT)


def _without_named(text: str) -> str:
    """`text` with what stands behind the names of secrets left out."""
    kept, at = [], 0
    for found in _BEFORE_A_VALUE.finditer(text):
        value = _VALUE.match(text, found.end()) if found.start() >= at and is_secret(found["name"]) else None
        if value is None or value["value"].lower() in _NO_VALUES or _is_prose(found, value):
            continue
        kept += [text[at : value.start("value")], LEFT_OUT]
        at = value.end("value")
    return "".join([*kept, text[at:]])


def _is_prose(found: re.Match[str], value: re.Match[str]) -> bool:
    """Whether a sentence speaks of a token: "the token: char_alice"."""
    return (
        found["name"].lower() == "token" and found["sign"] == ":" and not (found["quote"] or value["quote"])
    )


def _typed(words: Sequence[str]) -> Iterator[str]:
    """Values behind `name=` and behind a word that is such a name, as `--token abc`; and words that are secrets by their look."""
    for word, following in zip(words, [*words[1:], ""], strict=False):
        name, equals, value = word.partition("=")
        if is_secret(name):
            yield from filter(None, [value if equals else following])
