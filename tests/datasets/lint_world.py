"""A good dataset, and for each lint rule what makes it bad in just that way."""

import json
import os
import shutil

import numpy as np
from PIL import Image, ImageCms, ImageDraw, ImageFilter

from kohya_bridge.dataset import read_dataset
from kohya_bridge.datasets.dataset_lock import snapshot, take_version
from kohya_bridge.datasets.dataset_metadata import DatasetMetadata, write_metadata
from kohya_bridge.datasets.held_out_split import held_out_names
from kohya_bridge.drawing import font
from kohya_bridge.lint import LintSettings, lint_dataset
from kohya_bridge.settings import TrainingSettings

COUNT, SIDE = 15, 320  # small pictures: what rules ask of size is set to match
PLACES = ["harbour", "meadow", "attic", "market", "cliff", "cafe", "forest", "desert", "river", "stage", "roof", "alley",
          "garden", "library", "bridge"]  # fmt: skip
MOODS = ["smiling", "frowning", "laughing", "thoughtful", "surprised"]
GOOD = DatasetMetadata(
    lora_tag="char_x", licence="CC0-1.0", source="made by this test", release_approved=True
)


def varied_picture(seed, size=(SIDE, SIDE)):
    """Crisp random shapes on a random ground: sharp, coloured, and unlike any other seed."""
    rng = np.random.default_rng(seed)
    picture = Image.new("RGB", size, tuple(rng.integers(60, 200, 3).tolist()))
    draw = ImageDraw.Draw(picture)
    for _ in range(60):
        x, y = rng.uniform(0, size[0]), rng.uniform(0, size[1])
        wide, high = rng.uniform(10, size[0] / 3), rng.uniform(10, size[1] / 3)
        shape = draw.ellipse if rng.random() < 0.5 else draw.rectangle
        shape(
            (x - wide / 2, y - high / 2, x + wide / 2, y + high / 2), tuple(rng.integers(0, 256, 3).tolist())
        )
    return picture


def write_rows(dir, rows):
    (dir / "captions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def rows_of(dir):
    return [json.loads(line) for line in (dir / "captions.jsonl").read_text("utf-8").splitlines()]


def recaption(dir, caption, name="0001.png"):
    rows = rows_of(dir)
    for row in rows:
        if row["file_name"] == name:
            row["prompt"] = caption
    write_rows(dir, rows)


def uncaption(dir, name="0001.png"):
    write_rows(dir, [row for row in rows_of(dir) if row["file_name"] != name])


def remeta(dir, **changes):
    write_metadata(dir / "metadata.yaml", GOOD.model_copy(update=changes))


def sidecar(dir, raw, name="0001"):
    uncaption(dir, f"{name}.png")
    (dir / "images" / f"{name}.txt").write_bytes(raw)


def cut(file, share=0.6):
    file.write_bytes(file.read_bytes()[: int(file.stat().st_size * share)])


def redraw(dir, change, name="0001.png", **save):
    """Replace a picture by what `change` makes of it."""
    changed = change(varied_picture(1))
    changed.save(dir / "images" / name, **save)


def turned(dir):
    exif = Image.Exif()
    exif[0x0112] = 6
    redraw(dir, lambda p: p, exif=exif)


def see_through(picture):
    picture = picture.convert("RGBA")
    picture.putalpha(Image.linear_gradient("L").resize(picture.size))
    return picture


def barred(picture):
    ImageDraw.Draw(picture).rectangle((0, 0, SIDE, 40), "black")
    ImageDraw.Draw(picture).rectangle((0, 280, SIDE, SIDE), "black")
    return picture


def other_profile(dir):
    redraw(dir, lambda p: p, icc_profile=ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes())


def jpeg_of_strong_compression(dir):
    noisy = Image.fromarray(np.random.default_rng(1).integers(0, 256, (20, 20, 3), np.uint8)).resize(
        (768, 768)
    )
    redraw(dir, lambda p: noisy, "0001.jpg", quality=4)
    recaption_name(dir, "0001.png", "0001.jpg")


def recaption_name(dir, old, new):
    rows = rows_of(dir)
    for row in rows:
        if row["file_name"] == old:
            row["file_name"] = new
    write_rows(dir, rows)
    (dir / "images" / old).unlink()


def rename(dir, new, old="0001.png"):
    shutil.copy(dir / "images" / old, dir / "images" / new)
    recaption_name(dir, old, new)


def everywhere(dir, word, count=COUNT):
    rows = rows_of(dir)
    for row in rows[:count]:
        row["prompt"] += f", {word}"
    write_rows(dir, rows)


def held_out_twin(dir):
    held = next(iter(held_out_names([f"{n:04d}.png" for n in range(1, COUNT + 1)], share=0.1, seed=1234)))
    other = "0001.png" if held != "0001.png" else "0002.png"
    Image.open(dir / "images" / held).resize((400, 400)).save(dir / "images" / other)
    rows = rows_of(dir)
    write_rows(dir, sorted(rows, key=lambda row: row["file_name"] != held))


def sibling(dir, trigger="char_x"):
    other = dir.parent / "other"
    other.mkdir()
    write_metadata(other / "metadata.yaml", GOOD.model_copy(update={"lora_tag": trigger}))


def lock(dir, reason):
    dataset = read_dataset(dir)
    take_version(dataset, snapshot(dataset, reason=reason, name="r1"))
    recaption(dir, "char_x, changed")


def own_row(dir, **values):
    rows = rows_of(dir)
    rows[0].update(values)
    write_rows(dir, rows)


def borrow(dir):
    rename(dir, "a_b_c_d_e.png")
    uncaption(dir, "a_b_c_d_e.png")
    (dir / "images" / "a.txt").write_text("char_x, other", encoding="utf-8")


def make_file(dir, name, content=b"x"):
    file = dir / name
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(content)


HELD_OUT = next(iter(held_out_names([f"{n:04d}.png" for n in range(1, COUNT + 1)], share=0.1, seed=1234)))
TRAINING = TrainingSettings(resolution=SIDE, max_bucket_reso=1024)
SETTINGS = LintSettings(min_side=SIDE)

# Rule id -> (what makes the good set bad, the subject that must be named). A rule without an entry fails a test.
BAD = {
    "E101": (lambda d: recaption(d, "  "), "0001.png"),
    "E102": (uncaption, "0001.png"),
    "E103": (lambda d: sidecar(d, b"char_x, caf\xe9"), "images/0001.txt"),
    "W104": (lambda d: sidecar(d, b"\xef\xbb\xbfchar_x, a"), "images/0001.txt"),
    "E105": (lambda d: sidecar(d, b"char_x, a\nsecond"), "images/0001.txt"),
    "E106": (lambda d: (d / "captions.jsonl").open("a").write("{oops\n"), f"captions.jsonl:{COUNT + 1}"),
    "W107": (lambda d: write_rows(d, [*rows_of(d), {"file_name": "0001.png", "prompt": "char_x"}]), "0001.png"),
    "E108": (lambda d: recaption(d, "char_x, " + "long " * 4000), "0001.png"),
    "W109": (lambda d: recaption(d, "char_x, (red hat:1.3)"), "0001.png"),
    "W110": (lambda d: recaption(d, "char_x, " + "long hair " * 60), "0001.png"),
    "E111": (lambda d: own_row(d, prompt="char_x, attic, lowres"), "0001.png"),
    "W113": (lambda d: recaption(d, "char_x, a\nsecond"), "0001.png"),
    "I112": (lambda d: own_row(d, source="auto"), "0001.png"),
    "W121": (lambda d: everywhere(d, "red scarf"), ""),
    "I122": (lambda d: everywhere(d, "red scarf", 10), ""),
    "W123": (lambda d: (remeta(d, absorb=("scarf",)), everywhere(d, "scarf", 4)), ""),
    "W124": (lambda d: (everywhere(d, "knight", 14), remeta(d, class_word="knight")), f"{COUNT:04d}.png"),
    "W125": (lambda d: recaption(d, rows_of(d)[1]["prompt"]), "0002.png"),
    "I126": (lambda d: [recaption(d, "char_x, " + ", ".join([*PLACES, *MOODS, end]), name) for name, end in (("0001.png", "red hat"), ("0002.png", "blue hat"))], "0002.png"),
    "I127": (lambda d: [recaption(d, f"char_x, {MOODS[n % 5]}", f"{n:04d}.png") for n in range(1, COUNT + 1)], ""),
    "I128": (lambda d: [recaption(d, f"char_x, {word}", name) for name, word in (("0001.png", "long hair"), ("0002.png", "long_hair"))], ""),
    "I129": (lambda d: recaption(d, "char_x is a woman with a hat who is standing in the rain"), ""),
    "I130": (lambda d: recaption(d, "char_x, scarf, red scarf"), "0001.png"),
    "E201": (lambda d: cut(d / "images/0001.png"), "0001.png"),
    "E202": (lambda d: varied_picture(1, (SIDE - 1, SIDE)).save(d / "images/0001.png"), "0001.png"),
    "I219": (lambda d: varied_picture(1, (SIDE - 1, 400)).save(d / "images/0001.png"), "0001.png"),
    "W203": (lambda d: varied_picture(1, (SIDE, 900)).save(d / "images/0001.png"), "0001.png"),
    "W204": (turned, "0001.png"),
    "W205": (lambda d: redraw(d, see_through), "0001.png"),
    "W206": (lambda d: (redraw(d, lambda p: p.convert("CMYK"), "0001.jpg"), recaption_name(d, "0001.png", "0001.jpg")), "0001.jpg"),
    "W207": (other_profile, "0001.png"),
    "W208": (lambda d: redraw(d, lambda p: p, save_all=True, append_images=[varied_picture(77)]), "0001.png"),
    "W209": (lambda d: redraw(d, lambda p: p.convert("L")), "0001.png"),
    "W210": (lambda d: redraw(d, lambda p: p.filter(ImageFilter.GaussianBlur(20))), "0001.png"),
    "W211": (lambda d: redraw(d, lambda p: p.point(lambda v: v // 12)), "0001.png"),
    "W212": (lambda d: redraw(d, lambda p: p.point(lambda v: 250 + v // 60)), "0001.png"),
    "W213": (lambda d: redraw(d, lambda p: Image.new("RGB", (SIDE, SIDE), "teal")), "0001.png"),
    "I214": (lambda d: varied_picture(1, (1000, 1000)).save(d / "images/0001.png", compress_level=1), "0001.png"),
    "W215": (jpeg_of_strong_compression, "0001.jpg"),
    "W216": (lambda d: redraw(d, lambda p: p.resize((20, 20)).resize((SIDE, SIDE), Image.Resampling.BICUBIC)), "0001.png"),
    "W217": (lambda d: redraw(d, barred), "0001.png"),
    "W231": (lambda d: varied_picture(1).save(d / "images/0002.png"), "0002.png"),
    "W232": (lambda d: varied_picture(1).resize((400, 400)).save(d / "images/0002.png"), "0002.png"),
    "W233": (held_out_twin, HELD_OUT),
    "E241": (lambda d: varied_picture(1, (30, SIDE)).save(d / "images/0001.png"), "0001.png"),
    "W242": (lambda d: varied_picture(1, (310, 335)).save(d / "images/0001.png"), "0001.png"),
    "W243": (lambda d: varied_picture(1, (SIDE - 1, 319)).save(d / "images/0001.png"), "0001.png"),
    "I244": (lambda d: varied_picture(1, (SIDE, 450)).save(d / "images/0001.png"), "0001.png"),
    "E301": (lambda d: [file.unlink() for file in (d / "images").iterdir()], ""),
    "W302": (lambda d: (d / "images/0001.png").unlink(), ""),
    "W303": (lambda d: (d / "images/0001.png").unlink(), "0001.png"),
    "W304": (lambda d: make_file(d, "images/0099.txt"), "images/0099.txt"),
    "E305": (lambda d: write_rows(d, [*rows_of(d), {"file_name": "../a.png", "prompt": "char_x"}]), "../a.png"),
    "E306": (lambda d: os.mkfifo(d / "images/0099.png"), "images/0099.png"),
    "E307": (lambda d: varied_picture(99).save(d / "images/0099.Jpg", format="JPEG"), "images/0099.Jpg"),
    "W308": (lambda d: varied_picture(99).save(d / "images/0001.webp"), "0001.webp"),
    "W309": (borrow, "a_b_c_d_e.png"),
    "W310": (lambda d: redraw(d, lambda p: p, format="JPEG"), "0001.png"),
    "W311": (lambda d: rename(d, "wren 1?.png"), "wren 1?.png"),
    "I312": (lambda d: make_file(d, "images/Thumbs.db"), "images/Thumbs.db"),
    "W313": (lambda d: make_file(d, "images/0001_0768x0768_sd.npz"), "images/0001_0768x0768_sd.npz"),
    "W314": (lambda d: make_file(d, "masks/0099.png"), "masks/0099.png"),
    "W401": (lambda d: remeta(d, lora_tag=""), "metadata.yaml"),
    "E402": (lambda d: remeta(d, lora_tag="<char_x>"), "metadata.yaml"),
    "E114": (lambda d: recaption(d, "char_x, c\x00a\x00t"), "0001.png"),
    "E403": (lambda d: recaption(d, "smiling, red hat"), "0001.png"),
    "W404": (lambda d: recaption(d, "smiling, char_x"), "0001.png"),
    "W405": (lambda d: recaption(d, "char_x, smiling, char_x"), "0001.png"),
    "W406": (lambda d: recaption(d, "Char_X, smiling"), "0001.png"),
    "W407": (lambda d: remeta(d, lora_tag="cat"), "metadata.yaml"),
    "W408": (lambda d: remeta(d, lora_tag="qwertzuiop"), "metadata.yaml"),
    "W409": (sibling, "metadata.yaml"),
    "W410": (lambda d: own_row(d, trigger="char_other"), "0001.png"),
    "W411": (lambda d: (sibling(d, "char_other"), recaption(d, "char_x, with char_other")), "0001.png"),
    "W501": (lambda d: (d / "metadata.yaml").unlink(), "metadata.yaml"),
    "E502": (lambda d: (d / "metadata.yaml").write_text("licens: x"), "metadata.yaml"),
    "E503": (lambda d: recaption(d, "char_x, completely_nude"), "0001.png"),
    "W504": (lambda d: remeta(d, licence=""), "metadata.yaml"),
    "I505": (lambda d: remeta(d, source=""), "metadata.yaml"),
    "I506": (lambda d: remeta(d, release_approved=False), "metadata.yaml"),
    "W507": (lambda d: remeta(d, licence="CC-BY-5"), "metadata.yaml"),
    "I508": (lambda d: remeta(d, slug="other"), "metadata.yaml"),
    "I509": (lambda d: remeta(d, pose_split={"front": 3}), "metadata.yaml"),
    "W510": (lambda d: remeta(d, notes="from /home/ann/pictures"), "metadata.yaml"),
    "E601": (lambda d: make_file(d, "dataset.lock.json", b"{"), "dataset.lock.json"),
    "E602": (lambda d: lock(d, "published"), "dataset.lock.json"),
    "I603": (lambda d: lock(d, "trained"), "dataset.lock.json"),
}  # fmt: skip


# The same for rules that need a model: one spoilt set shows them all, because asking the models takes seconds.
def written_on(picture):
    ImageDraw.Draw(picture).text(
        (20, 140), "stockphotos.com", "white", font=font(34), stroke_width=4, stroke_fill="black"
    )
    return picture


def skin_like(seed=251):
    """Blurred ellipses in the colours of skin, which open_nsfw takes for nude with 67 %: nobody is to be seen."""
    rng = np.random.default_rng(seed)
    picture = Image.new("RGB", (320, 320), tuple(rng.integers(60, 250, 3).tolist()))
    draw = ImageDraw.Draw(picture)
    for _ in range(rng.integers(2, 6)):
        x, y = rng.uniform(60, 260, 2)
        wide, high = rng.uniform(120, 300, 2)
        colour = (np.array([222, 170, 145]) + rng.integers(-25, 25, 3)).clip(0, 255).tolist()
        draw.ellipse((x - wide / 2, y - high / 2, x + wide / 2, y + high / 2), tuple(colour))
    return picture.filter(ImageFilter.GaussianBlur(float(rng.uniform(8, 20))))


def other_crop(dir):
    with Image.open(dir / "images" / "0004.png") as picture:
        cropped = picture.crop((6, 6, SIDE - 6, SIDE - 6)).resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    cropped.save(dir / "images" / "0006.png")


BAD_TO_A_MODEL = {
    "W218": (lambda d: redraw(d, written_on), "0001.png"),
    "W511": (lambda d: skin_like().save(d / "images/0002.png"), "0002.png"),
    "W234": (other_crop, "0006.png"),
    "I235": (lambda d: Image.radial_gradient("L").resize((SIDE, SIDE)).convert("RGB").save(d / "images/0005.png"), "0005.png"),
}  # fmt: skip


def linted(dir, tokenizer_dir=None, **training):
    """The report on a dataset of this world."""
    return lint_dataset(
        read_dataset(dir),
        settings=SETTINGS,
        tokenizer_dir=tokenizer_dir,
        training=TRAINING.model_copy(update=training),
    )
