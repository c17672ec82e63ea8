"""What a LoRA file holds and whether it is sound, read without torch.

In: a .safetensors file of any kind in `lora_kinds`, with kohya's or peft's key names. Out: `LoraFacts` from its header, and from `check_lora` the list of what is
wrong with it: unreadable, incomplete pairs, numbers that are not finite, another step than planned. A run counts as
completed only when that list is empty.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..architectures import ARCHITECTURES
from ..counted import counted
from ..errors import BridgeError, InvalidInput
from ..files import open_named
from .lora_check import is_finite
from .lora_keys import KOHYA, PEFT, is_text_encoders, layer
from .lora_kinds import LORA, Module, kind_of, read_modules
from .safetensors_header import SafetensorsHeader, read_header, read_tensor


@dataclass(frozen=True)
class LoraFacts:
    """A LoRA file by its header. `alpha` and `rank` are given where all modules have the same; a file without alphas counts as
    one whose alpha is its rank, as every loader takes it."""

    file: Path
    modules: tuple[str, ...]
    rank: int | None
    alpha: float | None
    kind: str
    """A word such as LoRA, DoRA, LoHa or LoKr (`lora_kinds`)."""
    step: int | None
    """Optimizer steps that the file says it was trained for (`ss_steps`)."""
    family: str | None
    """A name of `architectures.ARCHITECTURES`, by its metadata or its key names; None when neither tells."""
    number_format: str
    trains_text_encoder: bool
    metadata: dict[str, str]


def read_lora_facts(file: Path) -> LoraFacts:
    """What the LoRA in `file` says of itself.

    Raises:
        NotFound, StorageError, InvalidInput: there is no readable LoRA in it.
    """
    header = read_header(file)
    modules = read_modules(header.tensors)
    if not modules:
        raise InvalidInput(
            f"{header.file.name} is not a LoRA: no key in it ends in {KOHYA.down} or {PEFT.down}, nor as one of LyCORIS' kinds does.",
            "Choose a LoRA with kohya's or peft's key names.",
        )
    shapes = {name: info.shape for name, info in header.tensors.items()}
    ranks = {each.rank(shapes) for each in modules.values()} - {None}
    rank = ranks.pop() if len(ranks) == 1 else _whole(header.metadata, "ss_network_dim")
    alpha = _alpha_of(header, modules.values())
    without = not any("alpha" in each.parts for each in modules.values())
    formats = [
        header.tensors[name].dtype
        for each in modules.values()
        for part, name in each.parts.items()
        if part != "alpha"
    ]
    return LoraFacts(
        file=header.file,
        modules=tuple(modules),
        rank=rank,
        alpha=float(rank) if alpha is None and without and rank else alpha,
        kind=kind_of(modules.values()),
        step=_whole(header.metadata, "ss_steps"),
        family=_family_of(header, _weights_of(header, modules.values())),
        number_format=max(set(formats), key=formats.count),
        trains_text_encoder=any(is_text_encoders(module) for module in modules),
        metadata=dict(header.metadata),
    )


def check_lora(file: Path, *, step: int | None = None) -> tuple[str, ...]:
    """Everything that is wrong with a LoRA file, as sentences; nothing when it is sound. `step` is the planned one."""
    try:
        header = read_header(Path(file))
        facts = read_lora_facts(Path(file))
    except BridgeError as error:
        return (error.problem,)
    wrong = [*_broken_modules(header, read_modules(header.tensors)), *_not_finite(header)]
    if step is not None and facts.step != step:
        wrong.append(
            f"{header.file.name} was trained for {facts.step} steps; {counted(step, 'step was', 'steps were')} planned."
        )
    return tuple(wrong)


def _number(metadata: Mapping[str, str], key: str) -> float | None:
    try:
        return float(metadata[key])
    except (KeyError, ValueError):
        return None


def _whole(metadata: Mapping[str, str], key: str) -> int | None:
    number = _number(metadata, key)
    return int(number) if number is not None and number.is_integer() else None


def _family_of(header: SafetensorsHeader, weights: dict[str, tuple[int, ...]]) -> str | None:
    """By what the file says of itself, else by the layers that it changes and their sizes."""
    version = header.metadata.get("ss_base_model_version")
    architecture = header.metadata.get("modelspec.architecture", "").lower()
    families = ARCHITECTURES.values()
    for each in families:
        if each.names.base_version == version or each.names.modelspec.lower() == architecture:
            return each.name
    return next((each.name for each in families if any(m.fit(weights) for m in each.lora_marks)), None)


def _weights_of(header: SafetensorsHeader, modules: Iterable[Module]) -> dict[str, tuple[int, ...]]:
    """The shapes (out, in) of the weights that the file's pairs of matrices belong to, by `layer`."""
    found: dict[str, tuple[int, ...]] = {}
    for each in modules:
        shapes = [header.tensors[each.parts[part]].shape for part in ("down", "up") if part in each.parts]
        if len(shapes) == 2 and all(len(shape) >= 2 for shape in shapes):
            found[layer(each.name)] = (shapes[1][0], shapes[0][1])
    return found


def _alpha_of(header: SafetensorsHeader, modules: Iterable[Module]) -> float | None:
    """By the metadata, else the one that all modules have; where the naming needs none, the rank counts."""
    told = _number(header.metadata, "ss_network_alpha")
    if told is not None:
        return told
    said = {_scalar(header, each.parts["alpha"]) for each in modules if "alpha" in each.parts}
    return said.pop() if len(said) == 1 else None


def _scalar(header: SafetensorsHeader, name: str) -> float | None:
    """The number in a tensor of one element; None for a format that no alpha is written in."""
    data, dtype = read_tensor(header, name), header.tensors[name].dtype
    if dtype == "BF16":
        data, dtype = b"\0\0" + data, "F32"
    kind = {"F64": "<d", "F32": "<f", "F16": "<e", "I64": "<q", "I32": "<i"}.get(dtype)
    return float(struct.unpack(kind, data)[0]) if kind and len(data) == struct.calcsize(kind) else None


def _broken_modules(header: SafetensorsHeader, modules: Mapping[str, Module]) -> list[str]:
    """One sentence when modules lack a matrix, their shapes don't fit, or keys belong to no module."""
    wrong = [name for name, each in modules.items() if not _is_whole(header, each)]
    named = {name for each in modules.values() for name in each.parts.values()}
    wrong += [name for name in header.tensors if name not in named]
    if not wrong:
        return []
    return [
        f"{header.file.name} is incomplete: {counted(len(wrong), 'module')} do not fit together, such as {wrong[0]}."
    ]


def _is_whole(header: SafetensorsHeader, module: Module) -> bool:
    alpha = header.tensors[module.parts["alpha"]] if "alpha" in module.parts else None
    if not module.is_whole or (alpha is not None and alpha.shape not in ((), (1,))):
        return False
    return module.kind != LORA or _fit_together(header, module.parts)


def _fit_together(header: SafetensorsHeader, parts: Mapping[str, str]) -> bool:
    """Whether the two matrices of a plain LoRA share their inner dimension."""
    down, up = header.tensors[parts["down"]], header.tensors[parts["up"]]
    if "alpha" not in parts and parts["down"].endswith(KOHYA.down) and KOHYA.needs_alpha:
        return False
    if len(down.shape) < 2 or len(up.shape) != len(down.shape):
        return False
    return down.shape[0] == up.shape[1]


def _not_finite(header: SafetensorsHeader) -> list[str]:
    with open_named(header.file) as stream:
        bad = [name for name, info in header.tensors.items() if not is_finite(stream, info)]
    if not bad:
        return []
    return [
        f"{header.file.name} holds numbers that are not finite in {counted(len(bad), 'tensor')}, such as {bad[0]}."
    ]
