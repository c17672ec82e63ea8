"""Two hundred hostile inputs: no crash, no hang, nothing read outside of the folder, and a finding for each."""

import io
import json
import os
import random
import struct
import time
import zlib

import pytest
from PIL import Image

from kohya_bridge.dataset import read_dataset
from kohya_bridge.datasets.dataset_metadata import write_metadata
from kohya_bridge.datasets.dataset_transfer import import_folder
from kohya_bridge.datasets.pictures import inspect_picture
from kohya_bridge.lint import contact_sheet, lint_dataset
from kohya_bridge.lint.page import report_page
from kohya_bridge.lint.repair import plan_repairs
from kohya_bridge.workspace import Workspace

from .lint_world import GOOD, varied_picture, write_rows

LIMIT_S = 5.0


def encoded(format, seed, **options):
    buffer = io.BytesIO()
    varied_picture(seed, (64, 64)).save(buffer, format, **options)
    return buffer.getvalue()


def png_chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, *chunks):
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + b"".join(chunks) + png_chunk(b"IEND", b"")


def fuzzed():
    """150 damaged pictures: flipped header bytes, cut ends, swapped pieces, in every format that people train on."""
    rng = random.Random(7)
    for number in range(150):
        format = ("JPEG", "PNG", "WEBP")[number % 3]
        data = bytearray(encoded(format, number))
        for _ in range(rng.randint(1, 12)):
            data[rng.randrange(min(len(data), 96))] = rng.randrange(256)
        if number % 2:
            del data[rng.randrange(8, len(data)) :]
        if number % 5 == 0:
            start = rng.randrange(len(data) // 2)
            data[start:start] = bytes(rng.randrange(256) for _ in range(40))
        yield f"fuzz{number:03d}.{'jpg' if format == 'JPEG' else format.lower()}", bytes(data)


def bombs():
    """Pictures that are small on disk and huge in memory, or that hide something huge."""
    zeros = zlib.compress(bytes(4_000_000), 9)
    yield "bomb_png.png", png(60_000, 60_000, png_chunk(b"IDAT", zeros))
    yield "bomb_wide.png", png(2_000_000_000, 1, png_chunk(b"IDAT", zeros))
    yield "bomb_zero.png", png(0, 0, png_chunk(b"IDAT", zeros))
    yield "bomb_text.png", png(64, 64, png_chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(80_000_000), 9)), png_chunk(b"IDAT", zeros))  # fmt: skip
    yield "bomb_profile.png", png(64, 64, png_chunk(b"iCCP", b"p\0\0" + zlib.compress(bytes(80_000_000), 9)), png_chunk(b"IDAT", zlib.compress(bytes(10))))  # fmt: skip
    yield "bomb_bmp.bmp", b"BM" + struct.pack("<IHHIIiiHHIIIIII", 54, 0, 0, 54, 40, 100_000, 100_000, 1, 24, 0, 0, 0, 0, 0, 0)  # fmt: skip
    yield "bomb_webp.webp", b"RIFF" + struct.pack("<I", 30) + b"WEBPVP8X" + struct.pack("<I", 10) + b"\x10\0\0\0" + b"\xff\xff\xff" * 2  # fmt: skip
    yield "script.png", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99 99\n(/etc/passwd) (r) file\n"
    yield "vector.png", b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>"
    yield "empty.png", b""
    yield "text.jpg", b"just text"
    yield "zip.webp", b"PK\x03\x04" + bytes(200)


def awkward_names():
    """Good pictures under names that break terminals, archives and other systems."""
    data = encoded("PNG", 999)
    for name in ("new\nline.png", "tab\there.png", "\x1b[31mred.png", "right\u202eto left.png", "wren\u0301 é.png", "CON.png",
                 "a" * 240 + ".png", "q?uestion.png", "trailing .png", "two..dots.png", "-rf.png", "emoji 😀.png"):  # fmt: skip
        yield name, data


CAPTION_FILES = [
    b'{"file_name": "0001.png", "prompt": "' + b"x" * 10_000_000 + b'"}\n',
    b"[" * 100_000,
    b'{"a":' * 50_000,
    b'{"file_name": "0001.png", "prompt": "\\ud800"}\n',
    b'{"file_name": "0001.png", "prompt": 1e999}\n',
    b'{"file_name": "../../../etc/passwd", "prompt": "x"}\n',
    b'{"file_name": "/etc/passwd", "prompt": "x"}\n',
    b'{"file_name": "a\\u0000b", "prompt": "x"}\n',
    b'{"file_name": {}, "prompt": []}\n',
    b"\xff\xfe\x00\x00",
    b"\x00" * 5000,
    b"null\ntrue\n17\n\"text\"\n",
]  # fmt: skip
METADATA_FILES = [
    b"a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: [*b,*b,*b,*b,*b,*b,*b,*b,*b]\n",
    b"licence: !!python/object/apply:os.system ['echo hacked']\n",
    b"licence: " + b"x" * 2_000_000,
    b"[" * 20_000,
    b"? " * 10_000,
    b"\xff\xfe\x00",
    b"- a\n- b\n",
    b"lora_tag: [1, 2]\nrating: 7\nwaivers: yes\n",
    b"lora_tag: 'char\\0x'\npose_split: {a: 99999999999999999999999}\n",
    b"waivers:\n- {rule: E999999, reason: x}\n",
    b"slug: ../../x\nlora_tag: '<lora:x:1>'\n",
    b"%TAG ! tag:x,2000:\n--- !x\nfoo\n",
]  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "set" / "images").mkdir(parents=True)
    write_metadata(tmp_path / "set" / "metadata.yaml", GOOD)
    return tmp_path / "set"


def test_there_are_two_hundred_of_them():
    files = [*fuzzed(), *bombs(), *awkward_names()]
    assert len(files) + len(CAPTION_FILES) + len(METADATA_FILES) + 3 >= 200


def test_every_hostile_picture_is_answered_within_five_seconds_and_has_a_finding(folder):
    hostile = [*fuzzed(), *bombs(), *awkward_names()]
    for name, data in hostile:
        (folder / "images" / name).write_bytes(data)
        started = time.process_time()
        inspect_picture(folder / "images" / name)
        assert time.process_time() - started < LIMIT_S, name
    write_rows(
        folder,
        [{"file_name": name, "prompt": f"char_x, {number}"} for number, (name, _) in enumerate(hostile)],
    )
    dataset = read_dataset(folder)
    report = lint_dataset(dataset)
    subjects = {finding.subject for finding in report.findings}
    assert [name for name, _ in hostile if name not in subjects] == []
    for name in ("bomb_png.png", "bomb_bmp.bmp", "empty.png", "script.png", "vector.png"):
        assert "E201" in {finding.rule for finding in report.findings if finding.subject == name}, name
    assert contact_sheet(dataset, report).width > 0
    page = report_page(dataset, report)
    assert "\x1b" not in page + report.text() and page.count("\n") < 60
    plan_repairs(dataset)


def test_a_foreign_folder_of_them_is_imported_without_a_crash(folder, tmp_path):
    for name, data in [*fuzzed(), *bombs(), *awkward_names()]:
        (folder / "images" / name).write_bytes(data)
    imported = import_folder(Workspace.at(tmp_path / "workspace"), folder, "x")
    assert imported.notes and all(item.name.isascii() for item in imported.dataset.items)


@pytest.mark.parametrize("number", range(len(CAPTION_FILES)))
def test_hostile_captions_are_answered_in_time_with_a_finding(folder, number):
    varied_picture(1, (64, 64)).save(folder / "images" / "0001.png")
    (folder / "captions.jsonl").write_bytes(CAPTION_FILES[number])
    started = time.process_time()
    dataset = read_dataset(folder)
    report = lint_dataset(dataset)
    contact_sheet(dataset, report), report_page(dataset, report), plan_repairs(dataset)
    assert time.process_time() - started < LIMIT_S
    assert {finding.rule for finding in report.findings} & {"E102", "E106", "E108", "E305"}


@pytest.mark.parametrize("number", range(len(METADATA_FILES)))
def test_hostile_metadata_is_answered_in_time_with_a_finding(folder, number):
    varied_picture(1, (64, 64)).save(folder / "images" / "0001.png")
    (folder / "metadata.yaml").write_bytes(METADATA_FILES[number])
    started = time.process_time()
    report = lint_dataset(read_dataset(folder))
    assert time.process_time() - started < LIMIT_S
    assert {finding.rule for finding in report.findings} & {"E502", "E402"}


def test_pipes_links_and_folders_under_picture_names_are_not_opened(folder, tmp_path):
    (tmp_path / "secret.txt").write_text("secret")
    os.mkfifo(folder / "images" / "pipe.png")
    os.symlink(tmp_path / "secret.txt", folder / "images" / "link.png")
    (folder / "images" / "folder.png").mkdir()
    os.symlink(folder / "images", folder / "images" / "loop")
    os.symlink("nowhere", folder / "images" / "broken.png")
    report = lint_dataset(read_dataset(folder))
    named = {finding.subject for finding in report.findings}
    assert {"images/pipe.png", "images/link.png", "images/broken.png"} <= named
    assert "secret" not in json.dumps(report.to_json())


def test_a_name_that_is_no_unicode_is_shown_and_reported(folder):
    raw = os.path.join(os.fsencode(folder / "images"), b"\xff\xfe.png")
    with open(raw, "wb") as stream:
        stream.write(encoded("PNG", 1))
    dataset = read_dataset(folder)
    report = lint_dataset(dataset)
    assert "W311" in {finding.rule for finding in report.findings}
    report.text().encode("utf-8")
    report_page(dataset, report).encode("utf-8")


def test_a_deep_nest_of_folders_is_listed_in_time(folder):
    deep = folder / "images"
    for _ in range(60):
        deep = deep / "d"
    deep.mkdir(parents=True)
    Image.new("RGB", (4, 4)).save(deep / "a.png")
    assert "E307" in {finding.rule for finding in lint_dataset(read_dataset(folder)).findings}
