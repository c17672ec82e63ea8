"""Text encoders as people have them: files in the layouts that ComfyUI detects, with real embeddings and real widths where the
detection asks for them, random weights, and few or narrow layers.

In: a family. Out: its files in a folder as ComfyUI's, found by their content, loaded by the product's own loader and asked. The only
word to the host is how narrow they are. Not made small: Qwen2.5-VL and Qwen3-VL (their vision towers have fixed sizes), Mistral
(5120 wide), SD3's CLIP-G. Runs where a host is opened.
"""

from __future__ import annotations

import importlib
import io
from pathlib import Path

QWEN = {"intermediate_size": 64, "num_attention_heads": 2, "num_key_value_heads": 1}
ENCODERS = {
    "qwen3_4b": ("z_image", "Qwen3_4BModel", {**QWEN, "num_hidden_layers": 4}),
    "klein": ("flux", "Qwen3_4BModel", QWEN),  # its hidden states are those of layers 9, 18 and 27
    "qwen3_06b": ("anima", "Qwen3_06BModel", {**QWEN, "num_hidden_layers": 3}),
    "t5xxl": ("sd3_clip", "T5XXLModel", {"d_ff": 16, "num_heads": 1}),
    "clip_l": ("", "SDClipModel", {}),
    "gemma2_2b": ("lumina2", "Gemma2_2BModel", {"vocab_size": 64, "intermediate_size": 64, "num_hidden_layers": 4}),
}  # fmt: skip
"""Key to module below `comfy.text_encoders`, class, and what is narrow; the host's name for it is the key, but for klein's."""
OF_FAMILY = {
    "zimage": {"text_encoder": "qwen3_4b"},
    "flux1": {"clip_l": "clip_l", "t5xxl": "t5xxl"},
    "chroma": {"t5xxl": "t5xxl"},
    "lumina2": {"gemma2": "gemma2_2b"},
    "flux2_klein_base_4b": {"text_encoder": "klein"},
    "anima": {"qwen3": "qwen3_06b"},
}
WORDS = (
    "a portrait of char_wren, smiling",
    "a red hat (person:1.5) on a blue house",
    "(person:1.5)",
    "person",
)


def state_of(encoder: str) -> dict:
    """Random weights of one encoder under the names that its files have."""
    import torch

    module, kind, size = ENCODERS[encoder]
    home = importlib.import_module(f"comfy.text_encoders.{module}" if module else "comfy.sd1_clip")
    name = "qwen3_4b" if encoder == "klein" else encoder
    made = getattr(home, kind)(
        dtype=torch.float16, model_options={"model_name": name, f"{name}_model_config": dict(size)}
    )
    draw = torch.Generator().manual_seed(5)
    state = {}
    for key, tensor in made.transformer.state_dict().items():
        noise = torch.empty(tensor.shape, dtype=torch.float16).normal_(generator=draw)
        norm = tensor.dim() < 2 and "norm" in key and key.endswith("weight")
        state[key] = noise * (1.0 if _is_table(key) else 0.02) + (1.0 if norm else 0.0)
    if encoder == "gemma2_2b":
        state["spiece_model"] = torch.frombuffer(bytearray(_sentence_pieces()), dtype=torch.uint8)
    if encoder == "clip_l":
        state.pop("text_projection.weight", None)  # as in the files that FLUX is used with
    return state


def _sentence_pieces() -> bytes:
    import sentencepiece

    made = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(WORDS * 20), model_writer=made, vocab_size=60, hard_vocab_limit=False,
        pad_id=0, eos_id=1, bos_id=2, unk_id=3, minloglevel=2,
    )  # fmt: skip
    return made.getvalue()


def scaled(state: dict) -> dict:
    """As ComfyUI's scaled fp8 files: every matrix of a layer with a scale beside it."""
    import torch

    found = {"scaled_fp8": torch.empty(0, dtype=torch.float8_e4m3fn)}
    for key, tensor in state.items():
        if tensor.dim() != 2 or not key.endswith(".weight") or _is_table(key):
            found[key] = tensor
            continue
        scale = tensor.float().abs().max() / 448.0
        found[key] = (tensor.float() / scale).to(torch.float8_e4m3fn)
        found[key.removesuffix("weight") + "scale_weight"] = scale.reshape(1)
    return found


def dequantised(state: dict) -> dict:
    """The same numbers as `scaled` stores, in half precision."""
    small = scaled(state)
    scales = {
        key.removesuffix("scale_weight"): each for key, each in small.items() if key.endswith("scale_weight")
    }
    return {
        key: (small[key].float() * scales[key.removesuffix("weight")]).half() if key.removesuffix("weight") in scales else tensor
        for key, tensor in state.items()
    }  # fmt: skip


def _is_table(key: str) -> bool:
    """Whether rows of a weight are looked up; the matrices of layers are multiplied."""
    return any(word in key for word in ("embed", "shared", "relative"))


AS_STORED = {"plain": lambda state: state, "scaled": scaled, "dequantised": dequantised}


def asked(folder: str, family: str, stored: str = "plain") -> dict:
    """Which files were found for it by content, what it says of captions, and what is said of a file with a weight too few."""
    import comfy.sd
    from safetensors.torch import save_file

    from kohya_bridge.architectures import architecture
    from kohya_bridge.engines.native.host_side.encoders import HostEncoders
    from kohya_bridge.engines.native.host_side.loading import load_text_encoders
    from kohya_bridge.errors import InvalidInput
    from kohya_bridge.models.family_files import complete_model_files
    from kohya_bridge.models.places import Places
    from kohya_bridge.workspace import Workspace

    if "t5xxl" in OF_FAMILY[family].values() and not _may_be_narrow():
        return {"too_large": "its T5-XXL is known by a width of 10240, which makes 6 GB"}
    load_clip, places = comfy.sd.load_clip, Path(folder) / "models" / "text_encoders"
    sizes = {}
    for encoder in OF_FAMILY[family].values():
        sizes[f"{'qwen3_4b' if encoder == 'klein' else encoder}_model_config"] = dict(ENCODERS[encoder][2])
    comfy.sd.load_clip = lambda ckpt_paths, **named: load_clip(ckpt_paths, model_options=dict(sizes), **named)

    places.mkdir(parents=True)
    states = {option: state_of(encoder) for option, encoder in OF_FAMILY[family].items()}
    for option, state in states.items():
        save_file(AS_STORED[stored](state), places / f"{option}_of_somebody.safetensors")
    of_family, base = architecture(family), places.parent / "diffusion_models" / "base.safetensors"
    where = Places(Workspace.at(Path(folder) / "workspace"), (), (), Path(folder))
    found = complete_model_files({}, of_family, base, where)
    files = [places / found[option] for option in of_family.drawing.text.files if option in found]
    clip = load_text_encoders(files, of_family.drawing.text.type)
    encoders = HostEncoders(vae=None, clip=clip, latent_format=None)
    said = [encoders.caption(each) for each in (*WORDS, WORDS[0])]
    answer = {
        "found": found,
        "tokenizer": type(clip.tokenizer).__name__,
        "shapes": {name: list(tensor.shape) for name, tensor in said[0].items()},
        "repeated": all(said[0][name].equal(said[-1][name]) for name in said[0]),
        "finite": all(bool(tensor.isfinite().all()) for one in said for tensor in one.values()),
        "told_apart": not _same(said[0], said[1]),
        "brackets_are_brackets": not _same(said[2], said[3]),
        "vectors": said[0]["cross_attn"].float().flatten()[:4096].tolist(),
    }
    del clip, encoders
    option, state = next(iter(states.items()))
    few = dict(state)
    few.pop(next(name for name in few if ".0." in name and name.endswith("weight") and few[name].dim() == 2))
    save_file(few, places / "few.safetensors")
    try:
        load_text_encoders([places / "few.safetensors" if each.stem.startswith(option) else each for each in files],
                           of_family.drawing.text.type)  # fmt: skip
        answer["few"] = "loaded"
    except InvalidInput as error:
        answer["few"] = error.problem
    return answer


def _may_be_narrow() -> bool:
    """Whether this host knows T5-XXL by its model's width alone."""
    import comfy.sd
    import torch

    narrow = {"encoder.block.23.layer.1.DenseReluDense.wi_1.weight": torch.empty(16, 4096)}
    return comfy.sd.detect_te_model(narrow) == comfy.sd.TEModel.T5_XXL


def _same(one: dict, other: dict) -> bool:
    return all(one[name].shape == other[name].shape and one[name].equal(other[name]) for name in one)
