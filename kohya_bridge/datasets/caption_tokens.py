"""How many tokens the text encoder of a model family makes of a caption, and how many it was made for.

In: a family, and CLIP's tokenizer as ComfyUI carries it (the others lie beside it). Out: a `Reading`. Only tokenizers that lie in
ComfyUI's folders are read, and neither torch nor transformers is imported; where a family's lies in its text encoder's file, the
limit is told in words.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

from ..architectures.base import Architecture
from ..engine_names import FIRST_ENGINE
from ..errors import BridgeError, NotFound, StorageError
from ..reasons import reason_of
from .clip_tokens import MAX_TEXT, Cut, clip_tokens

QWEN_PATTERN = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
"""What Qwen2, 2.5 and 3 encode piece by piece (transformers, Qwen2TokenizerFast)."""
_FOLDERS = {"qwen": "qwen25_tokenizer", "t5": "t5_tokenizer"}
"""Below ComfyUI's `comfy/text_encoders`."""
_TITLES = {"qwen": "Qwen's", "t5": "T5's", "gemma": "Gemma's", "mistral": "Mistral's"}


class CaptionTokens(Protocol):
    """A tokenizer."""

    def count(self, text: str) -> int:
        """Number of tokens, without begin and end marks."""

    def cut(self, text: str, *, length: int) -> Cut:
        """Where `length` tokens end; a word cut in two counts as lost."""


@dataclass(frozen=True)
class Reading:
    """How captions are read. `tokens` is None where nobody can count here, and `note` says why."""

    tokens: CaptionTokens | None = None
    limit: int | None = None
    """Tokens of a caption that the family was made for; None: as many as `max_token_length` says are read."""
    family: str = ""
    """Its title, where `limit` is the family's own."""
    is_cut: bool = True
    """Whether what is beyond is dropped before the encoder sees it. ComfyUI's encoders of these families take all of it."""
    note: str = ""


def reading(of_family: Architecture | None, clip_dir: Path | None, *, engine: str | None = None) -> Reading:
    """How captions for that family (None: as for Stable Diffusion) are read by an engine (None: the first). `clip_dir` is ComfyUI's
    `sd1_tokenizer`."""
    if of_family is None or of_family.captions.reads_clip:
        return _clip(clip_dir)
    name, limit = of_family.captions.tokenizer, of_family.captions.tokens
    if not name or limit is None:
        return Reading(is_cut=False)
    is_cut = engine not in (None, FIRST_ENGINE) or of_family.trainable != "host"
    tokens, why = None, f"its tokenizer, {_TITLES[name]}, lies in the text encoder's own file"
    if name in _FOLDERS and clip_dir is not None:
        folder = clip_dir.parent / "text_encoders" / _FOLDERS[name]
        try:
            tokens = library_tokens(name, folder)
        except BridgeError as error:
            why = error.problem
    note = f"The tokens of captions were not counted as {of_family.title} reads them: {why.rstrip('.')}. It was made with captions of up to {limit} tokens, about {limit * 3 // 4} words."  # fmt: skip
    return Reading(tokens, limit, of_family.title, is_cut, "" if tokens else note)


def _clip(folder: Path | None) -> Reading:
    if folder is None:
        return Reading()
    try:
        return Reading(clip_tokens(folder))
    except BridgeError as error:
        return Reading(note=f"Tokens were not counted: {error.problem}")


class LibraryTokens:
    """A tokenizer of the package `tokenizers`, which transformers brings along. Made by `library_tokens`."""

    def __init__(self, tokenizer: Any):
        self._tokenizer = tokenizer

    def tokens(self, text: str) -> list[str]:
        """The tokens of a text, without begin and end marks."""
        found: list[str] = self._encoded(text).tokens
        return found

    def count(self, text: str) -> int:
        return len(self._encoded(text).ids)

    def cut(self, text: str, *, length: int) -> Cut:
        encoded = self._encoded(text)
        if len(encoded.ids) <= length:
            return Cut(text, "", len(encoded.ids))
        end = encoded.offsets[length][0]
        if not text[end - 1 : end].isspace() and not text[end : end + 1].isspace():
            end = max(0, *(at + 1 for at, sign in enumerate(text[:end]) if sign.isspace()), 0)
        return Cut(text[:end].rstrip(" ,"), text[end:].lstrip(" ,"), len(encoded.ids))

    def _encoded(self, text: str) -> Any:
        return self._tokenizer.encode(text[:MAX_TEXT], add_special_tokens=False)


def library_tokens(name: str, folder: Path) -> LibraryTokens:
    """The tokenizer `qwen` or `t5` in that folder; read once.

    Raises:
        NotFound: it is not there, or the package `tokenizers` is not. StorageError: it is damaged.
    """
    if importlib.util.find_spec("tokenizers") is None:
        raise NotFound(
            "The package tokenizers is not installed.", "Install it into this Python: pip install tokenizers."
        )
    wanted = ("vocab.json", "merges.txt") if name == "qwen" else ("tokenizer.json",)
    missing = [each for each in wanted if not (folder / each).is_file()]
    if missing:
        raise NotFound(
            f"This ComfyUI has no {folder.name}/{missing[0]}.", "Point COMFYUI_DIR to ComfyUI's folder."
        )
    return _read(name, folder, (folder / wanted[-1]).stat().st_mtime_ns)


@lru_cache(maxsize=4)
def _read(name: str, folder: Path, mtime_ns: int) -> LibraryTokens:
    from tokenizers import Tokenizer

    try:
        made = _qwen(folder) if name == "qwen" else Tokenizer.from_file(str(folder / "tokenizer.json"))
    except Exception as error:  # the package raises Exception itself for a damaged file
        raise StorageError(
            f"{folder.name} can't be read: {reason_of(error)}.", "Install ComfyUI again."
        ) from error
    made.no_truncation()
    made.no_padding()
    return LibraryTokens(made)


def _qwen(folder: Path) -> Any:
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

    made = Tokenizer(models.BPE.from_file(str(folder / "vocab.json"), str(folder / "merges.txt")))
    made.normalizer = normalizers.NFC()
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(QWEN_PATTERN), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    return made
