"""Canvases of the host tests: the shipped example workflows, made small, and a few of their own."""

import copy
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from kohya_bridge.run_folder import RunFolder
from scripts.host.comfy_install import ROOT

API_DIR = ROOT / "example_workflows" / "api"
BASE_MODEL = "wizdroid_demo_base.safetensors"
JOB_STEPS = 100  # enough for the demo base to learn something that both witnesses see
REDUCED_MODELS = ROOT / "tests" / "host_models" / "pack"
"""A node pack, and what every Python of a test's ComfyUI knows: how to build families that are too large for a test."""
SHIPPED = ROOT / "training" / "kohya" / "datasets" / "char_wren"


@dataclass
class Job:
    """One pass of the main job: what was queued, what ComfyUI says of it, and the run that came of it."""

    prompt: dict
    history: dict
    run: RunFolder
    events: list
    log: str

    @property
    def lora_name(self) -> str:
        return said(self.history, self.prompt, "WizdroidPackageLora").splitlines()[0]


def newest_run(comfy, slug: str) -> RunFolder:
    runs = (comfy.workspace_dir / "runs" / slug).iterdir()
    return RunFolder(max(runs, key=lambda each: each.stat().st_mtime))


def small_dataset(folder: Path, *, pictures: int = 15) -> None:
    """The first square pictures of the shipped character, as somebody would copy them into ComfyUI's input folder.

    Square, because at 64 px no other shape fills a bucket.
    """
    rows = [json.loads(line) for line in (SHIPPED / "captions.jsonl").read_text("utf-8").splitlines()]
    rows = [row for row in rows if _is_square(SHIPPED / "images" / row["file_name"])][:pictures]
    (folder / "images").mkdir(parents=True)
    for row in rows:
        shutil.copy(SHIPPED / "images" / row["file_name"], folder / "images")
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "captions.jsonl").write_text(lines, encoding="utf-8")
    shutil.copy(SHIPPED / "metadata.yaml", folder)


def _is_square(file: Path) -> bool:
    with Image.open(file) as picture:
        return picture.width == picture.height


def example(name: str) -> dict:
    """The API form of a shipped example workflow."""
    return json.loads((API_DIR / f"{name}.json").read_text("utf-8"))


def whole_job(*, dataset: str = "wren", **train) -> dict:
    """The example workflow of the main job with few, small steps. `train` replaces inputs of Kohya Train."""
    prompt = example("train_a_character")
    changed(prompt, "WizdroidCaptionExport", dataset_name=dataset, folder="input/wren")
    changed(prompt, "WizdroidKohyaTrain", **{"steps": 20, "resolution": 64, "batch_size": 1, **train})
    changed(prompt, "WizdroidLoraValidateGrid", width=64, height=64, steps=2)
    changed(prompt, "EmptyLatentImage", width=64, height=64)
    changed(prompt, "KSampler", steps=2)
    return prompt


def only_training(**train) -> dict:
    """Caption Export, Dataset Lint and Kohya Train, with nothing behind them."""
    prompt = whole_job(**train)
    kept = {
        "WizdroidCharacterPromptBuilder",
        "WizdroidCaptionExport",
        "WizdroidDatasetLint",
        "WizdroidKohyaTrain",
    }
    return {name: node for name, node in prompt.items() if node["class_type"] in kept}


def lint_and_train(*, dataset: str, **train) -> dict:
    """Dataset Lint of a dataset that is in the workspace, and Kohya Train behind it."""
    prompt = only_training(dataset=dataset, **train)
    for class_type in ("WizdroidCharacterPromptBuilder", "WizdroidCaptionExport"):
        del prompt[id_of(prompt, class_type)]
    (lint,) = nodes_of(prompt, "WizdroidDatasetLint")
    del lint["inputs"]["dataset"]
    lint["inputs"]["dataset_name"] = dataset
    return prompt


def plain_render(*, seed: int = 1, text: str = "a lamp", wearing: dict | None = None) -> dict:
    """CheckpointLoader, KSampler, VAE Decode, Save Image at 64 px; `wearing` puts a LoRA node in between."""
    worn = ["9", 0], ["9", 1]
    model, clip = worn if wearing else (["1", 0], ["1", 1])
    prompt = {
        "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": BASE_MODEL}},
        "2": {"class_type": "CLIPTextEncode", "inputs": {"clip": clip, "text": text}},
        "3": {"class_type": "CLIPTextEncode", "inputs": {"clip": clip, "text": ""}},
        "4": {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 64, "batch_size": 1}},
        "5": {
            "class_type": "KSampler",
            "inputs": {
                "model": model,
                "positive": ["2", 0],
                "negative": ["3", 0],
                "latent_image": ["4", 0],
                "seed": seed,
                "steps": 2,
                "cfg": 4.0,
                "sampler_name": "euler",
                "scheduler": "normal",
                "denoise": 1.0,
            },
        },
        "6": {"class_type": "VAEDecode", "inputs": {"samples": ["5", 0], "vae": ["1", 2]}},
        "7": {"class_type": "SaveImage", "inputs": {"images": ["6", 0], "filename_prefix": "plain"}},
    }
    if wearing:
        node = copy.deepcopy(wearing)
        node["inputs"] |= {"model": ["1", 0], "clip": ["1", 1]}
        prompt["9"] = node
    return prompt


def changed(prompt: dict, class_type: str, **inputs) -> dict:
    """Replace inputs of every node of that type; the same prompt, for the reader's ease."""
    for node in nodes_of(prompt, class_type):
        node["inputs"] |= inputs
    return prompt


def nodes_of(prompt: dict, class_type: str) -> list[dict]:
    return [node for node in prompt.values() if node["class_type"] == class_type]


def id_of(prompt: dict, class_type: str) -> str:
    return next(name for name, node in prompt.items() if node["class_type"] == class_type)


def said(history: dict, prompt: dict, class_type: str) -> str:
    """The text that a node shows after a prompt."""
    return history["outputs"][id_of(prompt, class_type)]["text"][0]
