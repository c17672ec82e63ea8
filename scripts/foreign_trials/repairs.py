"""What `lint --fix` makes of captions that need care."""

from __future__ import annotations

from .trial import World, trial


def _mended(world: World, caption: str) -> str:
    """What `lint --fix` makes of a caption of a set whose trigger is char_zed, done twice."""
    world.pictures("", 3)
    world.picture("zz.png", caption)
    world.do("import", "zed", world.root / "theirs", "--trigger", "char_zed")
    world.do("lint", "zed", "--fix")
    once = world.captions()[-1]
    world.do("lint", "zed", "--fix")
    return once if world.captions()[-1] == once else "mended twice differently"


@trial("repairs", "another character's trigger stays")
def _(world: World) -> bool:
    return "char_zoe" in _mended(world, "char_zed, char_zoe, holding hands")


@trial("repairs", "a sentence is not torn at the trigger")
def _(world: World) -> bool:
    return "a portrait of char_zed smiling" in _mended(world, "a portrait of char_zed smiling, outdoors")


@trial("repairs", "a trigger in brackets with a weight counts once")
def _(world: World) -> bool:
    return _mended(world, "(char_zed:1.2), smiling").count("char_zed") == 1


@trial("repairs", "a word that only resembles the trigger is not made one")
def _(world: World) -> bool:
    return "charred zebra" in _mended(world, "char_zed, a charred zebra, night")


@trial("repairs", "undo brings every byte back")
def _(world: World) -> bool:
    world.pictures("", 3, " ,char_zed,, {} ")
    world.do("import", "zed", world.root / "theirs", "--trigger", "char_zed")
    file = world.workspace.dataset_dir("zed") / "captions.jsonl"
    before = file.read_bytes()
    world.do("lint", "zed", "--fix")
    world.do("lint", "zed", "--undo")
    return file.read_bytes() == before
