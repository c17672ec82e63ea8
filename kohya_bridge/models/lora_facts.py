"""What a LoRA file holds and whether it is sound, read without torch.

In: a .safetensors file with kohya's key names or peft's. Out: `LoraFacts` from its header, and from `check_lora` the list of what is
wrong with it: unreadable, incomplete pairs, numbers that are not finite, another step than planned. A run counts as
completed only when that list is empty.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..architectures import ARCHITECTURES
from ..architectures.base import Architecture
from ..errors import BridgeError, InvalidInput
from ..files import open_named
from .lora_check import is_finite
from .lora_keys import ALPHA, KOHYA, naming_of
from .safetensors_header import SafetensorsHeader, TensorInfo, read_header

DOWN, UP = KOHYA


@dataclass(frozen=True)
class LoraFacts:
    """A LoRA file by its header. `alpha` and `rank` are those of the attention layers, where they are all alike."""

    file: Path
    modules: tuple[str, ...]
    rank: int | None
    alpha: float | None
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
        NotFound, StorageError, InvalidInput: there is no readable LoRA with kohya's or peft's key names in it.
    """
    header = read_header(file)
    naming = naming_of(header.tensors)
    if naming is None:
        raise InvalidInput(
            f"{header.file.name} is no LoRA with kohya's key names, nor with peft's.",
            "Choose a LoRA whose keys end in .lora_down.weight and .lora_up.weight, or in .lora_A.weight and .lora_B.weight.",
        )
    down = naming.down
    modules = tuple(dict.fromkeys(name.removesuffix(down) for name in header.tensors if name.endswith(down)))
    ranks = {
        header.tensors[module + down].shape[0] for module in modules if header.tensors[module + down].shape
    }
    formats = [header.tensors[module + down].dtype for module in modules]
    return LoraFacts(
        file=header.file,
        modules=modules,
        rank=ranks.pop() if len(ranks) == 1 else _whole(header.metadata, "ss_network_dim"),
        alpha=_number(header.metadata, "ss_network_alpha"),
        step=_whole(header.metadata, "ss_steps"),
        family=_family_of(header, modules),
        number_format=max(set(formats), key=formats.count),
        trains_text_encoder=any(module.startswith("lora_te") for module in modules),
        metadata=dict(header.metadata),
    )


def check_lora(file: Path, *, step: int | None = None) -> tuple[str, ...]:
    """Everything that is wrong with a LoRA file, as sentences; nothing when it is sound. `step` is the planned one."""
    try:
        header = read_header(Path(file))
        facts = read_lora_facts(Path(file))
    except BridgeError as error:
        return (error.problem,)
    wrong = [*_broken_modules(header), *_not_finite(header)]
    if step is not None and facts.step != step:
        wrong.append(f"{header.file.name} was trained for {facts.step} steps, {step} were planned.")
    return tuple(wrong)


def _number(metadata: Mapping[str, str], key: str) -> float | None:
    try:
        return float(metadata[key])
    except (KeyError, ValueError):
        return None


def _whole(metadata: Mapping[str, str], key: str) -> int | None:
    number = _number(metadata, key)
    return int(number) if number is not None and number.is_integer() else None


def _family_of(header: SafetensorsHeader, modules: tuple[str, ...]) -> str | None:
    version = header.metadata.get("ss_base_model_version")
    architecture = header.metadata.get("modelspec.architecture")
    families = ARCHITECTURES.values()
    for each in families:
        if each.names.base_version == version or each.names.modelspec == architecture:
            return each.name
    return next((each.name for each in families if _is_for(each, modules)), None)


def _is_for(family: Architecture, modules: tuple[str, ...]) -> bool:
    return any(module.startswith(family.lora_prefixes) for module in modules)


def _broken_modules(header: SafetensorsHeader) -> list[str]:
    """One sentence when modules lack a matrix, their shapes don't fit, or keys belong to no module."""
    wrong = []
    down_ending, up_ending = naming_of(header.tensors) or KOHYA
    for name, info in header.tensors.items():
        if name.endswith(down_ending):
            module = name.removesuffix(down_ending)
            up, alpha = header.tensors.get(module + up_ending), header.tensors.get(module + ALPHA)
            if up is None or alpha is None or not _fit(info, up, alpha):
                wrong.append(module)
        elif (
            not name.endswith((up_ending, ALPHA))
            or name.removesuffix(up_ending).removesuffix(ALPHA) + down_ending not in header.tensors
        ):
            wrong.append(name)
    if not wrong:
        return []
    return [
        f"{header.file.name} is incomplete: {len(wrong)} modules do not fit together, such as {wrong[0]}."
    ]


def _fit(down: TensorInfo, up: TensorInfo, alpha: TensorInfo) -> bool:
    if len(down.shape) < 2 or len(up.shape) != len(down.shape):
        return False
    return down.shape[0] == up.shape[1] and alpha.shape in ((), (1,))


def _not_finite(header: SafetensorsHeader) -> list[str]:
    with open_named(header.file) as stream:
        bad = [name for name, info in header.tensors.items() if not is_finite(stream, info)]
    if not bad:
        return []
    return [f"{header.file.name} holds numbers that are not finite in {len(bad)} tensors, such as {bad[0]}."]
