"""Dataset Lint in the canvas: it mends and puts back, shows the trainer's view, counts real tokens, and can be cancelled."""

import hashlib
import json

import pytest
from PIL import Image

from scripts.host.comfy_client import outcome
from tests.datasets.lint_world import varied_picture
from tests.datasets.small_tagger import make_tagger
from tests.host.canvas import SHIPPED, changed, small_dataset

pytestmark = pytest.mark.host


@pytest.fixture
def lint(comfy, request):
    """`lint(folder, **inputs)`: run the node on a dataset of the workspace; `(history of its node, events)`."""

    def run(folder, *, on_event=None, **inputs):
        events = []

        def note(kind, data):
            events.append((kind, data))
            if on_event:
                on_event(kind, data)

        history = comfy.client.follow(alone(folder.name, **inputs), note)
        return history, events

    return run


def alone(name, **inputs):
    """Dataset Lint of a dataset by name, with the trainer's table shown by a stock node."""
    node = {"class_type": "WizdroidDatasetLint", "inputs": {"dataset_name": name, "min_side": 64, **inputs}}
    shown = {"class_type": "PreviewAny", "inputs": {"source": ["1", 4]}}
    return {"1": node, "2": shown}


@pytest.fixture
def spoilt(comfy, request):
    """A dataset of the workspace with a picture lying on its side, two captions in need, and one that is too long."""
    folder = comfy.workspace_dir / "kohya" / "datasets" / f"lint_{request.node.name[5:30].strip('_')}"
    small_dataset(folder)
    exif = Image.Exif()
    exif[0x0112] = 6
    varied_picture(1, (240, 160)).save(folder / "images" / "turned.jpg", exif=exif)
    rows = [json.loads(line) for line in (folder / "captions.jsonl").read_text("utf-8").splitlines()]
    rows[0]["prompt"] = rows[0]["prompt"].removeprefix("char_wren, ")
    rows[1]["prompt"] += ", a very long and winding description" * 20
    rows.append({"file_name": "turned.jpg", "prompt": "char_wren, (red hat:1.3)"})
    (folder / "captions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return folder


def content(folder):
    return {
        file.relative_to(folder).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file() and "originals" not in file.parts and not file.name.startswith(".")
    }


def report_of(history):
    return history["outputs"]["1"]["text"][0]


def test_repairs_are_listed_then_done_and_put_back_to_the_byte(comfy, lint, spoilt):
    before = content(spoilt)
    history, _ = lint(spoilt, repair="list")
    assert outcome(history) == "success" and content(spoilt) == before
    listed = report_of(history)
    assert (
        "W204 turned.jpg: Turn the pixels" in listed and "E403" in listed and "nothing was changed" in listed
    )

    history, _ = lint(spoilt, repair="mend", view="native")
    mended = report_of(history)
    assert "done; the originals are in originals/" in mended
    with Image.open(spoilt / "images" / "turned.jpg") as picture:
        assert picture.size == (160, 240)
    assert "char_wren, red hat" in (spoilt / "captions.jsonl").read_text("utf-8")

    history, _ = lint(spoilt, repair="undo the last")
    assert "undone" in report_of(history) and content(spoilt) == before


def test_the_same_question_again_is_answered_from_the_cache_until_the_folder_changes(comfy, lint, spoilt):
    lint(spoilt, repair="mend")
    _, events = lint(spoilt, repair="mend")
    assert [data["nodes"] for kind, data in events if kind == "execution_cached"] == [["1", "2"]]
    with open(spoilt / "captions.jsonl", "a", encoding="utf-8") as stream:
        stream.write("{oops\n")
    history, _ = lint(spoilt, repair="mend")
    assert "E106" in report_of(history)


def test_the_trainers_view_is_a_picture_and_a_table_for_either_engine(comfy, lint, spoilt):
    for view, turned in (("native", "turned upright"), ("sd-scripts", "left as stored")):
        history, _ = lint(spoilt, view=view, resolution=256)
        table = history["outputs"]["2"]["text"][0]
        (row,) = [line for line in table.splitlines() if line.startswith("| turned.jpg")]
        assert turned in row and "bucket" in table
        assert len(history["outputs"]["1"]["images"]) == 2
    history, _ = lint(spoilt, view="off")
    assert len(history["outputs"]["1"]["images"]) == 1


def test_tokens_are_counted_by_comfyuis_own_vocabulary_and_the_cut_part_is_named(comfy, lint, spoilt):
    history, _ = lint(spoilt, view="native")
    report, table = report_of(history), history["outputs"]["2"]["text"][0]
    assert "W110" in report and "this is cut off" in report
    cut = [line.split("|")[8:11] for line in table.splitlines() if "winding description |" in line]
    assert len(cut) == 1 and int(cut[0][0]) > 75 and cut[0][2].strip()


def test_progress_is_told_picture_by_picture_and_cancel_is_heard(comfy, lint):
    folder = comfy.workspace_dir / "kohya" / "datasets" / "lint_many"
    (folder / "images").mkdir(parents=True)
    for number in range(40):
        varied_picture(number, (1000, 1000)).save(folder / "images" / f"{number:04d}.png", compress_level=1)
    (folder / "metadata.yaml").write_bytes((SHIPPED / "metadata.yaml").read_bytes())

    def cancel(kind, data):
        if kind == "progress" and data["value"] > 2:
            comfy.client.interrupt()

    history, events = lint(folder, view="native", on_event=cancel)
    assert outcome(history) == "interrupted"
    told = [data["value"] for kind, data in events if kind == "progress"]
    assert 2 < max(told) < 120, told

    history, events = lint(folder, view="native")  # nothing of the cancelling is left, and it goes on
    told = [(data["value"], data["max"]) for kind, data in events if kind == "progress"]
    assert outcome(history) == "success" and told[-1] == (120, 120) and len({v for v, _ in told}) > 20


def test_pictures_from_a_folder_are_exported_upright(comfy):
    source = comfy.base_dir / "input" / "phone"
    (source / "images").mkdir(parents=True)
    exif = Image.Exif()
    exif[0x0112] = 6
    varied_picture(1, (90, 60)).save(source / "images" / "a.jpg", exif=exif)
    typed = {"captions": "", "mode": "append", "trigger": "char_p", "licence": "", "source": "", "rating": "sfw",
             "release_approved": False}  # fmt: skip
    prompt = {"1": {"class_type": "WizdroidCaptionExport", "inputs": typed}}
    changed(prompt, "WizdroidCaptionExport", dataset_name="phone", folder="input/phone")
    assert outcome(comfy.client.run(prompt)) == "success"
    (file,) = (comfy.workspace_dir / "kohya" / "datasets" / "phone" / "images").glob("*.png")
    with Image.open(file) as picture:
        assert picture.size == (60, 90)


@pytest.fixture
def tagger(comfy):
    """A WD14 tagger in the workspace's captioners/: it says `red hat` and `outdoors` of any picture that is not black."""
    return make_tagger(comfy.workspace_dir / "captioners" / "small-tagger")


def test_pictures_without_a_caption_are_described_where_they_are_exported_and_others_stay(comfy, tagger):
    source = comfy.base_dir / "input" / "bare"
    small_dataset(source)
    rows = [json.loads(line) for line in (source / "captions.jsonl").read_text("utf-8").splitlines()]
    curated = rows[1]["prompt"]
    rows[0]["prompt"] = ""
    (source / "captions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    typed = {"captions": "", "mode": "append", "trigger": "", "licence": "", "source": "", "rating": "sfw",
             "release_approved": False, "dataset_name": "bare", "folder": "input/bare"}  # fmt: skip
    for captioner, said in (("ollama", "not described: No Ollama answers"), ("small-tagger", "1 described by local:small-tagger")):  # fmt: skip
        prompt = {"1": {"class_type": "WizdroidCaptionExport", "inputs": {**typed, "captioner": captioner}}}
        history = comfy.client.run(prompt)
        assert outcome(history) == "success" and said in history["outputs"]["1"]["text"][0]
    lines = (comfy.workspace_dir / "kohya" / "datasets" / "bare" / "captions.jsonl").read_text("utf-8")
    rows = [json.loads(line) for line in lines.splitlines()]
    assert rows[0]["source"] == "auto" and rows[0]["prompt"].startswith("char_wren, ")
    assert set(rows[0]["prompt"].split(", ")) == {"char_wren", "outdoors", "red hat"}
    assert rows[1]["prompt"] == curated
