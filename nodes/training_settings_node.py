"""Training Settings: every number of `TrainingSettings` that is not a dial of Kohya Train, made from the model itself."""

from __future__ import annotations

from types import UnionType
from typing import Any, Literal, get_args, get_origin

from comfy_api.latest import io

from ..kohya_bridge.errors import InvalidInput
from ..kohya_bridge.forbidding import parse_yaml
from ..kohya_bridge.settings import TrainingSettings
from . import host
from .edge import plainly
from .sockets import SETTINGS, ChosenSettings

# These are dials of Kohya Train itself.
DIALS = (
    "network_dim",
    "network_alpha",
    "unet_lr",
    "max_train_steps",
    "resolution",
    "train_batch_size",
    "seed",
)
PRESET = "preset"
NO_LORA = "(none)"
LORAS = {
    "network_weights": "A LoRA to start from instead of zeros, as ComfyUI lists it.",
    "base_weights": "The training adapter of a distilled model (Turbo, Lightning), as ComfyUI lists its LoRAs: on while training, off "
    "afterwards. Needless where the undistilled model is trained.",
}
"""Settings that name a LoRA of ComfyUI's folder."""
UNSET = -1
"""No number of a training is negative, so this one can mean 'as the preset says'."""


class TrainingSettingsNode(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="WizdroidTrainingSettings",
            display_name="Training Settings",
            category="Wizdroid/Training",
            description="All numbers of a training that Kohya Train does not show. What is left at 'preset' or -1 stays as the preset says.",
            inputs=[*(_input(name) for name in setting_names()), _more()],
            outputs=[SETTINGS.Output(id="settings", display_name="settings", tooltip="For Kohya Train.")],
        )

    @classmethod
    @plainly
    def execute(cls, more: str = "", **chosen: Any) -> io.NodeOutput:
        values = {name: _value(name, chosen[name]) for name in setting_names() if _is_set(chosen.get(name))}
        further = parse_yaml(more, what="more settings") or {}
        if not isinstance(further, dict):
            raise InvalidInput(
                "The further settings are not `name: value` lines.", "Write one `name: value` a line."
            )
        kohya = further.pop("kohya", None) or {}
        return io.NodeOutput(ChosenSettings({**values, **further}, kohya))


def setting_names() -> list[str]:
    """The settings that the node shows, in the model's order."""
    return [name for name in TrainingSettings.model_fields if name not in DIALS and name != "optimizer_args"]


def _input(name: str) -> Any:
    kind = _kind(name)
    tooltip = TrainingSettings.model_fields[name].description
    if name in LORAS:
        options = [NO_LORA, *host.model_names("loras")]
        return io.Combo.Input(name, options=options, default=NO_LORA, tooltip=LORAS[name])
    if kind is bool:
        return io.Combo.Input(name, options=[PRESET, "on", "off"], default=PRESET, tooltip=tooltip)
    if get_origin(kind) is Literal:
        options = [PRESET, *(str(each) for each in get_args(kind))]
        return io.Combo.Input(name, options=options, default=PRESET, tooltip=tooltip)
    most = next(
        (each.le for each in TrainingSettings.model_fields[name].metadata if hasattr(each, "le")), None
    )
    tooltip = f"{tooltip} -1: as the preset says."
    if kind is int:
        return io.Int.Input(name, default=UNSET, min=UNSET, max=most or 2**31, tooltip=tooltip)
    return io.Float.Input(
        name, default=UNSET, min=UNSET, max=most or 10000.0, step=0.00001, round=False, tooltip=tooltip
    )


def _more() -> Any:
    return io.String.Input(
        "more",
        multiline=True,
        default="",
        optional=True,
        placeholder="optimizer_args: {weight_decay: 0.01}",
        tooltip="Further `name: value` lines: optimizer_args, and under `kohya:` any option of sd-scripts' own parser.",
    )


def _kind(name: str) -> Any:
    kind = TrainingSettings.model_fields[name].annotation
    return get_args(kind)[0] if get_origin(kind) is UnionType else kind


def _is_set(chosen: Any) -> bool:
    return chosen is not None and chosen not in (PRESET, UNSET, NO_LORA)


def _value(name: str, chosen: Any) -> Any:
    kind = _kind(name)
    if kind is bool:
        return chosen == "on"
    if get_origin(kind) is Literal and all(isinstance(each, int) for each in get_args(kind)):
        return int(chosen)
    return chosen
