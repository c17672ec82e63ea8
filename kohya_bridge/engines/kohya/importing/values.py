"""Values of options as they stand in files and programs of other people: read as they are meant, and looked at before they are used.

In: a value of JSON, TOML or YAML, whatever its type. Out: the number or word that is meant, or why it can't be what its option takes.
"""

from __future__ import annotations

import ast
import math
import re
from typing import Any

# What an option must be to be translated; a value that is not is left behind.
NUMBERS = (
    "learning_rate", "unet_lr", "text_encoder_lr", "lr_warmup_steps", "resolution", "max_train_epochs", "train_batch_size",
    "gradient_accumulation_steps", "num_repeats", "dataset_repeats", "network_dim", "network_alpha", "max_train_steps", "clip_skip",
)  # fmt: skip
TEXTS = (
    "family",
    "optimizer_type",
    "lr_scheduler",
    "network_module",
    "mixed_precision",
    "pretrained_model_name_or_path",
)
LISTS = ("optimizer_args", "network_args", "lr_scheduler_args")  # or words in a line


def misfit(name: str, value: Any) -> str:
    """Why a value can't be what the option of that name takes, as a sentence; empty where it may be."""
    if value in (None, "", False):
        return ""  # the same as not named
    if name in TEXTS:
        return "" if isinstance(value, str) else "it is not text."
    if name in LISTS:
        return "" if isinstance(value, list | str) else "it is not a list."
    numbers = value if isinstance(value, list) else sides_in(value) if name == "resolution" else [value]
    if name in NUMBERS and not (numbers and all(_is_number(each) for each in numbers)):
        return not_a_number(value, "it is not a number that fits.")
    if isinstance(value, list) and name in NUMBERS and name not in ("resolution", "text_encoder_lr"):
        return "it is several numbers."
    return ""


def not_a_number(value: Any, otherwise: str = "it is not a number.") -> str:
    """Why a value is not one: most often decimals behind a comma."""
    has_comma = isinstance(value, str) and re.fullmatch(r"\s*[+-]?\d+,\d+\s*", value)
    return "it is not a number: decimals stand behind a point, not a comma." if has_comma else otherwise


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value) and 0 <= value < 2**31


def sides_in(value: Any) -> list[Any]:
    """The sides of a resolution: `512`, `768,512`, `512x512`, `(512, 512)`."""
    return [
        as_meant(each) for each in re.split(r"[,x\u00d7*]", str(value).strip("()[] ").lower()) if each.strip()
    ]


def as_meant(value: Any) -> Any:
    """A value as it is meant: files hold numbers and booleans as text."""
    if isinstance(value, list):
        return [as_meant(each) for each in value]
    if not isinstance(value, str):
        return value
    text = value.strip()
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    if text == "None":
        return None
    if text.startswith("[") and text.endswith("]"):
        return [as_meant(each) for each in text[1:-1].split(",") if each.strip()]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def words_of(value: Any) -> list[str]:
    """A list of words: as it is, or a line parted at blanks without its quotation marks, as the GUI parts it."""
    if isinstance(value, list):
        return [str(each) for each in value]
    return str(value).replace('"', "").split()


def pair(text: Any) -> tuple[str, Any]:
    """`name=value` as name and value; a value with commas is a list."""
    name, _, value = str(text).partition("=")
    try:
        read = ast.literal_eval(value)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        read = as_meant(value)
    return name.strip(), list(read) if isinstance(read, tuple) else read
