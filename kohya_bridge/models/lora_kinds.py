"""Kinds of LoRA by the names of their tensors: which kind a module of a file is, whether it is whole, and its rank.

In: names and shapes of a file's tensors. Out: modules with their kind. Plain pairs of matrices (LoRA, LoCon) are `lora_keys`' own;
the others are LyCORIS' (lycoris-lora 4.1, `lycoris/modules/`), as ComfyUI reads them (comfy/weight_adapter/). Standard library only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ..counted import counted
from ..errors import InvalidInput
from .lora_keys import layer, read_key

LORA, LOHA, LOKR, OFT, GLORA, FULL = "LoRA", "LoHa", "LoKr", "OFT", "GLoRA", "full difference"
KINDS = (LORA, LOHA, LOKR, OFT, GLORA, FULL)

_PARTS = {
    LOHA: ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b", "hada_t1", "hada_t2"),
    LOKR: ("lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b", "lokr_t2"),
    OFT: ("oft_blocks", "oft_R.weight", "oft_R.scaled_oft", "rescale"),
    GLORA: ("a1.weight", "a2.weight", "b1.weight", "b2.weight"),
    FULL: ("diff", "diff_b", "w_norm", "b_norm"),
}
_KIND_OF_PART = {part: kind for kind, parts in _PARTS.items() for part in parts}
_NEEDED: Mapping[str, tuple[tuple[frozenset[str], ...], ...]] = {
    LORA: ((frozenset({"down", "up"}),),),
    LOHA: ((frozenset({"hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"}),),),
    LOKR: (
        (frozenset({"lokr_w1"}), frozenset({"lokr_w1_a", "lokr_w1_b"})),
        (frozenset({"lokr_w2"}), frozenset({"lokr_w2_a", "lokr_w2_b"})),
    ),
    OFT: ((frozenset({"oft_blocks"}), frozenset({"oft_R.weight"})),),
    GLORA: ((frozenset(_PARTS[GLORA]),),),
    FULL: (tuple(frozenset({part}) for part in _PARTS[FULL]),),
}
"""Of each group one of the sets must be there."""
_RANK_OF: Mapping[str, tuple[str, ...]] = {
    LORA: ("down",),
    LOHA: ("hada_w1_b",),
    LOKR: ("lokr_w2_b", "lokr_w1_b"),
    GLORA: ("a1.weight",),
}
"""Whose rows are as many as the rank, the first that is there; a LoKr of whole matrices, and what has none, has none."""


@dataclass(frozen=True)
class Module:
    """One layer's update. `parts` are its tensors by what they are: `down`, `up`, `mid`, `alpha`, `dora`, or LyCORIS' own names."""

    name: str
    kind: str
    parts: Mapping[str, str]

    @property
    def is_whole(self) -> bool:
        """Whether all is there that the kind can't do without."""
        return all(any(each <= self.parts.keys() for each in group) for group in _NEEDED[self.kind])

    @property
    def is_dora(self) -> bool:
        return "dora" in self.parts

    def rank(self, shapes: Mapping[str, tuple[int, ...]]) -> int | None:
        """The inner dimension, given the shapes of all tensors by name; None where it has none."""
        found = (shapes[self.parts[part]] for part in _RANK_OF.get(self.kind, ()) if part in self.parts)
        return next((shape[0] for shape in found if len(shape) > 1), None)


def read_modules(names: Iterable[str]) -> dict[str, Module]:
    """The modules of a file of any kind, in its order. Tensors that belong to none, and alphas alone, are left out."""
    parts: dict[str, dict[str, str]] = {}
    kinds: dict[str, str] = {}
    for name in names:
        found = _part_of(name)
        if found:
            module, part, kind = found
            parts.setdefault(module, {})[part] = name
            if kind:
                kinds.setdefault(module, kind)
    return {module: Module(module, kind, parts[module]) for module, kind in kinds.items()}


def kind_of(modules: Iterable[Module]) -> str:
    """What a file is, in a word: the kind of most of its modules, with "DoRA" where their magnitudes are trained too."""
    of = list(modules)
    if not of:
        return ""
    most = max(KINDS, key=lambda kind: sum(each.kind == kind for each in of))
    dora = any(each.is_dora for each in of)
    return ("DoRA" if most == LORA else f"{most} with DoRA") if dora else most


def refuse_unread(names: Iterable[str], what: str) -> None:
    """Raise InvalidInput for updates that are more than two matrices and a number: they would be read as something else, or not at all."""
    modules = read_modules(names)
    other = [each for each in modules.values() if each.kind != LORA]
    if other:
        raise InvalidInput(
            f"{what} is a {kind_of(modules.values())} in {counted(len(other), 'module')}, such as {other[0].name}, which is not read here.",
            "Take a plain LoRA; ComfyUI itself draws with the other kinds.",
        )
    for part, title in (("dora", "DoRA"), ("mid", "a third matrix (CP decomposition)")):
        found = [each.name for each in modules.values() if part in each.parts]
        if found:
            raise InvalidInput(
                f"{what} has {title} in {counted(len(found), 'module')}, such as {found[0]}, which is not read here.",
                "Take a plain LoRA; ComfyUI itself draws with the other kinds.",
            )


def names_of_host(names: Iterable[str], known: Iterable[str]) -> dict[str, str]:
    """`{name: new name}` for the tensors whose module is none of `known` while one of `known` is the same layer. Two modules that would
    become one keep their names."""
    there = set(known)
    by_layer = {_only_or_first(layer(each)): each for each in sorted(there, reverse=True)}
    found: dict[str, str] = {}
    for name in names:
        part = _part_of(name)
        if part and part[0] not in there and (new := by_layer.get(_only_or_first(layer(part[0])))):
            found[name] = new + name.removeprefix(part[0])
    twice = {new for new, number in Counter(found.values()).items() if number > 1}
    return {name: new for name, new in found.items() if new not in twice}


def _only_or_first(layer_name: str) -> str:
    """The same name for an only text encoder and for the first of several, which files and models of one family call either way."""
    return f"te1_{layer_name.removeprefix('te_')}" if layer_name.startswith("te_") else layer_name


def _part_of(name: str) -> tuple[str, str, str] | None:
    """`(module, part, kind)`; no kind for a part that several have."""
    key = read_key(name)
    if key:
        return key.module, key.part, LORA if key.part in ("down", "up", "mid") else ""
    for part, kind in _KIND_OF_PART.items():
        if name.endswith(f".{part}") and len(name) > len(part) + 1:
            return name[: -len(part) - 1], part, kind
    return None
