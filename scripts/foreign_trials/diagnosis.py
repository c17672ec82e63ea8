"""Files that are not what they should be, named before anything starts, and small words."""

from __future__ import annotations

import numpy as np
import yaml
from safetensors.numpy import save_file

from kohya_bridge.cli import exit_codes
from tests.desk.conftest import BASE

from .trial import World, plain_lora, trial


def _started_from(world: World, content: bytes | dict[str, np.ndarray], *words: str) -> bool:
    """Whether a plan that starts from such a file is refused in these words, before anything begins."""
    world.pictures("made", 3)
    world.do("import", "zed", world.root / "theirs" / "made", "--trigger", "char_zed")
    file = world.root / "models" / "loras" / "start.safetensors"
    file.parent.mkdir()
    if isinstance(content, bytes):
        file.write_bytes(content)
    else:
        save_file(content, file)
    config = {"dataset": "zed", "base_model": BASE, "settings": {"network_weights": file.name}}
    world.do("plan", world.write("c.yaml", yaml.safe_dump(config)))
    return world.code not in (exit_codes.DONE, exit_codes.UNEXPECTED) and world.tells(*words)


@trial("diagnosis", "a start from a file of NaN")
def _(world: World) -> bool:
    broken = {name: np.full_like(each, np.nan) for name, each in plain_lora().items()}
    return _started_from(world, broken, "not finite")


@trial("diagnosis", "a start from a web page that was saved as a LoRA")
def _(world: World) -> bool:
    return _started_from(world, b"<!DOCTYPE html><html>404</html>", "web page")


@trial("diagnosis", "a start from a download that broke off")
def _(world: World) -> bool:
    return _started_from(world, b"\x40\x1f\x00\x00\x00\x00\x00\x00{", "cut off")


@trial("diagnosis", "a start from an empty file")
def _(world: World) -> bool:
    return _started_from(world, b"", "empty")


@trial("diagnosis", "a start from a whole model")
def _(world: World) -> bool:
    return _started_from(
        world, {"model.diffusion_model.out.2.weight": np.ones((4, 4), np.float32)}, "no key in it"
    )


@trial("diagnosis", "a base model that is a LoRA")
def _(world: World) -> bool:
    world.pictures("made", 3)
    world.bring(folder="made")
    save_file(plain_lora(), world.root / "models" / "checkpoints" / "l.safetensors")
    world.do("plan", world.write("c.yaml", yaml.safe_dump({"dataset": "zed", "base_model": "l.safetensors"})))
    return world.code not in (exit_codes.DONE, exit_codes.UNEXPECTED) and world.tells("LoRA")


@trial("diagnosis", "a trigger typed for a training is kept when the plan is made again")
def _(world: World) -> bool:
    world.pictures("made", 3)
    world.bring(folder="made")
    file = world.write(
        "c.yaml", yaml.safe_dump({"dataset": "zed", "base_model": BASE, "trigger": "zed_person"})
    )
    world.do("plan", file, "--json")
    return world.tells(
        '"trigger": "zed_person"'
    )  # which is then missing in the captions, a finding of its own


@trial("diagnosis", "a caption file where a config belongs")
def _(world: World) -> bool:
    world.do("plan", world.write("c.yaml", "char_zed, a portrait: smiling, [x"))
    return world.code == exit_codes.INVALID_INPUT and world.tells("no setting of that name")


@trial("words", "one picture is one picture")
def _(world: World) -> bool:
    world.pictures("", 1)
    world.bring()
    return not world.tells("1 pictures") and not world.do("lint", "zed").tells(" 1 pictures")


@trial("words", "a name in any script, a name that Windows keeps for itself, and one of bytes")
def _(world: World) -> bool:
    world.picture("少女.png", "one")
    world.picture("con .png", "two")
    world.write("b\udcff.txt".encode("utf-8", "surrogateescape").decode("latin-1"), "odd")
    world.bring()
    return world.code == exit_codes.DONE and len(world.captions()) == 2
