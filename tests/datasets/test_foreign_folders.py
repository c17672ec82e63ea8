"""A folder from elsewhere comes in whole, or every file that does not is named with its reason; text comes in right, or not at all."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms

from kohya_bridge.dataset import read_dataset
from kohya_bridge.datasets.dataset_metadata import DatasetMetadata, write_metadata
from kohya_bridge.datasets.dataset_transfer import import_folder
from kohya_bridge.datasets.decoding import NoText, control_letters, decoded
from kohya_bridge.datasets.pictures import as_trained
from kohya_bridge.errors import InvalidInput
from kohya_bridge.lint.repair import repair_dataset

SHADES = iter(range(1, 10_000))


def picture(file, **options):
    file.parent.mkdir(parents=True, exist_ok=True)
    shade = next(SHADES)
    Image.new("RGB", (24, 24), (shade % 256, shade // 256, 50)).save(file, **options)
    return file


def captioned(imported):
    """Caption by the picture's path in the source."""
    by_name = {item.name: item.caption for item in imported.dataset.items}
    return {shown: by_name[name] for shown, name in imported.names.items()}


# --- layouts --------------------------------------------------------------------------------------------------------------


def test_of_a_kohya_project_the_one_concept_comes_in_and_all_else_is_named(workspace, source):
    for number in range(3):
        picture(source / f"img/10_zed person/{number}.png")
        picture(source / f"reg/1_person/{number}.png")
        picture(source / f"model/sample/zed_{number}.png")
    (source / "model/zed.safetensors").write_bytes(b"x")
    (source / "img/10_zed person/0.txt").write_text("zed, smiling", encoding="utf-8")
    (picture(source / "img/10_zed person/3.png")).with_suffix(".txt").write_bytes("девушка".encode("koi8-r"))
    imported = import_folder(workspace, source, "zed", metadata=DatasetMetadata(lora_tag="zed"))
    assert imported.kind == "kohya" and imported.repeats == 10
    assert captioned(imported) == {
        "img/10_zed person/0.png": "zed, smiling",
        "img/10_zed person/1.png": "zed person",
        "img/10_zed person/2.png": "zed person",
        "img/10_zed person/3.png": "",
    }
    assert (
        "2 without a caption: the words of their folder are it, as sd-scripts trains them." in imported.notes
    )
    reasons = dict(imported.passed_over)
    assert len(reasons) == 8
    assert "encoding that is not known" in reasons["img/10_zed person/3.txt"]
    assert "regularisation" in reasons["reg/1_person/0.png"]
    assert "sd-scripts does not look" in reasons["model/sample/zed_0.png"]
    assert "model" in reasons["model/zed.safetensors"]


@pytest.mark.parametrize(("slug", "taken"), [("zoe", "5_zoe person"), ("somebody", "10_zed person")])
def test_of_several_concepts_the_named_one_comes_in_else_the_largest(workspace, source, slug, taken):
    for number in range(3):
        picture(source / f"10_zed person/{number}.png")
        picture(source / f"5_zoe person/{number}.png")
    imported = import_folder(workspace, source, slug)
    assert {name.split("/")[0] for name in imported.names} == {taken}
    assert (
        all("another concept" in reason for _, reason in imported.passed_over)
        and len(imported.passed_over) == 3
    )


def test_folders_of_one_concept_come_in_together(workspace, source):
    picture(source / "10_zed person/a.png")
    picture(source / "3_zed person closeup/b.png")
    assert len(import_folder(workspace, source, "zed").names) == 2


def test_hugging_face_tables_are_found_at_any_depth_and_in_csv(workspace, source):
    for name in ("a.png", "train/a.png", "test/b.png"):
        picture(source / name)
    (source / "train/metadata.jsonl").write_text(
        '{"file_name": "a.png", "text": "in train"}\n', encoding="utf-8"
    )
    (source / "test/metadata.csv").write_text('file_name,text\nb.png,"in test, quoted"\n', encoding="utf-8")
    (source / "metadata.jsonl").write_text(
        '{"file_name": "a.png", "text": "at the root"}\n', encoding="utf-8"
    )
    assert captioned(import_folder(workspace, source, "x")) == {
        "a.png": "at the root", "train/a.png": "in train", "test/b.png": "in test, quoted",
    }  # fmt: skip


def test_a_row_names_one_picture_and_no_other_of_its_name(workspace, source):
    picture(source / "one/a.png")
    picture(source / "two/a.png")
    (source / "metadata.jsonl").write_text(
        '{"file_name": "one/a.png", "text": "the first"}\n', encoding="utf-8"
    )
    assert captioned(import_folder(workspace, source, "x")) == {"one/a.png": "the first", "two/a.png": ""}


def test_rows_that_name_no_picture_are_told(workspace, source):
    picture(source / "a.png")
    rows = [{"file_name": "a.png", "text": "here"}, {"file_name": "gone.png", "text": "there"}]
    (source / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    imported = import_folder(workspace, source, "x")
    assert imported.notes == ("metadata.jsonl: 1 row names no picture here, such as 'gone.png'.",)


@pytest.mark.parametrize(
    "key", ["C:\\data\\img\\a.png", "/home/someone/img/a.png", "a", "./a.png", "img/a.png", "C:/x/a"]
)
def test_paths_of_another_machine_in_an_in_json_find_their_picture(workspace, source, key):
    picture(source / "a.png")
    (source / "meta_lat.json").write_text(
        json.dumps({key: {"caption": "found", "tags": "one, two"}}), encoding="utf-8"
    )
    assert captioned(import_folder(workspace, source, "x")) == {"a.png": "found, one, two"}


@pytest.mark.parametrize(
    "name", ["a.txt", "a.TXT", "a.Caption", "a.cap", "a.png.txt", "A.txt", "a.PNG.caption"]
)
def test_sidecar_files_are_found_in_any_spelling(workspace, source, name):
    picture(source / "a.png")
    (source / name).write_text("beside it", encoding="utf-8")
    imported = import_folder(workspace, source, "x")
    assert captioned(imported) == {"a.png": "beside it"} and imported.passed_over == ()


def test_every_file_that_is_not_taken_is_named_with_its_reason(workspace, source):
    picture(source / "a.png")
    others = {
        "b.psd": "picture format", "notes.txt": "no picture has that name", "c.mp4": "film", "d.npz": "cache", "e.zip": "archive", ".hidden.png": "hidden",
        "sub/f.svg": "picture format", "g.md": "not a picture", "a-masklabel.png": "mask", "table.csv": "lists no captions", "broken.json": "not valid JSON",
    }  # fmt: skip
    (source / "sub").mkdir()
    for name in others:
        (source / name).write_bytes(b"{" if name.endswith("json") else b"x")
    imported = import_folder(workspace, source, "x")
    told = dict(imported.passed_over)
    assert told.keys() == others.keys()
    for name, why in others.items():
        assert why in told[name], name
        assert any(name in remark for remark in imported.remarks())


def test_a_source_that_yields_nothing_says_why_for_each_kind_of_file(workspace, source):
    for name in ("a.psd", "b.psd", "c.mp4", "d.txt"):
        (source / name).write_bytes(b"x")
    with pytest.raises(InvalidInput) as refused:
        import_folder(workspace, source, "x")
    assert "a.psd, b.psd: passed over, a picture format that is not read here" in refused.value.problem
    assert "c.mp4: passed over, a film" in refused.value.problem and "d.txt" in refused.value.problem


def test_a_dataset_of_this_program_comes_in_with_its_papers_and_without_masks_and_originals(
    workspace, source
):
    picture(source / "images/a.png")
    picture(source / "masks/a.png")
    picture(source / "originals/20260101-000000-01/images/a.png")
    (source / "captions.jsonl").write_text(
        '{"file_name": "a.png", "prompt": "char_x, one", "negative_prompt": "blurry"}\n', encoding="utf-8"
    )
    write_metadata(
        source / "metadata.yaml", DatasetMetadata(lora_tag="char_x", licence="CC0-1.0", slug="old")
    )
    imported = import_folder(workspace, source, "new")
    assert captioned(imported) == {"images/a.png": "char_x, one"}
    (item,) = imported.dataset.items
    assert item.row.negative_prompt == "blurry"
    assert imported.dataset.metadata.licence == "CC0-1.0" and imported.dataset.metadata.slug == "new"
    assert {name.split("/")[0] for name, _ in imported.passed_over} == {"masks", "originals"}


def test_what_is_typed_outranks_the_sources_papers_and_the_trigger_comes_first(workspace, source):
    picture(source / "images/a.png").with_suffix(".txt")
    (source / "captions.jsonl").write_text('{"file_name": "a.png", "prompt": "smiling"}\n', encoding="utf-8")
    write_metadata(source / "metadata.yaml", DatasetMetadata(lora_tag="char_old", licence="CC0-1.0"))
    imported = import_folder(workspace, source, "x", metadata=DatasetMetadata(lora_tag="char_new"))
    assert captioned(imported) == {"images/a.png": "char_new, smiling"}
    assert imported.dataset.metadata.licence == "CC0-1.0"


def test_what_stands_in_the_dataset_stays_but_for_an_approval_that_is_not_given_again(workspace, source):
    picture(source / "a.png")
    given = DatasetMetadata(lora_tag="char_x", notes="a word", release_approved=True)
    import_folder(workspace, source, "x", metadata=given)
    assert import_folder(workspace, source, "x").dataset.metadata.release_approved
    again = import_folder(
        workspace, source, "x", metadata=DatasetMetadata(licence="CC0-1.0")
    ).dataset.metadata
    assert (again.notes, again.licence, again.release_approved) == ("a word", "CC0-1.0", False)


def test_damaged_papers_are_replaced_only_by_what_says_something(workspace, source):
    picture(source / "a.png")
    import_folder(workspace, source, "x")
    papers = workspace.dataset_dir("x") / "metadata.yaml"
    papers.write_text("licence: [", encoding="utf-8")
    import_folder(workspace, source, "x", metadata=DatasetMetadata())
    assert papers.read_text("utf-8") == "licence: ["
    import_folder(workspace, source, "x", metadata=DatasetMetadata(licence="CC0-1.0"))
    assert "CC0-1.0" in papers.read_text("utf-8")


def test_replacing_moves_the_old_pictures_to_the_trash(workspace, source, tmp_path):
    picture(source / "a.png")
    import_folder(workspace, source, "x")
    other = tmp_path / "other"
    picture(other / "b.png")
    imported = import_folder(workspace, other, "x", mode="replace")
    assert len(imported.dataset.items) == 1 and list(imported.names) == ["b.png"]
    assert list(workspace.trash_dir.rglob("*.png"))


# --- pictures as a person sees them ---------------------------------------------------------------------------------------


def test_sixteen_bits_are_trained_as_they_look_on_every_road(workspace, source, tmp_path):
    ramp = np.linspace(0, 65535, 32 * 32).reshape(32, 32).astype(np.uint16)
    Image.fromarray(ramp).save(source / "grey.png")
    seen = np.asarray(as_trained(source / "grey.png"), dtype=int)
    assert np.abs(seen[..., 0] - ramp / 257).max() <= 1
    imported = import_folder(workspace, source, "x")
    (item,) = imported.dataset.items
    assert np.abs(np.asarray(as_trained(item.file), dtype=int)[..., 0] - ramp / 257).max() <= 1
    assert "8-bit sRGB" in imported.notes[0]


def test_another_colour_space_comes_in_as_it_looks(workspace, source):
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    Image.new("LAB", (24, 24), (120, 128, 128)).save(source / "a.tiff", icc_profile=lab)
    (item,) = import_folder(workspace, source, "x").dataset.items
    with Image.open(item.file) as stored:
        assert stored.mode == "RGB" and "icc_profile" not in stored.info


def test_a_phones_pictures_are_read(workspace, source):
    heif = pytest.importorskip("pillow_heif")
    heif.register_heif_opener()
    Image.new("RGB", (64, 48), (200, 30, 30)).save(source / "IMG_0001.HEIC")
    (item,) = import_folder(workspace, source, "x").dataset.items
    red, green, _ = as_trained(item.file).getpixel((5, 5))
    assert item.file.suffix == ".png" and red > 180 and green < 60


# --- encodings ------------------------------------------------------------------------------------------------------------

READ = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252", "latin-1")
REFUSED = {
    "koi8-r": "девушка улыбается, рыжие волосы", "cp1251": "девушка улыбается", "cp866": "девушка с книгой", "shift_jis": "女の子、赤い帽子",
    "euc_jp": "女の子、赤い帽子", "iso2022_jp": "女の子、赤い帽子", "gbk": "红色帽子，微笑", "big5": "紅色帽子，微笑", "euc_kr": "빨간 모자를 쓴 소녀", "cp1255": "ילדה עם כובע",
    "cp1253": "κορίτσι με καπέλο", "cp874": "เด็กผู้หญิง",
}  # fmt: skip
WESTERN_WORDS = (
    "café",
    "naïve",
    "Übung",
    "à la carte",
    "señora",
    "œuvre",
    "crème brûlée",
    "façade",
    "Zoë Müller",
    "it’s",
    "“quoted”",
    "– dash",
    "été",
    "Ísland",
)


@pytest.mark.parametrize("encoding", READ)
@pytest.mark.parametrize("text", ["char_x, smiling, red hat", "char_x, café, señora", "char_x"])
def test_the_encodings_that_are_read(encoding, text):
    assert decoded(text.encode(encoding)).text == text


@pytest.mark.parametrize("word", WESTERN_WORDS)
def test_words_of_western_europe_are_read_in_windows_1252_with_a_note(word):
    written = decoded(f"char_x, {word}, smiling".encode("cp1252"))
    assert written.text == f"char_x, {word}, smiling" and "Windows-1252" in written.note


@pytest.mark.parametrize("encoding", REFUSED)
def test_every_other_encoding_is_refused(encoding):
    for text in (
        REFUSED[encoding],
        f"char_x, {REFUSED[encoding]}",
        f"char_x, smiling, {REFUSED[encoding].split()[0]}",
    ):
        with pytest.raises(NoText):
            decoded(text.encode(encoding))


def generated_captions():
    rng = random.Random(20261130)
    plain = ("char_x", "smiling", "red hat", "standing in the rain", "1girl", "(a:1.2)", "close-up")
    foreign = {
        **{each: WESTERN_WORDS for each in READ},
        **{encoding: tuple(text.replace("、", " ").replace("，", " ").replace(",", " ").split()) for encoding, text in REFUSED.items()},
    }  # fmt: skip
    for number in range(2400):
        encoding = sorted(foreign)[number % len(foreign)]
        words = rng.sample(plain, rng.randint(0, 3)) + rng.choices(foreign[encoding], k=rng.randint(1, 3))
        rng.shuffle(words)
        yield encoding, ", ".join(words)


def test_of_thousands_of_captions_in_twenty_encodings_none_comes_in_as_garbage_without_a_word():
    read = refused = 0
    for encoding, text in generated_captions():
        try:
            raw = text.encode(encoding)
        except UnicodeEncodeError:
            continue
        try:
            written = decoded(raw)
        except NoText:
            refused += 1
            assert encoding in REFUSED or encoding in ("cp1252", "latin-1"), (encoding, text)
            continue
        read += 1
        assert written.text == text or written.note, (encoding, text, written.text)
        if encoding in READ and encoding not in ("cp1252", "latin-1"):
            assert written.text == text
    assert read > 900 and refused > 1000


@given(st.binary(max_size=60))
def test_whatever_the_bytes_what_is_read_holds_no_control_letter(raw):
    try:
        assert not control_letters(decoded(raw).text)
    except NoText as error:
        assert "UTF-8" in str(error)


def test_a_caption_in_an_unknown_encoding_is_refused_by_name_and_no_repair_hides_it(workspace, source):
    picture(source / "a.png")
    (source / "a.txt").write_bytes("девушка улыбается".encode("koi8-r"))
    imported = import_folder(workspace, source, "x")
    assert captioned(imported) == {"a.png": ""}
    assert dict(imported.passed_over)["a.txt"].startswith("it is in an encoding that is not known")


@pytest.mark.parametrize(
    ("raw", "mended"),
    [
        ("char_x, cat".encode("utf-16"), "char_x, cat"),
        ("char_x, café".encode("cp1252"), "char_x, café"),
        ("девушка".encode("koi8-r"), None),
        (b"char_x\x00\x01\xff", None),
    ],
)
def test_hand_placed_captions_are_mended_where_their_encoding_is_known_and_else_left(workspace, raw, mended):
    dir = workspace.dataset_dir("x")
    picture(dir / "images/a.png")
    picture(dir / "images/b.png").with_suffix(".txt").write_text(
        "char_x, fine\nsecond line", encoding="utf-8"
    )
    (dir / "images/a.txt").write_bytes(raw)
    write_metadata(dir / "metadata.yaml", DatasetMetadata(lora_tag="char_x"))
    repaired = repair_dataset(read_dataset(dir)).dataset
    by_name = {item.name: item for item in repaired.items}
    if mended is None:
        assert (dir / "images/a.txt").read_bytes() == raw and by_name["a.png"].source == "images/a.txt"
        assert any(problem.kind == "caption_not_utf8" for problem in repaired.problems)
    else:
        assert by_name["a.png"].caption == mended
    assert by_name["b.png"].caption == "char_x, fine, second line"


def test_a_picture_that_a_tag_turns_comes_in_upright(workspace, source):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 24), (200, 30, 30)).save(source / "a.jpg", exif=exif)
    imported = import_folder(workspace, source, "x")
    (item,) = imported.dataset.items
    with Image.open(item.file) as stored:
        assert stored.size == (24, 40) and stored.getexif().get(0x0112, 1) == 1
    assert "turned" in imported.notes[0]
