"""The demo base's text encoder: CLIP-L's shape with weights from a seed, arranged so that captions can be told apart.

Out: the checkpoint's tensors, the same bytes on every machine. Nothing in it is trained. Purely random layers mix all words
of a caption evenly, and which colour belongs to hair or background is lost. So here two layers do something each and the others
hand their input on. In the first, position i looks at positions i-1, i-2 and i-3 (positions are one-hot in the last 160 of the 768
numbers, so this is exact) and adds what it finds there through random matrices: `hair` now knows its colour. In the second,
every position adds the mean of all before it, so that the empty positions behind a caption, two thirds of all, hold the whole of it
and a U-Net that has learnt no attention yet hears it well.
"""

from __future__ import annotations

import numpy as np

from kohya_bridge.models.base_models import CLIP_L_PREFIXES
from scripts.base_layouts import clip_l_shapes
from scripts.make_demo_base import Tensors, random_weights, uniform

PREFIX = CLIP_L_PREFIXES["sd15"] + "text_model."
WIDTH, HEADS, HEAD, POSITIONS = 768, 12, 64, 77
WORDS = WIDTH - 160  # the numbers that say which word it is; the rest says where it stands
PLACE = (
    6.0  # of a position's one-hot, once with each sign: so layer norm subtracts nothing, and changes little
)
LOOK_BACK = (1,) * 6 + (2,) * 4 + (3,) * 2  # how far each head looks back
FOCUS = 0.2  # queries' gain: 58 against 7 before softmax
CONTEXT = 2.0  # spread of what a word learns from its neighbours; its own is 1
SUMMARY = 6.0  # gain of the mean of all words before; thirty random ones give about a tenth
MARKS = (49406, 49407)  # begin and end, which also fills up: they say nothing of their own
USED_LAYERS = 2


def seeded_text(seed: int = 0) -> Tensors:
    """Every tensor of the text encoder under its name in a Stable Diffusion 1.x checkpoint, fp32."""
    tensors = random_weights(clip_l_shapes("sd15"), seed)
    for name, tensor in tensors.items():
        if name.endswith(("out_proj.weight", "fc2.weight")):
            tensor[:] = 0
    words = tensors[f"{PREFIX}embeddings.token_embedding.weight"]
    words *= np.float32(1 / 0.02)  # `random_weights` gives embeddings a spread of 0.02
    words[:, WORDS:] = 0
    words[list(MARKS)] = 0
    places = tensors[f"{PREFIX}embeddings.position_embedding.weight"]
    places[:] = 0
    line = np.arange(POSITIONS)
    places[line, WORDS + 2 * line], places[line, WORDS + 2 * line + 1] = PLACE, -PLACE
    _look_back(tensors, seed)
    _sum_up(tensors, seed)
    return tensors


def _look_back(tensors: Tensors, seed: int) -> None:
    """First layer: each head's keys are random signs for each position, its queries those of an earlier position."""
    layer = f"{PREFIX}encoder.layers.0.self_attn."
    query, key = tensors[layer + "q_proj.weight"], tensors[layer + "k_proj.weight"]
    query[:] = key[:] = 0
    for head, back in enumerate(LOOK_BACK):
        rows = slice(head * HEAD, (head + 1) * HEAD)
        codes = np.sign(uniform(f"codes/{head}", (HEAD, POSITIONS), seed, spread=1.0)).astype(np.float32)
        key[rows, WORDS : WORDS + 2 * POSITIONS : 2] = codes
        query[rows, WORDS + 2 * back : WORDS + 2 * POSITIONS : 2] = codes[:, : POSITIONS - back] * np.float32(
            FOCUS
        )
    _carry(tensors, layer, seed, gain=CONTEXT)


def _sum_up(tensors: Tensors, seed: int) -> None:
    """Second layer: no position is preferred, so each gets the mean of all up to itself."""
    layer = f"{PREFIX}encoder.layers.1.self_attn."
    tensors[layer + "q_proj.weight"][:] = tensors[layer + "k_proj.weight"][:] = 0
    _carry(tensors, layer, seed, gain=SUMMARY)


def _carry(tensors: Tensors, layer: str, seed: int, *, gain: float) -> None:
    """Let attention carry words, and not places, through two random matrices."""
    value, out = tensors[layer + "v_proj.weight"], tensors[layer + "out_proj.weight"]
    value[:] = uniform(f"{layer}value", value.shape, seed, spread=float(1 / np.sqrt(WORDS)))
    value[:, WORDS:] = 0
    out[:] = uniform(f"{layer}out", out.shape, seed, spread=gain / float(np.sqrt(WIDTH)))
    out[WORDS:] = 0
