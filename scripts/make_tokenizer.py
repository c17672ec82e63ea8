"""Make CLIP's tokenizer folder from the vocabulary that the open-clip-torch wheel carries.

    python scripts/make_tokenizer.py FOLDER

For development without a ComfyUI; inside ComfyUI its own comfy/sd1_tokenizer is used. The vocabulary is 256 bytes, the same
256 with an end-of-word mark, 48,894 merges and two marks: line by line what OpenAI published, so files made here are
equal to ComfyUI's.
"""

from __future__ import annotations

import argparse
import gzip
import importlib.util
import json
from pathlib import Path

MERGES = 49152 - 256 - 2  # how many of the file's lines CLIP uses (open_clip/tokenizer.py, simple_tokenizer)
SPECIAL = ("<|startoftext|>", "<|endoftext|>")


def make_tokenizer(folder: Path) -> Path:
    """Write `vocab.json`, `merges.txt` and `tokenizer_config.json` into `folder`.

    Raises:
        FileNotFoundError: open-clip-torch is not installed.
    """
    lines = gzip.decompress(bpe_file().read_bytes()).decode("utf-8").split("\n")
    merges = lines[1 : 1 + MERGES]
    symbols = byte_symbols()
    words = [*symbols, *(symbol + "</w>" for symbol in symbols)]
    words += ["".join(merge.split()) for merge in merges] + list(SPECIAL)
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = {word: index for index, word in enumerate(words)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False), encoding="utf-8")
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]), encoding="utf-8")
    start, end = SPECIAL
    config = {
        "tokenizer_class": "CLIPTokenizer",
        "bos_token": start,
        "eos_token": end,
        "unk_token": end,
        "pad_token": end,
        "model_max_length": 77,
        "errors": "replace",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=1), encoding="utf-8")
    return folder


def bpe_file() -> Path:
    """The merges in the installed open-clip-torch; the package itself is not imported."""
    spec = importlib.util.find_spec("open_clip")
    if spec is None or spec.origin is None:
        raise FileNotFoundError("open-clip-torch is not installed: pip install --no-deps open-clip-torch")
    return Path(spec.origin).with_name("bpe_simple_vocab_16e6.txt.gz")


def byte_symbols() -> list[str]:
    """A printable character for each byte, in CLIP's order: printable bytes stand for themselves and come first."""
    printable = [
        *range(ord("!"), ord("~") + 1),
        *range(ord("¡"), ord("¬") + 1),
        *range(ord("®"), ord("ÿ") + 1),
    ]
    hidden = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) for byte in printable] + [chr(256 + index) for index in range(len(hidden))]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    print(make_tokenizer(parser.parse_args().folder))
