"""Everything that reads what somebody else may have written, on generated inputs: headers, JSON, YAML, TOML, captions, logs, pictures.

In: a seed and a count. Out: a `Tried` for each input. A reader answers, or says in words why it does not; it takes no more than seconds,
and what it returns can be sent as JSON where it is meant for the panel.
"""

from __future__ import annotations

import io
import json
import random
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from kohya_bridge.building.character_options import RATINGS, load_options, merge_options, read_user_options
from kohya_bridge.captions import parse_captions, plain_caption, read_prompts
from kohya_bridge.dataset import read_dataset
from kohya_bridge.datasets.dataset_lock import read_lock
from kohya_bridge.datasets.dataset_metadata import read_metadata
from kohya_bridge.datasets.foreign_captions import read_foreign
from kohya_bridge.datasets.pictures import DECODER_FAILURES, as_trained, file_pixel_digest, inspect_picture
from kohya_bridge.drawing import printable
from kohya_bridge.engines.failures import explain_death
from kohya_bridge.engines.kohya.importing import import_config
from kohya_bridge.event_reader import read_events
from kohya_bridge.event_shape import is_sound, parse_line
from kohya_bridge.forbidding import parse, parse_yaml
from kohya_bridge.lint import lint_dataset
from kohya_bridge.lint.repair_journal import read_journals
from kohya_bridge.lint.words import words_above
from kohya_bridge.models.base_models import inspect_base_model
from kohya_bridge.models.lora_check import lora_problems
from kohya_bridge.models.lora_facts import check_lora, read_lora_facts
from kohya_bridge.models.lora_keys import modules_of, read_key
from kohya_bridge.models.safetensors_header import read_header
from kohya_bridge.package.markdown import code, fenced, prose
from kohya_bridge.package.recipe import read_recipe
from kohya_bridge.package.scrub import scrub_text
from kohya_bridge.plan import TrainingRequest
from kohya_bridge.redaction import secrets_below, without_secrets
from kohya_bridge.run_folder import RunFolder
from kohya_bridge.run_state import fold
from kohya_bridge.runs import choices, held_prompt, unattended
from kohya_bridge.runs.damage import damages_of
from kohya_bridge.trigger import without
from kohya_bridge.validation.manifest import read_manifest
from kohya_bridge.workspace import PACK_ROOT
from tests.rehearsed_runs import rehearsed_plan

from .oddities import Damage, altered, damaged, damaged_json, damaged_lines, damaged_yaml, text
from .tried import Tried, attempt

_EVENTS = sorted((PACK_ROOT / "tests" / "fixtures" / "events").glob("*.jsonl"))
_REQUEST = b"dataset: alice\nbase_model: x.safetensors\npreset: standard\nsettings: {max_train_steps: 100, unet_lr: 1e-4, seed: 3}\nkohya: {}\n"
_PROMPT = {
    "1": {"class_type": "SaveImage", "inputs": {"images": ["2", 0]}},
    "2": {"class_type": "X", "inputs": {}},
}
_ROWS = b'{"file_name": "0001.png", "prompt": "char_x, smiling", "source": "hand"}\n{"file_name": "0002.png", "prompt": "char_x"}\n'
_METADATA = (
    b"slug: alice\nlora_tag: char_x\nlicence: CC0-1.0\nsource: drawn\nrelease_approved: true\nwaivers: []\n"
)
_GUI = {
    "LoRA_type": "Standard",
    "max_resolution": "512,512",
    "network_dim": 8,
    "learning_rate": 1e-4,
    "epoch": 4,
    "optimizer": "AdamW",
    "network_alpha": 4,
}
_TOML = b'network_dim = 8\nresolution = "512,512"\nunet_lr = 1e-4\n[general]\nmax_train_epochs = 3\nnetwork_args = ["conv_dim=4"]\n'
_LOG = b'steps: 10%|#   | 1/10\nTraceback (most recent call last):\n  File "x.py", line 3, in f\ntorch.OutOfMemoryError: CUDA out of memory. Tried to allocate 1 GiB\n'


_SECRETS = b'--token abc wandb_api_key=x1 {"password": "y z"} Authorization: Bearer abcdefgh https://me:pw@host/x?api_key=1 hf_aaaaaaaaaaaaaaaaaaaa'


@dataclass(frozen=True)
class Reader:
    """`sound` makes an input that is in order, `damage` spoils it, `read` reads it in an empty folder."""

    sound: Callable[[random.Random], bytes]
    damage: Damage
    read: Callable[[bytes, Path], Any]
    also: tuple[type[BaseException], ...] = ()
    """Further errors that its docstring names."""


def safetensors(header: Any, data: bytes = b"") -> bytes:
    encoded = header if isinstance(header, bytes) else json.dumps(header).encode("utf-8", "surrogatepass")
    return struct.pack("<Q", len(encoded)) + encoded + data


def _lora(dice: random.Random) -> bytes:
    names = [f"lora_unet_down_blocks_{n}_attentions_0_proj_in" for n in range(2)]
    datasets = [{"resolution": [64, 64], "subsets": [{"num_repeats": 2}], "batch_size_per_device": 1}]
    told = {
        "ss_network_dim": "2",
        "ss_steps": "4",
        "ss_optimizer": "torch.optim.AdamW(weight_decay=0.1)",
        "ss_tag_frequency": "{}",
    }
    told |= {
        "ss_sd_model_name": "x.safetensors",
        "ss_datasets": json.dumps(altered(dice, datasets)),
        "modelspec.title": "x",
    }
    told |= {
        "ss_network_args": json.dumps(altered(dice, {"conv_dim": "4"})),
        "ss_dataset_dirs": json.dumps(altered(dice, {"a": {"n_repeats": 2}})),
    }
    if dice.random() < 0.3:
        del told["ss_datasets"]
    header: dict[str, Any] = {"__metadata__": told}
    at = 0
    for name in names:
        for part, shape in (("lora_down.weight", [2, 4]), ("lora_up.weight", [4, 2]), ("alpha", [])):
            size = 4 * (8 if shape else 1)
            header[f"{name}.{part}"] = {"dtype": "F32", "shape": shape, "data_offsets": [at, at + size]}
            at += size
    return safetensors(header, dice.randbytes(at))


def damaged_header(dice: random.Random, data: bytes) -> bytes:
    """A header with odd names, shapes, offsets, numbers; or a file cut, flipped, with another length in front."""
    if dice.random() < 0.35:
        return damaged(dice, data)
    length = struct.unpack("<Q", data[:8])[0]
    header, rest = json.loads(data[8 : 8 + length]), data[8 + length :]
    whole = safetensors(altered(dice, header), rest)
    if dice.random() < 0.15:
        whole = (
            struct.pack("<Q", dice.choice((0, 1, length - 1, length + 9, 2**31, 2**63, 2**64 - 1)))
            + whole[8:]
        )
    return whole


def _read_model(data: bytes, place: Path) -> None:
    file = place / "x.safetensors"
    file.write_bytes(data)
    for look in (
        _train_like,
        read_header,
        read_lora_facts,
        check_lora,
        lora_problems,
        inspect_base_model,
        read_recipe,
    ):
        _unless_refused(look, file)


def _train_like(file: Path) -> None:
    import_config(file, dataset="alice", images=9)


def _unless_refused(look: Callable[[Path], Any], file: Path) -> None:
    from kohya_bridge.errors import BridgeError

    try:
        look(file)
    except BridgeError as error:
        assert error.problem


def _read_events(data: bytes, place: Path) -> None:
    file = place / "events.jsonl"
    file.write_bytes(data)
    events = list(read_events(file))
    assert all(is_sound(each) for each in events)
    json.dumps(fold(events).to_json(), allow_nan=False).encode("utf-8")
    for line in data.splitlines():
        parse_line(line)


def _read_captions(data: bytes, place: Path) -> None:
    rows, _ = parse_captions(data)
    for row in rows[:50]:
        _read_words(row.prompt)


def _read_words(words: str) -> None:
    plain_caption(words)
    without(words, "char_x")
    words_above(words, RATINGS[0])
    scrub_text(words)
    printable(words)
    read_key(words)
    modules_of([words])


def _read_log(data: bytes, place: Path) -> None:
    for ending in (1, -9, None, 3):
        explain_death(ending, data.decode("utf-8", "replace"))


def _as_file(name: str, read: Callable[[Path], Any]) -> Callable[[bytes, Path], Any]:
    def look(data: bytes, place: Path) -> Any:
        file = place / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
        return read(file)

    return look


def _in_run(name: str, read: Callable[[RunFolder], Any]) -> Callable[[bytes, Path], Any]:
    """What `read` says of a run in which that file has the content, and what is told of its damages."""

    def look(data: bytes, place: Path) -> None:
        run = RunFolder(place / "runs" / "x" / "0123456789ab")
        file = run.dir / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
        damages_of(run)
        read(run)

    return look


def _card(dice: random.Random) -> bytes:
    """As much of a model card as is read: the table of its run, and its plan."""
    plan = rehearsed_plan(seed=dice.randrange(99))
    table = f"| Run | `{plan.run_id}` |\n| Step | 4 of 9 |\n| SHA-256 of the tensors | `{'a' * 64}` |\n"
    return f"# A card\n\n{table}\n{fenced(plan.to_yaml(), 'yaml')}\n".encode()


def _without_secrets(text: str) -> None:
    """What is without secrets has none, and as Markdown it is a line."""
    told = without_secrets(text)
    assert without_secrets(told) == told, "a second look finds another secret"
    assert "\n" not in prose(text) + code(text)
    list(secrets_below({"a": text, "token": text}))


def _options(file: Path) -> None:
    merge_options(load_options(), read_user_options(file))


def _picture(dice: random.Random) -> bytes:
    made = io.BytesIO()
    format = dice.choice(("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"))
    exif = Image.Exif()
    exif[0x0112] = dice.choice((1, 3, 6, 99))
    with_exif = {"exif": exif} if format in ("PNG", "JPEG", "WEBP") else {}
    Image.new("RGB", (16, 12), "teal").save(made, format, **with_exif)
    return made.getvalue()


def _read_picture(data: bytes, place: Path) -> None:
    file = place / "x.png"
    file.write_bytes(data)
    inspect_picture(file).to_json()
    for look in (as_trained, file_pixel_digest):
        try:
            look(file)
        except DECODER_FAILURES:
            pass  # named in both docstrings


def _read_dataset_with(name: str) -> Callable[[bytes, Path], Any]:
    def look(data: bytes, place: Path) -> None:
        (place / "images").mkdir()
        Image.new("RGB", (64, 64), "teal").save(place / "images" / "0001.png")
        (place / "captions.jsonl").write_bytes(_ROWS)
        (place / name).write_bytes(data)
        lint_dataset(read_dataset(place))
        read_foreign(place)

    return look


def _fixed(data: bytes | dict[str, Any]) -> Callable[[random.Random], bytes]:
    return lambda dice: data if isinstance(data, bytes) else json.dumps(data).encode()


_JOURNAL = {
    "time": 1.0,
    "repairs": [{"rule": "W404", "subject": "0001.png", "action": "x"}],
    "kept": ["metadata.yaml"],
    "written": {"metadata.yaml": "0" * 64},
}
_HELD = {"prompt": _PROMPT, "client_id": "a", "extra_pnginfo": None}
_GRIDS = {"prompt": _PROMPT, "grids": ["1"], "over": {"a" * 64: "queued"}}
_IDENTITY = {
    "pid": 4,
    "started": 1.5,
    "boot_id": "x",
    "argv": ["a"],
    "attempt": 1,
    "keeper": {"pid": 5, "started": 1.0, "boot_id": "x"},
    "ended": None,
    "exit_code": None,
}
_OPTIONS = {"version": 1, "lora_trigger": {"wren": "char_wren"}, "negative": {"tags": "x"}, "options": {}}
_MANIFEST = {"version": 1, "slug": "x", "run_id": "0123456789ab", "cells": [], "grids": []}
_LOCK = {"version": 1, "versions": []}

READERS: dict[str, Reader] = {
    "model file": Reader(_lora, damaged_header, _read_model),
    "events": Reader(lambda dice: dice.choice(_EVENTS).read_bytes(), damaged_lines, _read_events),
    "config": Reader(_fixed(_REQUEST), damaged_yaml, lambda data, place: parse(TrainingRequest, parse_yaml(data.decode("utf-8", "replace"), what="x"), what="x")),
    "plan": Reader(lambda dice: rehearsed_plan(seed=dice.randrange(99)).to_yaml().encode(), damaged_yaml, _in_run("plan.yaml", lambda run: run.plan())),
    "captions": Reader(_fixed(_ROWS), damaged_lines, _read_captions),
    "words": Reader(lambda dice: text(dice).encode("utf-8", "surrogatepass"), lambda dice, data: data, lambda data, place: _read_words(data.decode("utf-8", "replace"))),
    "log": Reader(_fixed(_LOG), damaged, _read_log),
    "long log": Reader(lambda dice: text(dice).encode("utf-8", "surrogatepass"), lambda dice, data: data, _read_log),
    "preset of the GUI": Reader(_fixed(_GUI), damaged_json, _as_file("x.json", lambda file: import_config(file, dataset="alice", images=9))),
    "sd-scripts config": Reader(_fixed(_TOML), damaged, _as_file("x.toml", lambda file: import_config(file, dataset="alice"))),
    "model card": Reader(_card, damaged, _as_file("x.model-card.md", read_recipe)),
    "secrets": Reader(_fixed(_SECRETS), damaged, lambda data, place: _without_secrets(data.decode("utf-8", "replace"))),
    "picture": Reader(_picture, damaged, _read_picture),
    "dataset metadata": Reader(_fixed(_METADATA), damaged_yaml, _as_file("metadata.yaml", read_metadata)),
    "dataset of odd captions": Reader(_fixed(_ROWS), damaged_lines, _read_dataset_with("captions.jsonl")),
    "dataset of an odd sidecar": Reader(lambda dice: text(dice).encode("utf-8", "surrogatepass"), damaged, _read_dataset_with("images/0001.txt")),
    "dataset of odd metadata": Reader(_fixed(_METADATA), damaged_yaml, _read_dataset_with("metadata.yaml")),
    "dataset with an odd table": Reader(_fixed({"0001": {"caption": "a", "tags": "b"}}), damaged_json, _read_dataset_with("meta_cap.json")),
    "dataset lock": Reader(_fixed(_LOCK), damaged_json, _as_file("dataset.lock.json", lambda file: read_lock(file.parent))),
    "journal of repairs": Reader(_fixed(_JOURNAL), damaged_json, _as_file("originals/20260101-000000-01/repairs.json", lambda file: read_journals(file.parents[2]))),
    "prompt log": Reader(_fixed(b'{"prompt": "a", "seed": 1}\n'), damaged_lines, _as_file("x.jsonl", read_prompts)),
    "options": Reader(_fixed(_OPTIONS), damaged_json, _as_file("options.json", _options)),
    "manifest": Reader(_fixed(_MANIFEST), damaged_json, _as_file("validation_manifest.json", read_manifest)),
    "run.json": Reader(_fixed(_IDENTITY), damaged_json, _in_run("run.json", lambda run: run.identity())),
    "held prompt": Reader(_fixed(_HELD), damaged_json, _in_run("held_prompts/a.json", lambda run: held_prompt.read_held(run, run.dir / "held_prompts/a.json"))),
    "unattended grids": Reader(_fixed(_GRIDS), damaged_json, _in_run("unattended.json", unattended.read_any)),
    "choices": Reader(_fixed({"engine": "x", "precision": "y"}), damaged_json, _in_run("choices.json", choices.read_choices)),
}  # fmt: skip


def parsers(root: Path, *, count: int, seed: int) -> Iterator[Tried]:
    """`count` inputs, every reader in turn; the n-th one depends on the seed and its number alone."""
    names = sorted(READERS)
    for number in range(count):
        name, dice = names[number % len(names)], random.Random(f"{seed}-{number}")
        reader = READERS[name]
        place = root / f"{number}" / "x"
        place.mkdir(parents=True)
        data = reader.damage(dice, reader.sound(dice))
        tried = Tried(f"input {number} ({name})")
        attempt(tried, name, lambda r=reader, d=data, p=place: r.read(d, p), also=reader.also)
        if tried.wrong:
            (root / f"failed-{seed}-{number}").write_bytes(data)
        yield tried
