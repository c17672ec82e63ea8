"""Pictures come in from what people have, and go out to what other tools read, without losing a caption."""

import json
import os

import pytest
from PIL import Image

from kohya_bridge.captions import CaptionRow
from kohya_bridge.dataset import DatasetMetadata, export_pictures, find_dataset
from kohya_bridge.datasets.dataset_transfer import EXPORT_FORMATS, export_dataset, import_folder
from kohya_bridge.errors import Conflict, InvalidInput, NotFound


def save(file, shade, **options):
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (24, 24), (shade, 0, 50)).save(file, **options)
    return file


def captions(imported):
    return sorted(item.caption for item in imported.dataset.items)


def test_kohya_folders_come_in_with_captions_and_their_repeats(workspace, source):
    save(source / "10_char_x woman" / "a.png", 1).with_suffix(".caption").write_text(
        "char_x, a", encoding="utf-8"
    )
    save(source / "4_char_x closeup" / "b.jpg", 90).with_suffix(".txt").write_text(
        "char_x, b", encoding="utf-8"
    )
    imported = import_folder(workspace, source, "x")
    assert imported.kind == "kohya" and imported.repeats == 10
    assert captions(imported) == ["char_x, a", "char_x, b"]


def test_a_hugging_face_folder_comes_in(workspace, source):
    save(source / "train" / "a.png", 1)
    save(source / "b.png", 2)
    rows = [{"file_name": "train/a.png", "text": "first"}, {"file_name": "b.png", "text": "second"}]
    (source / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\nbroken", encoding="utf-8")
    imported = import_folder(workspace, source, "x")
    assert imported.kind == "huggingface" and captions(imported) == ["first", "second"]
    assert any("line 3" in note for note in imported.notes)


def test_an_sd_scripts_metadata_file_comes_in(workspace, source):
    for shade, name in ((1, "a.png"), (2, "b.png")):
        save(source / name, shade)
    table = {"a": {"caption": "first", "tags": "red, blue"}, str(source / "b.png"): {"caption": "second"}}
    (source / "meta.json").write_text(json.dumps(table), encoding="utf-8")
    assert captions(import_folder(workspace, source, "x")) == ["first, red, blue", "second"]


def test_bytes_are_copied_as_they_are_where_a_trainer_can_read_them(workspace, source):
    file = save(source / "a.Jpg", 120, format="JPEG", quality=80)
    imported = import_folder(workspace, source, "x")
    (item,) = imported.dataset.items
    assert item.file.read_bytes() == file.read_bytes() and item.file.suffix == ".jpg"


def test_what_no_trainer_reads_is_converted_and_what_nobody_reads_is_left_out_with_a_note(workspace, source):
    save(source / "a.gif", 1)
    save(source / "b.tiff", 200)
    (source / "c.png").write_bytes(b"not a picture")
    imported = import_folder(workspace, source, "x")
    assert {item.file.suffix for item in imported.dataset.items} == {".png"} and len(
        imported.dataset.items
    ) == 2
    assert [note.split(":")[0] for note in imported.notes] == ["a.gif", "b.tiff", "c.png"]


def test_importing_twice_copies_nothing_twice_and_keeps_curated_captions(workspace, source):
    save(source / "a.png", 1).with_suffix(".txt").write_text("from file", encoding="utf-8")
    import_folder(workspace, source, "x")
    (source / "a.txt").write_text("changed later", encoding="utf-8")
    again = import_folder(workspace, source, "x")
    assert captions(again) == ["from file"] and "the same picture" in again.notes[0]


def test_a_caption_in_another_encoding_comes_in_readable_with_a_note(workspace, source):
    save(source / "a.png", 1).with_suffix(".txt").write_bytes("café".encode("cp1252"))
    imported = import_folder(workspace, source, "x")
    assert captions(imported) == ["café"] and "Windows-1252" in imported.notes[0]


def test_a_link_out_of_the_folder_is_not_followed(workspace, source, tmp_path):
    secret = save(tmp_path / "secret.png", 7)
    save(source / "a.png", 1)
    os.symlink(secret, source / "b.png")
    imported = import_folder(workspace, source, "x")
    assert len(imported.dataset.items) == 1
    assert imported.passed_over == (("b.png", "a link that leads out of the folder; it was not followed"),)


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        ("a.txt", "the secret"),
        ("a.caption", "the secret"),
        ("captions.jsonl", '{"file_name": "a.png", "prompt": "the secret"}'),
        ("metadata.jsonl", '{"file_name": "a.png", "text": "the secret"}'),
        ("images/captions.jsonl", '{"file_name": "a.png", "prompt": "the secret"}'),
        ("meta_cap.json", '{"a": {"caption": "the secret"}}'),
        ("images", ""),
        ("10_more", ""),
    ],
)
def test_whatever_is_a_link_out_of_the_folder_is_passed_over_and_named(
    workspace, source, tmp_path, name, secret
):
    outside = tmp_path / "outside"
    outside.mkdir()
    save(outside / "theirs.png", 9).with_suffix(".txt").write_text("the secret", encoding="utf-8")
    (outside / "told").write_text(secret, encoding="utf-8")
    save(source / "a.png", 1)
    (source / name).parent.mkdir(exist_ok=True)
    (source / name).symlink_to(outside / "told" if secret else outside)
    imported = import_folder(workspace, source, "x")
    assert captions(imported) == [""] and any(name in remark for remark in imported.remarks())


def test_a_link_to_another_place_of_the_same_folder_is_followed(workspace, source):
    save(source / "a.png", 1)
    (source / "words.md").write_text("from beside it", encoding="utf-8")
    (source / "a.txt").symlink_to("words.md")
    assert captions(import_folder(workspace, source, "x")) == ["from beside it"]


def test_a_missing_or_empty_folder_is_refused(workspace, source):
    with pytest.raises(NotFound):
        import_folder(workspace, source / "nothing", "x")
    with pytest.raises(InvalidInput, match="no picture"):
        import_folder(workspace, source, "x")


@pytest.mark.parametrize("format", EXPORT_FORMATS)
def test_what_goes_out_in_any_format_comes_back_the_same(workspace, tmp_path, format):
    pictures = [Image.new("RGB", (24, 24), (shade, 0, 0)) for shade in (10, 20)]
    dataset = export_pictures(
        workspace, "x", pictures, [CaptionRow("", "char_x, é"), CaptionRow("", "char_x, b")],
        metadata=DatasetMetadata(lora_tag="char_x", class_word="woman"),
    )  # fmt: skip
    written = export_dataset(dataset, tmp_path / "out", format=format, repeats=5)
    assert all(file.is_file() for file in written)
    imported = import_folder(workspace, tmp_path / "out", "y")
    assert captions(imported) == ["char_x, b", "char_x, é"] and imported.kind in (format, "sidecars")
    assert {i.file.read_bytes() for i in imported.dataset.items} == {
        i.file.read_bytes() for i in dataset.items
    }
    if format == "kohya":
        assert (tmp_path / "out" / "5_char_x woman").is_dir() and imported.repeats == 5


def test_exporting_into_a_folder_with_content_is_refused(workspace, tmp_path):
    export_pictures(workspace, "x", [Image.new("RGB", (24, 24))], ["a"])
    with pytest.raises(Conflict):
        export_dataset(find_dataset(workspace, "x"), tmp_path, format="flat")


@pytest.mark.parametrize("mode", ["append", "replace"])
def test_where_no_picture_can_be_read_nothing_is_put_in_the_place_of_what_is_there(workspace, source, mode):
    save(source / "a.png", 1)
    import_folder(workspace, source, "x")
    (source / "a.png").write_bytes(b"no picture at all")
    with pytest.raises(InvalidInput, match=r"No picture of .* could be taken\. a\.png: left out"):
        import_folder(workspace, source, "x", mode=mode)
    assert len(find_dataset(workspace, "x").items) == 1
