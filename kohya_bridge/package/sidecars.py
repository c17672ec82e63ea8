"""Sidecar files that LoRA managers read, next to the LoRA and under its name.

In: `PackageFacts` and the finished file. Out: ComfyUI Lora-Manager's `.metadata.json` (schema 1.1), the `.json` of
AUTOMATIC1111 and Forge, `.preview.png`, and on request `.civitai.info` without ids that nobody gave. Each is read back
and checked. Descriptions that managers show as HTML hold no element. What a person or a manager wrote into one of them before stays.
"""

from __future__ import annotations

import html
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .. import json_text
from ..errors import StorageError
from ..files import Tree, write_atomically
from .facts import PackageFacts
from .header import Rewritten
from .metadata import tags, usage_hint

MANAGER_OWN = ("file_name", "size", "sha256", "autov3", "base_model", "hash_status", "wizdroid")
"""Fields of `.metadata.json` that describe the file; everything else belongs to whoever wrote it last."""
HASH_OF_NOTHING = "e3b0c44298fc"
RATING_LEVELS = {"sfw": 1, "suggestive": 2, "nsfw": 8}
"""The dataset's ratings as Civitai's levels: PG, PG-13, X."""


def write_sidecars(
    facts: PackageFacts, written: Rewritten, *, preview: bytes | None, civitai_info: bool, now: float
) -> tuple[Path, ...]:
    """Write and check all sidecars; returns their files. `now` is when the LoRA was installed (seconds)."""
    files = []
    preview_file = _beside(written.file, ".preview.png")
    if preview is not None:
        files.append(write_atomically(preview_file, preview))
    manager_file = _beside(written.file, ".metadata.json")
    manager = {
        **lora_manager_sidecar(
            facts, written, preview=preview_file.name if preview is not None else "", now=now
        ),
        **_not_ours(_read(manager_file)),
    }
    files.append(_write_checked(manager_file, manager, _check_lora_manager))
    a1111_file = _beside(written.file, ".json")
    a1111 = {**a1111_sidecar(facts), **{key: value for key, value in _read(a1111_file).items() if value}}
    files.append(_write_checked(a1111_file, a1111, _check_a1111))
    if civitai_info:
        file = _beside(written.file, ".civitai.info")
        files.append(_write_checked(file, civitai_sidecar(facts, written), _check_civitai))
    return tuple(files)


def lora_manager_sidecar(
    facts: PackageFacts, written: Rewritten, *, preview: str, now: float
) -> dict[str, Any]:
    """`.metadata.json`. `file_path` and `preview_url` hold bare names: the manager puts its own paths there on its
    first scan, and a name leaks nothing."""
    strength = facts.strength
    autov3 = written.tensor_sha256[:12]
    return {
        "file_name": written.file.stem,
        "model_name": facts.title,
        "file_path": written.file.name,
        "size": written.file.stat().st_size,
        "modified": now,
        "sha256": written.sha256,
        "base_model": facts.family.names.lora_manager,
        "preview_url": preview,
        "preview_nsfw_level": RATING_LEVELS.get(facts.release.rating or "sfw", 0),
        "notes": "",
        "from_civitai": False,
        "civitai": {"trainedWords": [facts.trigger] if facts.trigger else [], "customImages": []},
        "tags": tags(facts),
        "modelDescription": _as_html(facts.release.description),
        "favorite": False,
        "skip_metadata_refresh": True,
        "metadata_source": None,
        "hash_status": "completed",
        "autov3": None if autov3 == HASH_OF_NOTHING else autov3,
        "usage_tips": json_text.write(
            {
                "strength_min": strength.low,
                "strength_max": strength.high,
                "strength_range": f"{strength.low:g}-{strength.high:g}",
                "strength": strength.strength,
                **({"clip_skip": facts.plan.settings.clip_skip} if facts.plan.settings.clip_skip > 1 else {}),
            }
        ),
        "wizdroid": {"run_id": facts.run_id, "step": facts.step, "licence": facts.release.licence.text},
    }


def a1111_sidecar(facts: PackageFacts) -> dict[str, Any]:
    """The `.json` that AUTOMATIC1111 and Forge read."""
    return {
        "description": facts.release.description,
        "sd version": facts.family.names.a1111,
        "activation text": facts.trigger,
        "preferred weight": facts.strength.strength,
        "negative text": "",
        "notes": f"{usage_hint(facts)} Licence: {facts.release.licence.text}.",
    }


def civitai_sidecar(facts: PackageFacts, written: Rewritten) -> dict[str, Any]:
    """`.civitai.info` of a file that is not on Civitai: no ids, since none were given."""
    return {
        "name": written.file.stem,
        "baseModel": facts.family.names.civitai,
        "trainedWords": [facts.trigger] if facts.trigger else [],
        "description": _as_html(facts.release.description),
        "model": {
            "name": facts.title,
            "type": "LORA",
            "tags": tags(facts),
            "description": _as_html(facts.release.description),
        },
        "files": [
            {
                "name": written.file.name,
                "sizeKB": written.file.stat().st_size / 1024,
                "primary": True,
                "hashes": {
                    "SHA256": written.sha256.upper(),
                    "AutoV2": written.sha256[:10].upper(),
                    "AutoV3": written.tensor_sha256[:12].upper(),
                },
            }
        ],
        "images": [],
    }


def _as_html(text: str) -> str:
    """A description for programs that show it as HTML, as Civitai's are: the text, and no element."""
    return html.escape(text)


def _beside(file: Path, suffix: str) -> Path:
    return file.with_name(file.stem + suffix)


def _read(file: Path) -> dict[str, Any]:
    try:
        data = Tree(file.parent).read_json(file)
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


def _not_ours(existing: dict[str, Any]) -> dict[str, Any]:
    """What stays of a sidecar that is there: all but the facts of the file, and no emptiness over something."""
    return {
        key: value
        for key, value in existing.items()
        if key not in MANAGER_OWN and value not in ("", [], {}, None)
    }


def _write_checked(file: Path, data: dict[str, Any], check: Any) -> Path:
    write_atomically(file, json_text.write(data, indent=2, ensure_ascii=False) + "\n")
    wrong = check(Tree(file.parent).read_json(file))
    if wrong:
        raise StorageError(f"{file.name} was not written as its readers expect: {wrong}.", "Package again.")
    return file


def _wrong_types(data: Mapping[str, Any], types: Mapping[str, type | tuple[type, ...]]) -> str:
    return ", ".join(name for name, kind in types.items() if not isinstance(data.get(name), kind))


def _check_lora_manager(data: Mapping[str, Any]) -> str:
    wrong = _wrong_types(
        data,
        {
            "file_name": str, "model_name": str, "file_path": str, "size": int, "modified": (int, float),
            "sha256": str, "base_model": str, "tags": list, "civitai": dict, "usage_tips": str,
        },
    )  # fmt: skip
    if not wrong and (len(data["sha256"]) != 64 or data["sha256"] != data["sha256"].lower()):
        wrong = "sha256"
    return wrong or ("" if isinstance(json_text.read(data["usage_tips"]), dict) else "usage_tips")


def _check_a1111(data: Mapping[str, Any]) -> str:
    return _wrong_types(
        data,
        {"description": str, "sd version": str, "activation text": str, "preferred weight": (int, float)},
    )


def _check_civitai(data: Mapping[str, Any]) -> str:
    if {"id", "modelId"} & set(data):
        return "invented ids"
    return _wrong_types(
        data, {"name": str, "baseModel": str, "trainedWords": list, "model": dict, "files": list}
    )
