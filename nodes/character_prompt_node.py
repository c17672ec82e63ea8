"""Character Prompt Builder: choices and a seed become a prompt, and silently a line in the character's prompt log."""

from __future__ import annotations

import re
from typing import Any

from comfy_api.latest import io, ui

from ..kohya_bridge.building.character import Character, build_character, character_from_prompt, read_weights
from ..kohya_bridge.building.character_options import load_options
from ..kohya_bridge.building.coverage import coverage, next_missing
from ..kohya_bridge.captions import append_prompt
from ..kohya_bridge.dataset import find_dataset
from . import host
from .character_prompt_inputs import OFF, builder_inputs
from .edge import plainly
from .freshness import folder_stamp

_unpolished = [0]  # counts failed polishings, so that the same inputs are tried again


class CharacterPromptNode(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        options = load_options(host.workspace())
        return io.Schema(
            node_id="WizdroidCharacterPromptBuilder",
            display_name="Character Prompt Builder",
            category="Wizdroid/Prompts",
            description="Builds a character's prompt from choices and a seed, in the words that the model family wants. "
            "More categories and switches appear with Show all inputs.",
            inputs=builder_inputs(options),
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
                io.String.Output(
                    id="report",
                    display_name="report",
                    tooltip="What was drawn in each category, and what the dataset still lacks.",
                ),
            ],
            is_output_node=True,  # so that a builder alone on the canvas can be run and read
        )

    @classmethod
    def fingerprint_inputs(cls, fill_gaps: str = OFF, polish_model: str = "", **typed: Any) -> Any:
        lacking = folder_stamp(host.workspace().dataset_dir(fill_gaps)) if fill_gaps != OFF else ""
        return [lacking, _unpolished[0] if polish_model.strip() else 0]

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
        prompt_in: str | None = None,
        own_trigger: str = "",
        fill_gaps: str = OFF,
        weights: str = "",
        polish_model: str = "",
        **choices: str,
    ) -> io.NodeOutput:
        trigger, notes = _own_trigger(own_trigger.strip()) if own_trigger.strip() else (lora_trigger, [])
        options = load_options(host.workspace())
        words = {
            "seed": seed, "trigger": trigger, "family": family, "free_text": free_text,
            "negative_text": negative_text, "rating": rating, "character_id": character_id.strip(),
            "dataset": dataset.strip(),
        }  # fmt: skip
        if prompt_in and prompt_in.strip():
            character = character_from_prompt(options, prompt_in, **words)  # type: ignore[arg-type]
        else:
            drawn = {"rating": rating, "gender": drawn_gender, "genre": drawn_genre}
            if fill_gaps != OFF:
                covered = coverage(find_dataset(host.workspace(), fill_gaps), options)
                choices = next_missing(options, covered, seed=seed, fixed=choices, **drawn)
                notes.append(covered.text())
            character = build_character(
                options, choices=choices, gender=drawn_gender, genre=drawn_genre, order=order,  # type: ignore[arg-type]
                locked=_names(locked), lock_seed=lock_seed, absorbed=_names(absorbed),
                weights=read_weights(_names(weights)), **words,  # type: ignore[arg-type]
            )  # fmt: skip
        if polish_model.strip():
            character, note = _polished(character, polish_model.strip())
            notes.insert(0, note)
        if export_caption:
            append_prompt(host.workspace(), character)
        report = "\n\n".join(part for part in (_attributes_text(character), *notes) if part)
        shown = f"{character.prompt}\n\nnegative: {character.negative_prompt}"
        return io.NodeOutput(
            character.prompt,
            character.negative_prompt,
            character.caption,
            character.trigger,
            report,
            ui=ui.PreviewText("\n\n".join((shown, *notes))),
        )


def _own_trigger(trigger: str) -> tuple[str, list[str]]:
    """The trigger, which stands in the person's own options from now on, and what there is to say about it."""
    from ..kohya_bridge.building.triggers import describe_trigger, ensure_trigger
    from ..kohya_bridge.datasets.clip_tokens import clip_tokens

    ensure_trigger(host.workspace(), trigger)
    folder = host.tokenizer_dir()
    facts = describe_trigger(host.workspace(), trigger, tokens=clip_tokens(folder) if folder else None)
    cost = f"The trigger {trigger} is {facts.tokens} tokens long." if facts.tokens else ""
    used = f"Datasets with it: {', '.join(facts.datasets)}." if facts.datasets else "No dataset has it yet."
    return trigger, [" ".join(part for part in (cost, used, *facts.advice) if part)]


def _polished(character: Character, model: str) -> tuple[Character, str]:
    from ..kohya_bridge.building.polishing import polish
    from ..kohya_bridge.datasets.ollama import Ollama

    polished, note = polish(character, Ollama(model))
    if polished is character:
        _unpolished[0] += 1
    return polished, note


def _attributes_text(character: Character) -> str:
    return "\n".join(f"{name}: {option}" for name, option in character.attributes.items())


def _names(text: str) -> list[str]:
    return re.findall(r"[^\s,;]+", text)
