"""What may stand where a wire belongs: whoever posts to ComfyUI's `/prompt` may write any JSON value there.

In: a node's inputs as ComfyUI hands them over. Out: nothing, or `InvalidInput` that names the input and the node to connect. A wire
carries an object; a text, a number, a list or a mapping in its place was typed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..kohya_bridge.errors import InvalidInput
from .sockets import DATASET, RUN, SETTINGS, ChosenSettings, DatasetName, RunName

TYPED = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO", "*"}
"""Inputs that a person types; ComfyUI checks these itself."""
OURS: dict[str, type] = {DATASET.io_type: DatasetName, RUN.io_type: RunName, SETTINGS.io_type: ChosenSettings}
COMES_FROM = {
    DATASET.io_type: "Caption Export or Dataset Lint",
    RUN.io_type: "Kohya Train or Training Run",
    SETTINGS.io_type: "Training Settings or Kohya Model Files",
    "IMAGE": "a node that gives pictures, such as VAE Decode or Load Image",
    "MODEL": "a loader, such as Load Checkpoint",
    "CLIP": "a loader, such as Load Checkpoint",
    "VAE": "a loader, such as Load Checkpoint",
}


def refuse_typed_wires(schema: Any, inputs: Mapping[str, Any]) -> None:
    """Raise InvalidInput for the first input whose wire is no wire. `schema` is the node's own."""
    for each in schema.inputs if schema else ():
        kind = each.get_io_type()
        if inputs.get(each.id) is None or TYPED & set(str(kind).split(",")):
            continue
        given = inputs[each.id]
        values = given if schema.is_input_list and isinstance(given, list) else [given]
        if any(_is_typed(value, OURS.get(kind)) for value in values):
            raise InvalidInput(
                f"{schema.display_name or schema.node_id} got {_kinds(values)} as its {each.id}, where a wire belongs.",
                f"Connect {COMES_FROM.get(kind, f'a node that gives {kind}')} to it.",
            )


def _is_typed(value: Any, ours: type | None) -> bool:
    return isinstance(value, str | int | float | list | dict) or (
        ours is not None and value is not None and type(value).__name__ != ours.__name__
    )


def _kinds(values: Iterable[Any]) -> str:
    words = {
        str: "a text",
        bool: "a switch",
        int: "a number",
        float: "a number",
        list: "a list",
        dict: "a mapping",
    }
    return next((words[type(value)] for value in values if type(value) in words), "something else")
