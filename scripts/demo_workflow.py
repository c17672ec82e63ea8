"""What the demo queues: the example workflow with numbers that show the character appear on two cores.

In: the shipped workflow, and what ComfyUI says of Training Settings. Out: a prompt in API form, and a digest of all that decides what
comes of it. docs/measurements.md has what each number costs and does.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from .demo_base.assemble import packed_digest
from .host.comfy_install import ROOT

WORKFLOW_FILE = ROOT / "example_workflows" / "api" / "train_a_character.json"
BASE_MODEL = "wizdroid_demo_base.safetensors"
SETTINGS_NODE, SETTINGS_ID = "WizdroidTrainingSettings", "15"
SIDE = 128  # pixels: what the base model has learnt to draw
TRAINED = {
    "steps": 200,
    "resolution": SIDE,
    "rank": 16,
    "alpha": 16.0,
    "learning_rate": 0.001,
    "batch_size": 2,
}
SETTINGS: dict[str, Any] = {
    "conv_dim": 8,
    "conv_alpha": 8.0,
    "lr_scheduler": "cosine",
    "bucket_reso_steps": 16,  # the usual 64 leaves nothing of a tall picture at this size
    # Every second step, twice as strong: as much preservation, at 1.35 instead of 1.7 times the cost of a plain step.
    "diff_output_preservation_multiplier": 2.0,
    "diff_output_preservation_every_n_steps": 2,
    # As often as the grid shows it: the preset's 50 would measure and save twice for nothing.
    "save_every_n_steps": 100,
    "validate_every_n_steps": 100,
}
SHOWN = "100, 200"
SAMPLED = {"steps": 12, "cfg": 2.5}
PROMPTS = (
    "char_wren, 1woman, solo, headshot, light smile, blue background, simple background",
    "char_wren, 1woman, solo, close-up, surprised, open mouth, mint background, simple background",
    "cat, solo, teal background, simple background",
)
"""Two of the character, and something else. The grid adds the first without its trigger: these the LoRA has to leave alone."""


def demo_workflow(settings_node: dict[str, Any] | None = None) -> dict[str, Any]:
    """The example workflow with the demo's numbers: enough steps to see the character, and pictures along the way.

    `settings_node` is what ComfyUI says of Training Settings; its inputs are left at their defaults but for a few.
    """
    prompt: dict[str, Any] = json.loads(WORKFLOW_FILE.read_text("utf-8"))
    size = {"width": SIDE, "height": SIDE}
    changes = {
        "WizdroidKohyaTrain": {**TRAINED, "settings": [SETTINGS_ID, 0]},
        "WizdroidLoraValidateGrid": {
            **SAMPLED,
            **size,
            "checkpoints": SHOWN,
            "prompts": "\n".join(PROMPTS),
            "trigger_off": True,
        },
        "EmptyLatentImage": size,
        "KSampler": SAMPLED,
    }
    for node in prompt.values():
        node["inputs"].update(changes.get(node["class_type"], {}))
    inputs = settings_node["input"]["required"] if settings_node else {}
    defaults = {name: about[1]["default"] for name, about in inputs.items() if "default" in about[1]}
    prompt[SETTINGS_ID] = {
        "class_type": SETTINGS_NODE,
        "inputs": {**defaults, **SETTINGS},
        "_meta": {"title": "Training Settings"},
    }
    return prompt


def titles_of(prompt: dict[str, Any]) -> dict[str, str]:
    """What a person calls each node."""
    return {node: entry.get("_meta", {}).get("title", entry["class_type"]) for node, entry in prompt.items()}


def workflow_digest() -> str:
    """Of all that decides what the demo makes: its workflow and its base model."""
    return hashlib.sha256((json.dumps(demo_workflow()) + packed_digest()).encode()).hexdigest()
