"""A captioner in a process of its own: `python -m kohya_bridge.engines.captioner FOLDER`.

In: on stdin, one JSON string a line, the path of a picture. Out: on stdout, one JSON object a line, `{"caption": ...}` or
`{"problem": ...}`. FOLDER holds a BLIP model as transformers saves it, or a WD14 tagger (model.onnx, selected_tags.csv). Nothing
is downloaded. A failure at the start ends it with `problem | fix` as the last line on stderr.
"""

from __future__ import annotations

import csv
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from .. import json_text
from ..datasets.pictures import DECODER_FAILURES, as_trained
from ..device.accelerator import Accelerator
from ..reasons import reason_of

WD14_THRESHOLD = 0.35  # SmilingWolf's taggers: the F1 optimum on their validation set, see their model cards
Describe = Callable[[Image.Image], str]


def main(folder: Path) -> int:
    os.environ["HF_HUB_OFFLINE"] = "1"
    try:
        describe = load_tagger(folder) if (folder / "model.onnx").is_file() else load_blip(folder)
    except (ImportError, OSError, ValueError, KeyError) as error:
        print(f"{reason_of(error)} | Use a folder with BLIP, or with model.onnx and selected_tags.csv.", file=sys.stderr)  # fmt: skip
        return 1
    for line in sys.stdin:
        try:
            answer = {"caption": describe(as_trained(Path(json.loads(line))))}
        except DECODER_FAILURES as error:
            answer = {"problem": str(error)[:200]}
        print(json_text.write(answer), flush=True)
    return 0


def load_blip(folder: Path) -> Describe:
    """BLIP for image captioning from a local folder; weights as safetensors only: a pickle could run code."""
    import torch
    from transformers import BertTokenizerFast, BlipForConditionalGeneration, BlipImageProcessor

    device = Accelerator.find(torch).type
    model = BlipForConditionalGeneration.from_pretrained(folder, local_files_only=True, use_safetensors=True)
    model = model.to(device).eval()
    pictures = BlipImageProcessor.from_pretrained(folder, local_files_only=True)
    words = BertTokenizerFast.from_pretrained(folder, local_files_only=True)

    def describe(picture: Image.Image) -> str:
        pixels = pictures(images=picture, return_tensors="pt").pixel_values.to(device)
        with torch.inference_mode():
            ids = model.generate(pixel_values=pixels, max_new_tokens=40, num_beams=3)
        return str(words.decode(ids[0], skip_special_tokens=True))

    return describe


def load_tagger(folder: Path) -> Describe:
    """A WD14 tagger: BGR values 0 to 255 on white, squared, (1, H, W, 3); one probability for each tag of the table."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    with open(folder / "selected_tags.csv", encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    tags = [row["name"].replace("_", " ") for row in rows]
    is_rating = np.array([row.get("category") == "9" for row in rows])
    entry: Any = session.get_inputs()[0]
    side = entry.shape[1] if isinstance(entry.shape[1], int) else 448

    def describe(picture: Image.Image) -> str:
        square = Image.new("RGB", (max(picture.size),) * 2, "white")
        square.paste(picture, ((square.width - picture.width) // 2, (square.height - picture.height) // 2))
        pixels = np.asarray(square.resize((side, side), Image.Resampling.BICUBIC), np.float32)[
            None, :, :, ::-1
        ]
        scores = session.run(None, {entry.name: np.ascontiguousarray(pixels)})[0][0]
        chosen = [
            index for index in np.argsort(-scores) if scores[index] >= WD14_THRESHOLD and not is_rating[index]
        ]
        return ", ".join(tags[index] for index in chosen)

    return describe


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
