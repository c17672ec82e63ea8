"""The inputs of the Character Prompt Builder: what stands in sight, and what the page shows on demand."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..kohya_bridge.architectures import ARCHITECTURES, FIRST
from ..kohya_bridge.building.character import GENDERS, NEWER
from ..kohya_bridge.building.character_options import NONE, RANDOM, RATINGS, Category, Options
from ..kohya_bridge.building.coverage import VARIED
from ..kohya_bridge.dataset import list_datasets
from . import host

OFF = "off"
# What a person who makes pictures of one character turns most; the rest shows up with "Show all inputs".
IN_SIGHT = ("identity", "gender", "age", "hair_style", "hair_colour", "eyes", *VARIED, "style")


def builder_inputs(options: Options) -> list[Any]:
    """All inputs in the order of the node: required ones first, as ComfyUI sorts them."""
    return [
        *_first_inputs(options),
        *(_category_input(category) for category in options),
        *_text_inputs(),
        *_drawing_inputs(options),
        *_log_inputs(),
        *_further_inputs(),
    ]


def _first_inputs(options: Options) -> list[Any]:
    return [
        io.Combo.Input(
            "lora_trigger",
            options=list(options.triggers()),
            default=NONE,
            tooltip="The plain token that the character's LoRA learns; it stands first in the prompt. "
            "New ones go into lora_trigger of character_options.user.json in the workspace.",
        ),
        io.Combo.Input(
            "family",
            options=[*ARCHITECTURES, NEWER],
            default=FIRST.name,
            tooltip="How to phrase the prompt: SD 1.5 wants tags, SDXL prose, newer models full sentences.",
        ),
        io.Int.Input(
            "seed",
            default=0,
            min=0,
            max=2**53,
            control_after_generate=True,
            tooltip="Decides every category that is left at Random; the same seed gives the same words.",
        ),
    ]


def _category_input(category: Category) -> Any:
    drawn = category.part == "identity" or category.name in VARIED
    made = io.Combo.Input(
        category.name,
        options=list(category.names),
        display_name=category.title,
        default=RANDOM if drawn else NONE,
        tooltip=f"{category.about} Random draws by the seed, none says nothing of it.".strip(),
    )
    return made if category.name in IN_SIGHT else _advanced(made)


def _text_inputs() -> list[Any]:
    return [
        io.String.Input(
            "free_text",
            multiline=True,
            default="",
            tooltip="Your own words, added at the end. {red|blue} and __category__ are drawn by the seed.",
        ),
        _advanced(
            io.String.Input(
                "negative_text",
                multiline=True,
                default="",
                tooltip="Added to the family's negative prompt.",
            )
        ),
    ]


def _drawing_inputs(options: Options) -> list[Any]:
    return [
        io.Combo.Input(
            "rating",
            options=list(RATINGS),
            default="sfw",
            tooltip="The most permissive options that may be chosen or drawn.",
        ),
        io.Combo.Input(
            "drawn_gender",
            options=list(GENDERS),
            default="any",
            tooltip="Random takes only options that suit this presentation.",
        ),
        io.Combo.Input(
            "drawn_genre",
            options=list(options.genres()),
            default="any",
            tooltip="Random takes only options that belong to this setting, or to every one.",
        ),
        io.Combo.Input(
            "order",
            options=["random", "sequential"],
            default="random",
            tooltip="How Random walks: drawn by the seed, or one option further with every seed.",
        ),
        io.String.Input(
            "locked",
            default="identity",
            tooltip="What stays while the seed changes: categories (hair_colour, eyes) or whole parts (identity, look, "
            "scene, camera, finish), with commas between.",
        ),
        io.Int.Input(
            "lock_seed",
            default=0,
            min=0,
            max=2**53,
            tooltip="Decides what is locked instead of the seed: another number is another character.",
        ),
        _advanced(
            io.String.Input(
                "absorbed",
                default="",
                tooltip="Categories or parts left out of the training caption, so that the LoRA ties them to the trigger.",
            )
        ),
    ]


def _log_inputs() -> list[Any]:
    return [
        io.Boolean.Input(
            "export_caption",
            default=False,
            tooltip="Adds prompt, negative prompt, trigger, seed and attributes to "
            "kohya/prompts/<character_id>.jsonl of the workspace; what is there already is not added again.",
        ),
        _advanced(
            io.String.Input(
                "character_id",
                default="",
                tooltip="Name of that file. Empty: the trigger, or a name made from the identity.",
            )
        ),
        _advanced(
            io.String.Input(
                "dataset", default="", tooltip="Notes in the log which dataset the prompt is meant for."
            )
        ),
    ]


def _further_inputs() -> list[Any]:
    """Optional ones: a workflow that was saved without them goes on working."""
    return [
        io.String.Input(
            "prompt_in",
            optional=True,
            force_input=True,
            tooltip="A prompt from any other node takes the place of the choices; trigger, wildcards, caption and log "
            "work as ever.",
        ),
        io.String.Input(
            "own_trigger",
            default="",
            optional=True,
            tooltip="A trigger of your own, such as char_zoe, in place of lora_trigger. It is added to your options, and the "
            "report says what it costs and who uses it.",
        ),
        io.Combo.Input(
            "fill_gaps",
            options=[OFF, *list_datasets(host.workspace())],
            default=OFF,
            optional=True,
            tooltip="A dataset whose gaps this prompt shall fill: expression, shot, angle, pose, outfit, light and "
            "background that no option fixes take what its captions show least; the next seed takes the next gap.",
        ),
        _advanced(
            io.String.Input(
                "weights",
                default="",
                optional=True,
                tooltip="Emphasis in the prompt, never in the caption: hair_colour=1.2, outfit=0.9. Models that read "
                "sentences get none.",
            )
        ),
        _advanced(
            io.String.Input(
                "polish_model",
                default="",
                optional=True,
                tooltip="A model of a local Ollama, such as llama3.2, that smooths the prompt. If it does not answer, the "
                "plain prompt is used and the report says so. The caption stays as it is.",
            )
        ),
    ]


def _advanced(made: Any) -> Any:
    """Have the page show an input only on demand. ComfyUI 0.3.75 knows no argument for it, its page does."""
    made.extra_dict = {**made.extra_dict, "advanced": True}
    return made
