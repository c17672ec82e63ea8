"""Captions for pictures that nobody described, written by a model that is on this machine. A fallback: curated ones are better.

In: a dataset and a captioner that a person chose. Out: the dataset with the gaps filled; each such row is marked
`source: auto`, so that lint keeps asking for a reader. A caption that is there is never overwritten, nothing is downloaded.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ..captions import CaptionRow, locked, more_of, plain_caption, write_captions
from ..console import without_steering
from ..dataset import Dataset, existing_rows, read_dataset
from ..engines.contract import python_module_command
from ..errors import InvalidInput, NotFound
from ..trigger import put_first
from ..workspace import Workspace
from .captioner_names import OLLAMA, captioners_dir, local_captioners
from .dataset_folder import CAPTIONS_NAME, DatasetItem
from .line_children import answers
from .ollama import Ollama
from .pictures import DECODER_FAILURES, as_trained

QUESTION = (
    "Describe this picture as a comma-separated list of short English tags: pose, expression, clothing, framing, light, "
    "background. No sentences, no names, no comments."
)


class Captioner(Protocol):
    """Something that describes pictures: `(item, caption)` one after the other, in any number."""

    @property
    def name(self) -> str: ...

    def describe(self, items: Sequence[DatasetItem]) -> Iterator[tuple[DatasetItem, str]]: ...


@dataclass(frozen=True)
class Captioned:
    """What was done: the dataset, the pictures that have a caption now, and sentences on those that have none."""

    dataset: Dataset
    written: tuple[str, ...]
    notes: tuple[str, ...] = ()


def caption_missing(
    dataset: Dataset,
    captioner: Captioner,
    *,
    on_progress: Callable[[int, int], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> Captioned:
    """Describe every picture without a caption. What is described when it stops, for whatever reason, is kept.

    Raises:
        Unavailable, NotFound: the service or the model is not there.
        StorageError, Conflict: captions.jsonl can't be written.
    """
    missing = [item for item in dataset.items if not item.caption.strip()]
    made: dict[str, str] = {}
    try:
        with closing(captioner.describe(missing)) as described:  # type: ignore[type-var]
            for item, caption in described:
                text = plain_caption(without_steering(caption))
                made[item.name] = put_first(text, dataset.trigger) if text else ""
                if on_progress:
                    on_progress(len(made), len(missing))
                if should_stop and should_stop():
                    break
    finally:
        written = _write(dataset, made)
    notes = [f"{name}: the model gave no words for it." for name, text in made.items() if not text]
    notes += [f"{item.name}: not described." for item in missing if item.name not in made]
    return Captioned(read_dataset(dataset.dir), tuple(written), tuple(notes))


@dataclass(frozen=True)
class OllamaCaptioner:
    """A vision model (LLaVA and its kin) behind Ollama's HTTP API."""

    model: Ollama
    question: str = QUESTION

    @property
    def name(self) -> str:
        return f"ollama:{self.model.model}"

    def describe(self, items: Sequence[DatasetItem]) -> Iterator[tuple[DatasetItem, str]]:
        for item in items:
            try:
                picture = as_trained(item.file)
            except DECODER_FAILURES:
                continue  # lint names it (E201)
            yield item, self.model.ask(self.question, pictures=[picture])


@dataclass(frozen=True)
class LocalModelCaptioner:
    """A model in a local folder, run in a process of its own: BLIP (a transformers folder) or a WD14 tagger (model.onnx with
    selected_tags.csv)."""

    folder: Path
    python: Path = Path(sys.executable)

    @property
    def name(self) -> str:
        return f"local:{self.folder.name}"

    def describe(self, items: Sequence[DatasetItem]) -> Iterator[tuple[DatasetItem, str]]:
        if not self.folder.is_dir():
            raise NotFound(
                f"There is no model folder {self.folder}.", "Name a folder with BLIP or a WD14 tagger."
            )
        command = python_module_command(
            "kohya_bridge.engines.captioner", str(self.folder), interpreter=str(self.python)
        )
        paths = (str(item.file) for item in items)
        said = answers(command, paths, who=f"The captioner in {self.folder.name}")
        with closing(said):  # type: ignore[type-var]
            for item, answer in zip(items, said, strict=False):
                if "caption" in answer:
                    yield item, answer["caption"]


def captioner_named(workspace: Workspace, name: str, *, ollama_model: str = "") -> Captioner:
    """`ollama` with a model of its own, or a folder of the workspace's `captioners/`. Raises InvalidInput, NotFound."""
    if name == OLLAMA:
        if not ollama_model.strip():
            raise InvalidInput(
                "No model is named for Ollama.", "Name a vision model that it has, such as llava."
            )
        return OllamaCaptioner(Ollama(ollama_model.strip()))
    if name not in local_captioners(workspace):
        raise NotFound(
            f"There is no captioner {name!r}.", "Put its folder into captioners/ of the workspace."
        )
    return LocalModelCaptioner(captioners_dir(workspace) / name)


def _write(dataset: Dataset, made: dict[str, str]) -> list[str]:
    """Add rows for what still has none; rows that a person wrote meanwhile stay."""
    captions = {name: text for name, text in made.items() if text}
    if not captions:
        return []
    with locked(dataset.dir):
        rows = existing_rows(dataset.dir)
        new = [name for name in captions if name not in rows or not rows[name].prompt.strip()]
        for name in new:
            more = more_of(rows.get(name))
            rows[name] = CaptionRow(name, captions[name], trigger=dataset.trigger, source="auto", more=more)
        write_captions(dataset.dir / CAPTIONS_NAME, rows.values())
    return new
