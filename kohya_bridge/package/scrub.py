"""Taking this machine out of what is given away: absolute paths, the user's login name, the host's name, and secrets.

In: texts and metadata values, JSON inside strings included. Out: the same with paths cut to their last part, names
replaced and secrets left out (`redaction.py`). Captions and tags keep their words: a login `alice` must not eat the character Alice.
"""

from __future__ import annotations

import getpass
import platform
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from .. import json_text
from ..redaction import cleaned, without_secrets

REMOVED = "(removed)"
GENERIC_NAMES = {
    "root",
    "user",
    "users",
    "admin",
    "administrator",
    "localhost",
    "home",
    "ubuntu",
    "debian",
    "runner",
    "default",
}
"""Names that say nothing of anybody, but are words of their own."""
CAPTION_KEYS = {"ss_tag_frequency", "ss_datasets", "ss_dataset_dirs", "ss_output_name", "ss_bucket_info"}

_PATH = re.compile(
    r"""(?:file://|(?<![\w/.:~-]))         # not inside a word, another path or a URL
        (?:~(?=/) | [A-Za-z]:(?=[\\/]) | \\\\(?=\w) | (?=/[^\s/"'<>|]+/))   # home, drive, share, or /two/parts
        [\\/]?[^\s"'<>|,;)\]}]*""",
    re.VERBOSE,
)
_WHOLE_PATH = re.compile(r"(?:file://)?(?:~?/|[A-Za-z]:[\\/]|\\\\)[^\n]*")


def machine_names() -> frozenset[str]:
    """Login name, home folder's name and host name of this machine, without the generic ones."""
    host = platform.node()
    found = {host, host.split(".")[0], Path.home().name}
    try:
        found.add(getpass.getuser())
    except (KeyError, OSError):
        pass  # a container without an entry for its user has no name to leak
    return frozenset(name for name in found if len(name) > 2 and name.lower() not in GENERIC_NAMES)


def scrub_text(text: str, *, names: Iterable[str] = ()) -> str:
    """`text` without absolute paths (their last part stays) and without `names` as whole words."""
    text, home = without_secrets(text), str(Path.home())
    if len(home) > 1:
        text = text.replace(home, "~")
    text = _PATH.sub(lambda found: _last_part(found.group()), text)
    for name in names:
        text = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", REMOVED, text, flags=re.IGNORECASE)
    return text


def scrub_metadata(metadata: Mapping[str, str], *, names: Iterable[str] = ()) -> dict[str, str]:
    """A safetensors metadata table without this machine. JSON values stay JSON."""
    names = tuple(names)
    return {key: _scrub_value(value, () if key in CAPTION_KEYS else names) for key, value in metadata.items()}


def scrub_json(value: Any, *, names: Iterable[str] = ()) -> Any:
    """Every string of a JSON value scrubbed, keys included. A string that is a path as a whole keeps its last part."""
    names, value = tuple(names), cleaned(value)
    if isinstance(value, str):
        return scrub_text(_last_part(value) if _WHOLE_PATH.fullmatch(value) else value, names=names)
    if isinstance(value, list):
        return [scrub_json(each, names=names) for each in value]
    if isinstance(value, dict):
        return {scrub_json(key, names=names): scrub_json(each, names=names) for key, each in value.items()}
    return value


def _scrub_value(value: str, names: tuple[str, ...]) -> str:
    if value[:1] in ("{", "["):
        try:
            data = json_text.read(value)
        except (ValueError, RecursionError):
            return scrub_text(value, names=names)
        return json_text.write(scrub_json(data, names=names))
    return str(scrub_json(value, names=names))


def _last_part(path: str) -> str:
    parts = [part for part in re.split(r"[\\/]+", path) if part not in ("", "~", "file:")]
    return parts[-1] if parts else ""
