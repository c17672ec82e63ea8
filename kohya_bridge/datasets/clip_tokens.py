"""How many tokens CLIP makes of a caption, and where a trainer cuts it off.

In: a folder with CLIP's `merges.txt` (ComfyUI's `comfy/sd1_tokenizer`). Out: exact tokens, as transformers'
CLIPTokenizer makes them, without importing transformers: lint and the builder need an answer in milliseconds.
Source of the algorithm: Sennrich et al. 2016 (byte pair encoding), and OpenAI's CLIP for its word pattern.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from heapq import heapify, heappop, heappush
from pathlib import Path

from ..errors import NotFound, StorageError
from ..files import read_named
from ..reasons import reason_of

# CLIP's pattern is 's|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+ ; `re` has no \p{..}, so letters and numbers
# are told apart below.
_CONTRACTIONS = ("'s", "'t", "'re", "'ve", "'m", "'ll", "'d")
_MERGES = "merges.txt"
MAX_TEXT = 20_000


@dataclass(frozen=True)
class Cut:
    """A caption as a trainer takes it: what is read, what is cut off, and how many tokens there were."""

    kept: str
    lost: str
    tokens: int


class ClipTokens:
    """CLIP's byte pair encoding. Made by `clip_tokens`."""

    def __init__(self, ranks: dict[tuple[str, str], int], letters: dict[int, str]):
        self._ranks, self._letters = ranks, letters
        self._known: dict[str, tuple[str, ...]] = {}

    def tokens(self, text: str) -> list[str]:
        """The tokens of a text, without begin and end marks; a token that ends a word ends in `</w>`."""
        return [token for word in words_of(text) for token in self._word(word)]

    def count(self, text: str) -> int:
        """Number of tokens, without begin and end marks."""
        return len(self.tokens(text))

    def cut(self, text: str, *, length: int) -> Cut:
        """Where a limit of `length` tokens (75, 150 or 225) cuts a caption; a word cut in two counts as lost."""
        used, end = 0, 0
        for start, stop in _spans(text):
            for word in words_of(text[start:stop]):
                used += len(self._word(word))
            if used > length:
                return Cut(text[:end].rstrip(" ,"), text[end:].lstrip(" ,"), self.count(text))
            end = stop
        return Cut(text, "", used)

    def _word(self, word: str) -> tuple[str, ...]:
        if word not in self._known:
            letters = [self._letters[byte] for byte in word.encode("utf-8", "replace")]
            self._known[word] = tuple(self._merged([*letters[:-1], letters[-1] + "</w>"]))
        return self._known[word]

    def _merged(self, parts: list[str]) -> list[str]:
        """Join neighbours in the order of their ranks, those of one rank from the left, until no pair has a rank.

        A heap of pairs instead of a look at all of them after each: a word may be as long as a caption.
        """
        parts, count = list(parts), len(parts)
        after, before = list(range(1, count + 1)), list(range(-1, count - 1))
        waiting = [
            (rank, at)
            for at in range(count - 1)
            if (rank := self._ranks.get((parts[at], parts[at + 1]))) is not None
        ]
        heapify(waiting)
        while waiting:
            rank, at = heappop(waiting)
            right = after[at]
            if right == count or self._ranks.get((parts[at], parts[right])) != rank:
                continue  # one of the two was joined to its other neighbour meanwhile
            parts[at], parts[right] = parts[at] + parts[right], ""
            after[at] = after[right]
            if after[at] < count:
                before[after[at]] = at
            for left in (before[at], at):
                if left >= 0 and after[left] < count:
                    pair = (parts[left], parts[after[left]])
                    if pair in self._ranks:
                        heappush(waiting, (self._ranks[pair], left))
        return [part for part in parts if part]


def clip_tokens(folder: Path) -> ClipTokens:
    """The tokenizer in that folder; read once.

    Raises:
        NotFound: `merges.txt` is not there.
        StorageError: it is damaged.
    """
    file = folder / _MERGES
    if not file.is_file():
        raise NotFound(
            f"There is no CLIP tokenizer in {folder.name}/ ({_MERGES} is missing).",
            "Point to ComfyUI's comfy/sd1_tokenizer.",
        )
    return _read(file, file.stat().st_mtime_ns)


def words_of(text: str) -> list[str]:
    """The pieces that CLIP encodes one by one: words, single digits, runs of other signs; in lower case."""
    text = unicodedata.normalize("NFC", text[:MAX_TEXT]).lower()
    words, i = [], 0
    while i < len(text):
        contraction = next((each for each in _CONTRACTIONS if text.startswith(each, i)), "")
        if contraction:
            end = i + len(contraction)
        elif text[i].isspace():
            i += 1
            continue
        else:
            kind, end = _kind(text[i]), i + 1
            while kind != "number" and end < len(text) and _kind(text[end]) == kind:
                end += 1
        words.append(text[i:end])
        i = end
    return words


def _kind(letter: str) -> str:
    if letter.isspace():
        return "space"
    category = unicodedata.category(letter)[0]
    return {"L": "letter", "N": "number"}.get(category, "sign")


def _spans(text: str) -> list[tuple[int, int]]:
    """Begin and end of each run without white space."""
    return [match.span() for match in re.finditer(r"\S+", text[:MAX_TEXT])]


@lru_cache(maxsize=2)
def _read(file: Path, mtime_ns: int) -> ClipTokens:
    try:
        lines = read_named(file).decode("utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise StorageError(
            f"{file.name} can't be read: {reason_of(error)}.", "Install ComfyUI again."
        ) from error
    # The first line is a version; CLIP's vocabulary has 49,152 entries less 256 bytes twice and 2 marks: 48,894 merges.
    pairs = [tuple(line.split()) for line in lines[1:48_895] if line.strip()]
    return ClipTokens({(a, b): rank for rank, (a, b) in enumerate(pairs)}, _byte_letters())


def _byte_letters() -> dict[int, str]:
    """A printable letter for each byte, as in GPT-2: printable Latin-1 bytes stand for themselves."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in plain]
    return {byte: chr(byte) for byte in plain} | {byte: chr(256 + n) for n, byte in enumerate(others)}
