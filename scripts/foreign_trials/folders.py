"""Folders of pictures and captions as other programs, phones and hands leave them."""

from __future__ import annotations

import json

import numpy as np
from PIL import Image

from kohya_bridge.cli import exit_codes
from kohya_bridge.dataset import read_dataset

from .trial import World, trial


@trial("datasets", "a kohya project: its pictures alone, the regularisation and the samples named")
def _(world: World) -> bool:
    world.pictures("img/10_zed person", 3)
    world.pictures("reg/1_person", 3, None)
    world.pictures("model/sample", 3, None)
    world.bring()
    return len(world.captions()) == 3 and world.tells("reg", "sample")


@trial("datasets", "several concepts: one comes in, the others are named")
def _(world: World) -> bool:
    world.pictures("5_zed man", 2)
    world.pictures("3_zoe woman", 2, "char_zoe, {}")
    world.bring()
    return world.tells("3_zoe") or world.tells("5_zed")


@trial("datasets", "Hugging Face: metadata.csv below train/")
def _(world: World) -> bool:
    world.picture("train/a.png")
    world.picture("train/b.png")
    world.write("train/metadata.csv", "file_name,text\na.png,first of all\nb.png,then this\n")
    return world.bring().captions() == ["first of all", "then this"]


@trial("datasets", "sd-scripts in_json with another machine's paths")
def _(world: World) -> bool:
    world.picture("a.png")
    world.write(
        "meta.json", json.dumps({"D:\\work\\img\\a.png": {"caption": "a knight", "tags": "armour, sword"}})
    )
    return "a knight" in " ".join(world.bring().captions())


@trial("datasets", "captions in capital letters, and behind the picture's whole name")
def _(world: World) -> bool:
    world.picture("a.png", "the first", ending=".TXT")
    world.picture("b.png")
    world.write("b.png.txt", "the second")
    return sorted(world.bring().captions()) == ["the first", "the second"]


@trial("datasets", "captions in UTF-16, and in Shift-JIS")
def _(world: World) -> bool:
    world.picture("a.png")
    world.write("a.txt", "char_zed, 猫".encode("utf-16"))
    world.picture("b.png")
    world.write("b.txt", "猫と少女、笑顔".encode("shift-jis"))
    got = world.bring().captions()
    return got[0] == "char_zed, 猫" and (got[1:] == ["猫と少女、笑顔"] or world.tells("b.txt"))


@trial("datasets", "a caption of bytes that are no text is refused by its name")
def _(world: World) -> bool:
    world.picture("a.png", "fine")
    world.picture("b.png")
    world.write("b.txt", bytes(range(256)) * 3)
    world.bring()
    return world.tells("b.txt") and "\0" not in "".join(world.captions())


@trial("datasets", "a folder of HEIC, GIF and videos says what each is")
def _(world: World) -> bool:
    world.write("a.mp4", b"\0\0\0\x20ftypisom")
    world.write("b.heic", b"\0\0\0\x18ftypheic")
    world.bring()
    return world.code != exit_codes.DONE and world.tells("mp4") and world.tells("heic")


@trial("datasets", "a 16-bit grey picture is trained as it looks")
def _(world: World) -> bool:
    file = world.root / "theirs" / "a.png"
    file.parent.mkdir()
    slope = np.linspace(0, 65535, 640).astype(np.uint16)
    Image.fromarray(np.repeat(slope[None], 640, 0)).save(file)
    file.with_suffix(".txt").write_text("x")
    world.bring()
    with Image.open(read_dataset(world.workspace.dataset_dir("zed")).items[0].file) as kept:
        shades = np.asarray(kept.convert("L"))
    return bool(abs(int(shades.mean()) - 127) < 6)


@trial("datasets", "a cut-off picture is named, the others come in")
def _(world: World) -> bool:
    world.pictures("", 3)
    whole = (world.root / "theirs" / "00.png").read_bytes()
    world.write("00.png", whole[: len(whole) // 2])
    world.bring()
    return world.tells("00.png", "decoded") and len(world.captions()) == 2


@trial("datasets", "an empty folder")
def _(world: World) -> bool:
    (world.root / "theirs").mkdir()
    return world.bring().code == exit_codes.INVALID_INPUT and world.tells("empty")
