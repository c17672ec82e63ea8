"""`python -m scripts.foreign_trials`: what people bring from elsewhere, brought in by the shell as they would, and what became of it.

In: files as other programs, phones and hands make them, written anew by each trial. Out: a row for each: right, wrong (with what was said), or
crashed (exit code 70, or an exception), and the sums. The trials follow what users of other trainers report in public; none is a file of
theirs. Nothing is trained, and nothing outside a scratch folder is touched.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image
from safetensors.numpy import save_file

from kohya_bridge.__main__ import main as shell
from kohya_bridge.cli import exit_codes
from kohya_bridge.dataset import read_dataset
from kohya_bridge.workspace import Workspace
from tests.desk.conftest import BASE, write_base_model

Trial = Callable[["World"], bool]
TRIALS: list[tuple[str, str, Trial]] = []
RIGHT, WRONG, CRASHED = "right", "wrong", "crashed"


def trial(kind: str, what: str) -> Callable[[Trial], Trial]:
    def added(act: Trial) -> Trial:
        TRIALS.append((kind, what, act))
        return act

    return added


@dataclass
class World:
    """A scratch folder with a workspace and a base model; `said` is what the last command printed."""

    root: Path
    said: str = ""
    code: int = 0

    @property
    def workspace(self) -> Workspace:
        return Workspace.at(self.root / "training")

    def do(self, *words: object) -> World:
        """One command line. Both streams are kept together, as a terminal shows them."""
        screen = io.StringIO()
        models = self.root / "models"
        where = (
            "--workspace",
            self.root / "training",
            "--checkpoints",
            models / "checkpoints",
            "--loras",
            models / "loras",
        )
        with contextlib.redirect_stdout(screen), contextlib.redirect_stderr(screen):
            try:
                self.code = shell([*map(str, words), *map(str, where)])
            except SystemExit as error:
                self.code = int(error.code or 0)
        self.said = screen.getvalue()
        return self

    def tells(self, *words: str) -> bool:
        """Whether all of that was said, whatever the case of its letters."""
        return all(each.lower() in self.said.lower() for each in words)

    def write(self, name: str, content: str | bytes) -> Path:
        file = self.root / "theirs" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        return file

    def picture(self, name: str, caption: str | None = None, *, ending: str = ".txt", seed: int = 0) -> Path:
        """A picture with shapes of its own, and its caption beside it."""
        file = self.root / "theirs" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        dice = np.random.default_rng(abs(hash(name)) % 2**32 + seed)
        small = Image.fromarray(dice.integers(0, 256, (12, 12, 3), dtype=np.uint8))
        small.resize((640, 640), Image.Resampling.BICUBIC).save(file)
        if caption is not None:
            file.with_suffix(ending).write_text(caption, "utf-8")
        return file

    def pictures(self, folder: str, count: int, caption: str | None = "char_zed, {}") -> None:
        for number in range(count):
            self.picture(str(Path(folder, f"{number:02}.png")), caption and caption.format(f"scene {number}"))

    def bring(self, dataset: str = "zed", folder: str = "") -> World:
        return self.do("import", dataset, self.root / "theirs" / folder)

    def captions(self, dataset: str = "zed") -> list[str]:
        return [item.caption for item in read_dataset(self.workspace.dataset_dir(dataset)).items]

    def adopt(self, name: str, content: str | bytes | dict[str, Any]) -> World:
        """Make a config of a foreign file for a dataset that is there."""
        self.pictures("made", 3)
        self.do("import", "zed", self.root / "theirs" / "made")
        file = self.write(name, json.dumps(content) if isinstance(content, dict) else content)
        return self.do("adopt", file, "--dataset", "zed", "--base-model", BASE, "--name", "theirs")

    def config(self) -> dict[str, Any]:
        found: dict[str, Any] = yaml.safe_load(
            (self.workspace.configs_dir / "theirs.yaml").read_text("utf-8")
        )
        return found

    def plans_natively(self) -> bool:
        self.do("plan", "theirs")
        return self.code == exit_codes.DONE and self.tells("native")


GUI = {
    "LoRA_type": "Standard",
    "network_dim": 8,
    "network_alpha": 8,
    "learning_rate": 1e-4,
    "unet_lr": 1e-4,
    "text_encoder_lr": 0,
}


@trial("settings", "a GUI preset with fields of the GUI alone and of other LoRA types at their idle values")
def _(world: World) -> bool:
    world.adopt(
        "p.json",
        {
            **GUI,
            "factor": -1,
            "unit": 1,
            "noise_offset_type": "Original",
            "train_on_input": True,
            "sdxl_no_half_vae": True,
        },
    )
    return world.tells("factor", "unit") and world.plans_natively()


@trial("settings", "an sd-scripts TOML that names the rank alone gets the origin's defaults")
def _(world: World) -> bool:
    world.adopt("t.toml", "network_dim = 32\nnetwork_module = 'networks.lora'\n")
    has = world.config()["settings"]
    return (has["network_alpha"], has["train_batch_size"], has["min_snr_gamma"]) == (1.0, 1, 0.0) and not has[
        "network_train_unet_only"
    ]


@trial("settings", "the same in sections, as the GUI exports it")
def _(world: World) -> bool:
    world.adopt(
        "t.toml",
        "[network]\nnetwork_dim = 4\nnetwork_module = 'networks.lora'\n[optimizer]\nunet_lr = 2e-4\n",
    )
    return (world.config()["settings"]["network_dim"], world.config()["settings"]["unet_lr"]) == (4, 2e-4)


@trial("settings", "optimizer_args written as one text")
def _(world: World) -> bool:
    world.adopt("t.toml", "network_module = 'networks.lora'\noptimizer_args = 'weight_decay=0.1'\n")
    return bool(world.config()["settings"]["optimizer_args"] == {"weight_decay": 0.1})


@trial("settings", "a LoHa preset keeps its own numbers")
def _(world: World) -> bool:
    world.adopt(
        "p.json", {**GUI, "LoRA_type": "LyCORIS/LoHa", "conv_dim": 4, "conv_alpha": 1, "use_cp": True}
    )
    return world.tells("conv_dim") or "conv_dim" in json.dumps(world.config())


@trial("settings", "a resolution written 512x512, and an empty one")
def _(world: World) -> bool:
    world.adopt("p.json", {**GUI, "max_resolution": "512x512"})
    first = world.config()["settings"]["resolution"]
    return first == 512 and world.adopt("q.json", {**GUI, "max_resolution": ""}).code in (
        exit_codes.DONE,
        exit_codes.CONFLICT,
    )


@trial("settings", "a batch size of 'auto' is said, not crashed on")
def _(world: World) -> bool:
    return world.adopt("p.json", {**GUI, "train_batch_size": "auto"}).tells("train_batch_size")


@trial("settings", "a rate with a comma")
def _(world: World) -> bool:
    return world.adopt("p.json", {**GUI, "unet_lr": "0,0001"}).tells("unet_lr")


@trial("settings", "a Windows path in double quotes in a TOML")
def _(world: World) -> bool:
    return world.adopt("t.toml", 'pretrained_model_name_or_path = "C:\\Users\\me\\m.safetensors"\n').tells(
        "single quotes"
    )


@trial("settings", "an unclosed quote")
def _(world: World) -> bool:
    return world.adopt("t.toml", "network_dim = 8\noutput_name = 'zed\n").code == exit_codes.INVALID_INPUT


@trial("settings", "a dataset TOML is called what it is")
def _(world: World) -> bool:
    return world.adopt(
        "d.toml", "[[datasets]]\nresolution = 512\n[[datasets.subsets]]\nimage_dir = 'x'\n"
    ).tells("dataset")


@trial("settings", "a workflow of ComfyUI is called what it is")
def _(world: World) -> bool:
    return world.adopt(
        "w.json", {"last_node_id": 3, "nodes": [{"id": 1, "type": "KSampler"}], "links": []}
    ).tells("ComfyUI")


@trial("settings", "a config of ai-toolkit is called what it is")
def _(world: World) -> bool:
    return world.adopt(
        "a.json", {"job": "extension", "config": {"name": "x", "process": [{"type": "sd_trainer"}]}}
    ).tells("ai-toolkit")


@trial("settings", "a LoRA's header with the rates as sd-scripts writes them in lists")
def _(world: World) -> bool:
    file = world.root / "theirs" / "l.safetensors"
    world.pictures("made", 3)
    world.bring(folder="made")
    told = {
        "ss_text_encoder_lr": "[5e-05]",
        "ss_unet_lr": "1e-4",
        "ss_network_dim": "8",
        "ss_network_alpha": "4",
        "ss_network_module": "networks.lora",
    }
    save_file(_lora(), file, told)
    world.do("adopt", file, "--dataset", "zed", "--base-model", BASE, "--name", "theirs")
    return world.code == exit_codes.DONE and world.config()["settings"]["text_encoder_lr"] == 5e-5


@trial("settings", "malformed JSON within a LoRA's header")
def _(world: World) -> bool:
    file = world.root / "theirs" / "l.safetensors"
    file.parent.mkdir()
    save_file(_lora(), file, {"ss_network_args": "{'a': 1", "ss_bucket_info": "{{{", "ss_network_dim": "8"})
    world.do("adopt", file, "--dataset", "zed", "--base-model", BASE, "--name", "-")
    return world.code != exit_codes.UNEXPECTED


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


def _lora(module: str = "lora_unet_mid_block_0", rank: int = 4) -> dict[str, np.ndarray]:
    return {
        f"{module}.lora_down.weight": np.ones((rank, 8), np.float32),
        f"{module}.lora_up.weight": np.ones((8, rank), np.float32),
        f"{module}.alpha": np.array(1.0, np.float32),
    }


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
    broken = {name: np.full_like(each, np.nan) for name, each in _lora().items()}
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
    save_file(_lora(), world.root / "models" / "checkpoints" / "l.safetensors")
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


def outcome_of(act: Trial) -> tuple[str, str]:
    """What became of one trial in a scratch folder of its own, and what was said."""
    with tempfile.TemporaryDirectory(prefix="trial-") as scratch:
        world = World(Path(scratch))
        write_base_model(world.root / "models" / "checkpoints" / BASE)
        try:
            right = act(world)
        except Exception as error:  # whatever it is, it is what a trial looks for
            return CRASHED, f"{type(error).__name__}: {error}\n{world.said}"
        crashed = world.code == exit_codes.UNEXPECTED or "Traceback" in world.said
        return CRASHED if crashed else RIGHT if right else WRONG, world.said


def main() -> int:
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    sums = Counter[str]()
    for kind, what, act in TRIALS:
        outcome, said = outcome_of(act)
        sums[outcome] += 1
        print(f"{outcome:8}{kind:11}{what}", flush=True)
        if outcome != RIGHT:
            print("\n".join(f"          | {line}" for line in said.splitlines()[-12:]))
    print(
        f"{sum(sums.values())} trials: "
        + ", ".join(f"{sums[each]} {each}" for each in (RIGHT, WRONG, CRASHED))
    )
    return 0 if sums[RIGHT] == sum(sums.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
