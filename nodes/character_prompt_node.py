"""Character Prompt Builder: choices and a seed become a prompt, and silently a line in the character's prompt log."""

from __future__ import annotations

import re
from typing import Any

from comfy_api.latest import io

from ..kohya_bridge.captions import append_prompt
from ..kohya_bridge.character import GENDERS, NEWER, build_character
from ..kohya_bridge.character_options import NONE, RANDOM, RATINGS, Category, load_options
from ..kohya_bridge.families import FAMILIES
from . import host
from .edge import plainly


class CharacterPromptNode(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        options = load_options(host.workspace())
        return io.Schema(
            node_id="WizdroidCharacterPromptBuilder",
            display_name="Character Prompt Builder",
            category="Wizdroid/Prompts",
            description="Builds a character's prompt from choices and a seed, in the words that the model family wants.",
            inputs=[
                io.Combo.Input(
                    "lora_trigger",
                    options=list(options.triggers()),
                    default=NONE,
                    tooltip="The plain token that the character's LoRA learns; it stands first in the prompt. "
                    "New ones go into lora_trigger of character_options.user.json in the workspace.",
                ),
                io.Combo.Input(
                    "family",
                    options=[*FAMILIES, NEWER],
                    default="sd15",
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
                *(_category_input(category) for category in options),
                io.String.Input(
                    "free_text",
                    multiline=True,
                    default="",
                    tooltip="Your own words, added at the end. {red|blue} and __category__ are drawn by the seed.",
                ),
                io.String.Input(
                    "negative_text",
                    multiline=True,
                    default="",
                    tooltip="Added to the family's negative prompt.",
                ),
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
                    default="",
                    tooltip="Categories that stay while the seed changes, with commas between: hair_color, eye_color.",
                ),
                io.Int.Input(
                    "lock_seed",
                    default=0,
                    min=0,
                    max=2**53,
                    tooltip="Decides the locked categories instead of the seed.",
                ),
                io.String.Input(
                    "absorbed",
                    default="",
                    tooltip="Categories left out of the training caption, so that the LoRA ties them to the trigger.",
                ),
                io.Boolean.Input(
                    "export_caption",
                    default=False,
                    tooltip="Adds prompt, negative prompt, trigger, seed and attributes to "
                    "kohya/prompts/<character_id>.jsonl of the workspace; what is there already is not added again.",
                ),
                io.String.Input(
                    "character_id",
                    default="",
                    tooltip="Name of that file. Empty: the trigger, or a name made from the identity.",
                ),
                io.String.Input(
                    "dataset", default="", tooltip="Notes in the log which dataset the prompt is meant for."
                ),
            ],
            outputs=[
                io.String.Output(id="prompt", display_name="prompt", tooltip="For CLIP Text Encode."),
                io.String.Output(
                    id="negative_prompt",
                    display_name="negative_prompt",
                    tooltip="For the negative CLIP Text Encode.",
                ),
                io.String.Output(
                    id="caption",
                    display_name="caption",
                    tooltip="What a training caption should say: for Caption Export.",
                ),
                io.String.Output(
                    id="trigger", display_name="trigger", tooltip="The plain token, or nothing."
                ),
            ],
        )

    @classmethod
    @plainly
    def execute(
        cls,
        lora_trigger: str,
        family: str,
        seed: int,
        free_text: str,
        negative_text: str,
        rating: str,
        drawn_gender: str,
        drawn_genre: str,
        order: str,
        locked: str,
        lock_seed: int,
        absorbed: str,
        export_caption: bool,
        character_id: str,
        dataset: str,
        **choices: str,
    ) -> io.NodeOutput:
        character = build_character(
            load_options(host.workspace()),
            choices=choices,
            seed=seed,
            trigger=lora_trigger,
            family=family,
            free_text=free_text,
            negative_text=negative_text,
            rating=rating,
            gender=drawn_gender,
            genre=drawn_genre,
            order=order,  # type: ignore[arg-type]
            locked=_names(locked),
            lock_seed=lock_seed,
            absorbed=_names(absorbed),
            character_id=character_id.strip(),
            dataset=dataset.strip(),
        )
        if export_caption:
            append_prompt(host.workspace(), character)
        return io.NodeOutput(
            character.prompt, character.negative_prompt, character.caption, character.trigger
        )


def _category_input(category: Category) -> Any:
    return io.Combo.Input(
        category.name,
        options=list(category.names),
        display_name=category.title,
        default=RANDOM if category.part == "identity" else NONE,
        tooltip=f"{category.about} Random draws by the seed, none says nothing of it.".strip(),
    )


def _names(text: str) -> list[str]:
    return re.findall(r"[^\s,;]+", text)
