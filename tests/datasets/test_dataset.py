"""A dataset folder: exported without losing anything, read without trusting anything, named by its content."""

import json
import os
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from kohya_bridge.captions import CaptionRow, parse_captions, plain_caption, write_captions
from kohya_bridge.dataset import (
    DatasetMetadata,
    dataset_digest,
    export_pictures,
    find_dataset,
    list_datasets,
    read_dataset,
)
from kohya_bridge.datasets.dataset_metadata import read_metadata, write_metadata
from kohya_bridge.errors import InvalidInput, NotFound
from kohya_bridge.lint.repair import repair_dataset
from kohya_bridge.workspace import Workspace


@pytest.fixture
def workspace(tmp_path):
    return Workspace.at(tmp_path)


def picture(shade, size=(40, 30)):
    return Image.new("RGB", size, (shade, 80, 120))


def kinds(dataset):
    return {problem.kind for problem in dataset.problems}


def test_exported_pictures_come_back_with_their_captions(workspace):
    dataset = export_pictures(
        workspace, "alice", [picture(1), picture(2)], ["char_alice, a", "char_alice, b"],
        metadata=DatasetMetadata(lora_tag="char_alice", licence="CC0-1.0"),
    )  # fmt: skip
    assert [item.caption for item in dataset.items] == ["char_alice, a", "char_alice, b"]
    assert dataset.trigger == "char_alice" and dataset.metadata.slug == "alice"
    assert find_dataset(workspace, "alice") == dataset and list_datasets(workspace) == ["alice"]


def test_the_same_picture_exported_twice_stays_one_with_its_curated_caption(workspace):
    export_pictures(workspace, "alice", [picture(1)], ["first words"])
    dataset = export_pictures(workspace, "alice", [picture(1), picture(2)], ["other words", "new"])
    assert [(item.name[:4], item.caption) for item in dataset.items] == [
        ("0001", "first words"),
        ("0002", "new"),
    ]


def test_append_never_touches_files_that_are_there(workspace):
    first = export_pictures(workspace, "alice", [picture(1)], ["a"])
    before = first.items[0].file.stat()
    export_pictures(workspace, "alice", [picture(1), picture(2)], ["a"])
    after = first.items[0].file.stat()
    assert (before.st_mtime_ns, before.st_ino) == (after.st_mtime_ns, after.st_ino)


def test_replace_moves_the_old_pictures_to_the_trash_and_keeps_the_metadata(workspace):
    export_pictures(
        workspace, "alice", [picture(1), picture(2)], ["a"], metadata=DatasetMetadata(licence="CC0-1.0")
    )
    dataset = export_pictures(workspace, "alice", [picture(3)], ["c"], mode="replace")
    assert [item.caption for item in dataset.items] == ["c"] and dataset.metadata.licence == "CC0-1.0"
    assert len(list(workspace.trash_dir.glob("datasets/alice-*/images/*.png"))) == 2
    assert list(workspace.trash_dir.glob("datasets/alice-*/captions.jsonl"))


def test_one_caption_serves_all_pictures_and_a_wrong_number_is_refused(workspace):
    assert {i.caption for i in export_pictures(workspace, "a", [picture(1), picture(2)], ["x"]).items} == {
        "x"
    }
    with pytest.raises(InvalidInput, match="3 pictures and 2 captions"):
        export_pictures(workspace, "a", [picture(1), picture(2), picture(3)], ["x", "y"])


@pytest.mark.parametrize("slug", ["../x", "a/b", "", "con"])
def test_a_slug_that_could_leave_the_workspace_is_refused(workspace, slug):
    with pytest.raises(InvalidInput):
        export_pictures(workspace, slug, [picture(1)], ["x"])


def test_two_threads_exporting_into_one_dataset_lose_nothing(workspace):
    def export(offset):
        for shade in range(offset, offset + 6):
            export_pictures(workspace, "alice", [picture(shade)], [f"shade {shade}"])

    threads = [threading.Thread(target=export, args=(start,)) for start in (0, 100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    dataset = find_dataset(workspace, "alice")
    assert len({item.caption for item in dataset.items}) == 12


def test_exporting_over_damaged_captions_is_refused_and_loses_no_line(workspace):
    dataset = export_pictures(workspace, "alice", [picture(1)], ["a"])
    file = dataset.dir / "captions.jsonl"
    file.write_text('{"file_name": "0001.png", "prom', encoding="utf-8")
    with pytest.raises(InvalidInput, match="1 bad line;"):
        export_pictures(workspace, "alice", [picture(2)], ["b"])
    assert file.read_text("utf-8") == '{"file_name": "0001.png", "prom'


def test_a_missing_dataset_lists_what_there_is(workspace):
    export_pictures(workspace, "alice", [picture(1)], ["a"])
    with pytest.raises(NotFound, match="alice"):
        find_dataset(workspace, "alcie")
    with pytest.raises(NotFound):
        read_dataset(workspace.root / "nothing")


def test_the_digest_changes_with_a_caption_and_a_pixel_and_not_with_the_place(workspace, tmp_path):
    dataset = export_pictures(workspace, "alice", [picture(1), picture(2)], ["a", "b"])
    digest = dataset_digest(dataset)
    moved = tmp_path / "moved"
    os.rename(dataset.dir, moved)
    assert dataset_digest(read_dataset(moved)) == digest
    rows, _ = parse_captions((moved / "captions.jsonl").read_bytes())
    write_captions(moved / "captions.jsonl", [rows[0], CaptionRow(rows[1].file_name, "changed")])
    assert dataset_digest(read_dataset(moved)) != digest
    write_captions(moved / "captions.jsonl", rows)
    picture(9).save(read_dataset(moved).items[0].file)
    assert dataset_digest(read_dataset(moved)) != digest


def test_links_and_names_that_lead_out_of_the_folder_are_reported_and_not_read(tmp_path):
    secret = tmp_path / "secret.png"
    picture(5).save(secret)
    images = tmp_path / "set" / "images"
    images.mkdir(parents=True)
    os.symlink(secret, images / "0001.png")
    os.mkfifo(images / "0002.png")
    rows = [{"file_name": name, "prompt": "x"} for name in ("../secret.png", "/etc/passwd", "..")]
    (tmp_path / "set" / "captions.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    dataset = read_dataset(tmp_path / "set")
    assert dataset.items == ()
    assert {(p.kind, p.subject) for p in dataset.problems} >= {
        ("outside", "images/0001.png"), ("not_a_file", "images/0002.png"),
        ("row_escapes", "../secret.png"), ("row_escapes", "/etc/passwd"), ("row_escapes", ".."),
    }  # fmt: skip


def test_sidecar_captions_serve_where_captions_jsonl_has_no_line(tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    for name in ("a", "b", "c", "d"):
        picture(1).save(images / f"{name}.png")
    (images / "a.txt").write_text("from txt", encoding="utf-8")
    (images / "b.caption").write_bytes(b"\xef\xbb\xbffrom caption\nsecond line")
    (images / "c.txt").write_bytes(b"caf\xe9")
    (tmp_path / "captions.jsonl").write_text(
        '{"file_name": "d.png", "prompt": "from jsonl"}', encoding="utf-8"
    )
    dataset = read_dataset(tmp_path)
    assert [item.caption for item in dataset.items] == ["from txt", "from caption", "", "from jsonl"]
    assert kinds(dataset) >= {"caption_bom", "caption_multiline", "caption_not_utf8", "metadata_missing"}


def test_unusable_caption_lines_are_named_by_number_and_the_rest_is_read():
    rows, problems = parse_captions(
        b'\xef\xbb\xbf{"file_name": "a.png", "prompt": "fine"}\nnonsense\n\n["list"]\n{"file_name": "b.png"}\n\xff\n'
        b'{"file_name": "c.png", "prompt": "\\ud800"}\n{"file_name": "d.png", "prompt": "x", "trigger": 4}'
    )
    assert [row.file_name for row in rows] == ["a.png"]
    assert [each.line for each in problems] == [2, 4, 5, 6, 7, 8]


@pytest.mark.parametrize(
    ("written", "plain"),
    [
        ("char_x, (red hat:1.2), ((smile))", "char_x, red hat, smile"),
        ("char_x, <lora:alice:0.7> standing", "char_x, standing"),
        ("char_x\nsecond line, , x", "char_x, second line, x"),
        ("a BREAK b, {red|green} hat, __pose__", "a, b, red hat, pose"),
        (r"longbow \(weapon\), [soft]", "longbow (weapon), soft"),
        ("char_wren, snake_case__name", "char_wren, snake_case__name"),
    ],
)
def test_a_caption_is_made_plain(written, plain):
    assert plain_caption(written) == plain


def test_metadata_reads_both_spellings_of_licence_and_names_every_mistake(tmp_path):
    file = tmp_path / "metadata.yaml"
    file.write_text(
        "license: CC0-1.0\nlora_tag: char_x\nwaivers:\n- {rule: W203, reason: on purpose}\n", encoding="utf-8"
    )
    metadata = read_metadata(file)
    assert metadata.licence == "CC0-1.0" and metadata.waivers[0].rule == "W203"
    write_metadata(file, metadata)
    assert read_metadata(file) == metadata
    file.write_text("licens: x\nrating: mild\n", encoding="utf-8")
    with pytest.raises(InvalidInput) as caught:
        read_metadata(file)
    assert {each.field for each in caught.value.problems} == {"licens", "rating"}


foreign = st.dictionaries(
    st.text(min_size=1, max_size=12).filter(lambda key: key not in ("file_name", "prompt", "negative_prompt", "trigger", "source")),
    st.recursive(st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(), lambda each: st.lists(each, max_size=3) | st.dictionaries(st.text(), each, max_size=3), max_leaves=6),
    max_size=4,
)  # fmt: skip


@given(more=foreign)
def test_keys_of_other_programs_are_written_again_as_they_were(tmp_path_factory, more):
    file = tmp_path_factory.mktemp("rows") / "captions.jsonl"
    file.write_text(json.dumps({**more, "file_name": "a.png", "prompt": "char_x, one"}) + "\n", "utf-8")
    (row,), problems = parse_captions(file.read_bytes())
    write_captions(file, [row])
    assert (
        problems == []
        and json.loads(file.read_bytes()) == {"file_name": "a.png", "prompt": "char_x, one"} | more
    )


def test_a_key_that_is_nested_too_deep_to_be_written_hinders_nobody():
    (row,), _ = parse_captions(
        b'{"file_name": "a.png", "prompt": "x", "deep": ' + b"[" * 900 + b"]" * 900 + b"}"
    )
    assert row.prompt == "x"


def test_a_repair_keeps_the_keys_of_other_programs(dataset_with_row):
    dir, file = dataset_with_row(
        {"file_name": "0001.png", "prompt": "char_x, (smiling:1.2)", "aesthetic": 6.5}
    )
    repair_dataset(read_dataset(dir))
    (row,) = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    assert row["prompt"] == "char_x, smiling" and row["aesthetic"] == 6.5


@pytest.fixture
def dataset_with_row(workspace):
    def made(row):
        dir = export_pictures(workspace, "x", [Image.new("RGB", (64, 64), "teal")], ["char_x, one"]).dir
        (picture,) = (dir / "images").iterdir()
        picture.rename(dir / "images" / "0001.png")
        (dir / "captions.jsonl").write_text(json.dumps(row) + "\n", "utf-8")
        return dir, dir / "captions.jsonl"

    return made
