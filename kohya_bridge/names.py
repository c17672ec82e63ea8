"""Names in files that anybody may have written: what may stand where a slug, a digest or the name of a file is expected.

In: annotated types for the fields of models. Out: the same string, or the sentence that says what is wrong with it. A name that
passes leads to a place below the folder it is meant for, on every system.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath, PureWindowsPath
from typing import Annotated

from pydantic import AfterValidator, Field

from .errors import InvalidInput
from .workspace import check_run_id, check_slug

LONGEST_NAME = 500
_DEVICE = re.compile(r"con|prn|aux|nul|conin\$|conout\$|(?:com|lpt)[0-9\u00b9\u00b2\u00b3]", re.IGNORECASE)
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def is_below(name: str) -> bool:
    """Whether `name` leads to a place below the folder that it is put behind, whichever system reads it."""
    parts = [*PurePosixPath(name).parts, *PureWindowsPath(name).parts]
    rooted = PurePosixPath(name).is_absolute() or PureWindowsPath(name).anchor
    return bool(parts) and not rooted and ".." not in parts and not _CONTROL.search(name)


def _slug(value: str) -> str:
    return _told(check_slug, value)


def _run_id(value: str) -> str:
    return _told(check_run_id, value)


def _below(value: str) -> str:
    if not is_below(value):
        raise ValueError("it must name a file below its folder, without `..` and without a drive.")
    return value


def _file(value: str) -> str:
    if "\\" in value:
        raise ValueError("it must be written with `/` between folders.")
    if any(_means_else_on_windows(part) for part in value.split("/")):
        raise ValueError(
            "it has a part that means something else on Windows: a `:`, a device's name, or a dot at its end."
        )
    return _below(value)


def _means_else_on_windows(part: str) -> bool:
    """Whether Windows takes a file's name for a device or a stream, or for another name."""
    return (
        ":" in part
        or part.rstrip(". ") != part
        or bool(_DEVICE.fullmatch(part.partition(".")[0].rstrip(" ")))
    )


def _one_line(value: str) -> str:
    if _CONTROL.search(value):
        raise ValueError("it has a line break or another character that can't be shown.")
    return value


def _told(check: object, value: str) -> str:
    try:
        return str(check(value))  # type: ignore[operator]
    except InvalidInput as error:  # pydantic takes ValueErrors only; ours has the better words
        raise ValueError(f"{error.problem} | {error.fix}") from None


Slug = Annotated[str, AfterValidator(_slug)]
"""A folder of the workspace."""
RunId = Annotated[str, AfterValidator(_run_id)]
"""12 hexadecimal digits."""
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
"""64 hexadecimal digits."""
Word = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]{0,99}$")]
"""A version, or a key of one of our tables."""
ModelName = Annotated[str, Field(max_length=LONGEST_NAME), AfterValidator(_below)]
"""A file as ComfyUI's lists show it: with folders, on Windows divided by backslashes."""
FileName = Annotated[str, Field(max_length=LONGEST_NAME), AfterValidator(_file)]
"""A file that we wrote ourselves, relative to its folder."""
OneLine = Annotated[str, Field(max_length=2000), AfterValidator(_one_line)]
"""Free text on one line."""
