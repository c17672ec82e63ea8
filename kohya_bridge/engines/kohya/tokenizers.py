"""Tokenizers for sd-scripts, built from the host's own files, so that no model hub is asked.

In: ComfyUI's tokenizer folders. Out: a folder in the layout that `--tokenizer_cache_dir` looks for. Two edits are needed:
ComfyUI's configuration names a length of 8192 to which sd-scripts would pad, and bigG pads with "!" (token 0).
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from ... import json_text
from ...architectures.base import Architecture, sd_scripts
from ...files import Tree, read_named

CLIP_L = "openai_clip-vit-large-patch14"
CLIP_BIG_G = "laion_CLIP-ViT-bigG-14-laion2B-39B-b160k"
# Tokenizers that ComfyUI keeps beside CLIP's, by the name that sd-scripts looks for.
FURTHER = {
    "google_t5-v1_1-xxl": "t5_tokenizer",
    "Qwen_Qwen2.5-VL-7B-Instruct": "qwen25_tokenizer",
    "google_byt5-small": "byt5_tokenizer",
}
CLIP_TOKENS = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}


def build_tokenizers(clip_dir: Path, target: Path) -> Path:
    """Fill `target` with every tokenizer that the host has. Existing folders are kept. Returns `target`."""
    _build_clip(clip_dir, target / CLIP_L, pad_token="<|endoftext|>")
    _build_clip(clip_dir, target / CLIP_BIG_G, pad_token="!")
    for name, folder in FURTHER.items():
        source = clip_dir.parent / "text_encoders" / folder
        if source.is_dir() and not Tree(target).is_folder(name):
            Tree(target).clear(name)
            shutil.copytree(source, Tree(target).make() / name)
    return target


def missing_tokenizers(of_family: Architecture, clip_dir: Path) -> list[str]:
    """Names of the tokenizers that a family needs and the host does not have."""
    needed = sd_scripts(of_family).tokenizers
    missing = [name for name in needed if not (clip_dir.parent / "text_encoders" / FURTHER[name]).is_dir()]
    if not all((clip_dir / name).is_file() for name in ("vocab.json", "merges.txt")):
        missing.insert(0, CLIP_L)
    return missing


def _build_clip(clip_dir: Path, target: Path, *, pad_token: str) -> None:
    files = Tree(target.parent)
    if files.is_file(target / "tokenizer_config.json"):
        return
    for name in ("vocab.json", "merges.txt"):
        files.write(target / name, read_named(clip_dir / name))
    tokens: dict[str, Any] = {**CLIP_TOKENS, "pad_token": pad_token}
    files.write(target / "special_tokens_map.json", json_text.write(tokens))
    config = {**tokens, "tokenizer_class": "CLIPTokenizer", "model_max_length": 77, "do_lower_case": True}
    files.write(
        target / "tokenizer_config.json", json_text.write(config)
    )  # last: its presence means complete
