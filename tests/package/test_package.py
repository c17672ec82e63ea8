"""A packaged LoRA keeps its tensors to the byte, carries its provenance, leaks nothing, and is made once."""

import json
import os
import re
import shutil
import zipfile

import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open
from safetensors.numpy import load_file

from kohya_bridge.errors import Conflict, NotFound, Refused
from kohya_bridge.events import EventLog
from kohya_bridge.models.safetensors_header import read_header
from kohya_bridge.package.package import package_lora, packages_of
from kohya_bridge.package.scrub import machine_names
from kohya_bridge.workspace import file_sha256

from .conftest import LORA_METADATA, lora_tensors, write_checkpoint


def package(finished, **options):
    return package_lora(finished.run, lora_dir=finished.lora_dir, **options)


def all_files(*folders):
    return [file for folder in folders for file in sorted(folder.rglob("*")) if file.is_file()]


def test_the_best_checkpoint_lands_where_comfyui_lists_it_under_its_own_hash(finished):
    made = package(finished)
    assert re.fullmatch(r"alice/alice-s00000800-[0-9a-f]{8}\.safetensors", made.name)
    assert made.file == finished.lora_dir / made.name
    assert made.sha256 == file_sha256(made.file) and made.name.endswith(f"{made.sha256[:8]}.safetensors")


def test_tensors_are_untouched_and_every_number_can_be_read_back(finished):
    made = package(finished)
    source = finished.run.dir / finished.run.checkpoint("best")["file"]
    before, after = load_file(source), load_file(made.file)
    assert list(before) == list(after)
    assert all(
        np.array_equal(before[name], after[name]) and before[name].dtype == after[name].dtype
        for name in before
    )
    tail = lambda file: file.read_bytes()[8 + int.from_bytes(file.read_bytes()[:8], "little") :]
    assert tail(source) == tail(made.file)


def test_the_header_holds_modelspec_kohyas_fields_and_the_whole_plan_below_one_mebibyte(validated):
    made = package(validated, author="The Atelier")
    with safe_open(made.file, "np") as opened:
        metadata = opened.metadata()
    assert metadata["modelspec.sai_model_spec"] == "1.0.1"
    assert metadata["modelspec.architecture"] == "stable-diffusion-v1/lora"
    assert metadata["modelspec.trigger_phrase"] == "char_alice"
    assert metadata["modelspec.license"] == "Creative Commons Zero 1.0 (CC0-1.0)"
    assert metadata["modelspec.author"] == "The Atelier"
    assert metadata["modelspec.usage_hint"] == "Put char_alice into the prompt. Strength 0.7."
    assert metadata["modelspec.hash_sha256"] == f"0x{made.tensor_sha256}"
    assert metadata["modelspec.thumbnail"].startswith("data:image/jpeg;base64,")
    assert metadata["ss_network_dim"] == "4"
    assert metadata["sshs_model_hash"] == made.tensor_sha256
    assert json.loads(metadata["wizdroid.plan"]) == validated.run.plan().model_dump(mode="json")
    assert "foreign.key" not in metadata
    assert int.from_bytes(made.file.read_bytes()[:8], "little") < 1 << 20


def test_packaging_twice_gives_the_same_file_and_touches_nothing(finished):
    first = package(finished)
    content, time_of = first.file.read_bytes(), first.file.stat().st_mtime_ns
    second = package(finished)
    assert second.file == first.file and second.file.read_bytes() == content
    assert second.file.stat().st_mtime_ns == time_of
    assert len(list(finished.lora_dir.rglob("*.safetensors"))) == 1


def test_another_checkpoint_is_another_file_and_both_are_on_record(finished):
    package(finished)
    package(finished, which=400)
    assert [record["step"] for record in packages_of(finished.run)] == [400, 800]
    assert len(list(finished.lora_dir.rglob("*.safetensors"))) == 2


def test_no_produced_file_holds_a_path_a_login_or_a_host_name(validated, tmp_path, monkeypatch):
    monkeypatch.setenv("LOGNAME", "zaphodbeeblebrox")
    host = os.uname().nodename
    environment = {"versions": {"torch": "2.13.0"}, "host": host, "python": "/home/somebody/venv/bin/python"}
    validated.run.environment_file.write_text(json.dumps(environment))
    assert "zaphodbeeblebrox" in machine_names()
    made = package(validated, civitai_info=True, hub_folder=True, civitai_zip=True)
    for archive in made.folder.glob("*.zip"):
        zipfile.ZipFile(archive).extractall(made.folder / "unzipped")
    produced = [
        each
        for each in all_files(validated.lora_dir, made.folder)
        if each.is_file() and each.suffix != ".zip"
    ]
    assert len(produced) > 15
    for file in produced:
        data = file.read_bytes().lower()
        for secret in (
            str(tmp_path),
            "/home/",
            "/mnt/",
            r"c:\\users",
            r"c:\users",
            "somebody",
            "zaphodbeeblebrox",
        ):
            assert secret.lower().encode() not in data, f"{secret} in {file.name}"
        if (
            file.suffix != ".png"
        ):  # the host may be called as little as "vm", which compressed pixels may spell
            text = read_header(file).metadata if file.suffix == ".safetensors" else file.read_text()
            assert not re.search(rf"(?<!\w){re.escape(host)}(?!\w)", str(text)), file.name


def test_words_of_captions_with_a_slash_stay_as_they_are(finished):
    metadata = read_header(package(finished).file).metadata
    assert json.loads(metadata["ss_tag_frequency"]) == json.loads(LORA_METADATA["ss_tag_frequency"])
    assert json.loads(metadata["ss_dataset_dirs"]) == {"10_alice": {"n_repeats": 10, "img_count": 20}}
    assert metadata["ss_sd_model_name"] == "base.safetensors"


def test_everything_that_the_release_lacks_is_listed_at_once_and_nothing_is_written(finished):
    finished.dataset_metadata.write_text("licence: CC-BY-4\n")
    with pytest.raises(Refused) as caught:
        package(finished)
    assert caught.value.problem.count("\n  - ") == 3
    for part in ("Did you mean CC-BY-4.0?", "source is not stated", "release_approved is not true"):
        assert part in caught.value.problem
    assert not finished.lora_dir.exists()


def test_terms_in_words_are_a_licence_too(finished):
    text = finished.dataset_metadata.read_text().replace(
        "CC0-1.0", "Free for all uses if the atelier is named."
    )
    finished.dataset_metadata.write_text(text)
    assert read_header(package(finished).file).metadata["modelspec.license"].startswith("Free for all uses")


def test_a_dataset_that_is_gone_is_named(finished):
    shutil.rmtree(finished.workspace.dataset_dir("alice"))
    with pytest.raises(NotFound, match=r"Dataset alice has no metadata\.yaml"):
        package(finished)


def test_a_checkpoint_that_was_changed_after_the_run_is_refused(finished):
    file = finished.run.dir / finished.run.checkpoint("best")["file"]
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(Conflict, match="not the file that the run wrote"):
        package(finished)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused(finished, bad):
    tensors = lora_tensors(1)
    next(iter(tensors.values()))[0, 0] = bad
    log = EventLog(finished.run.events_file)
    write_checkpoint(finished.run, log, 900, tensors)
    log.close()
    with pytest.raises(Refused, match="not finite in 1 tensor"):
        package(finished, which=900)


def test_the_recommended_strength_of_the_grid_reaches_the_card_and_every_sidecar(validated):
    made = package(validated)
    card = made.card_file.read_text()
    assert "**0.7**. At 0.7 pictures come closest" in card
    assert "<lora:" + made.file.stem + ":0.7>" in card
    beside = lambda suffix: json.loads(made.file.with_name(made.file.stem + suffix).read_text())
    assert json.loads(beside(".metadata.json")["usage_tips"])["strength"] == 0.7
    assert beside(".json")["preferred weight"] == 0.7


def test_the_card_says_what_was_measured_on_what_and_what_was_not(finished):
    card = package(finished).card_file.read_text()
    for part in (
        "`char_alice`",
        "Held out: 3 of 30 pictures",
        "Held-out loss 0.12000 (95 % interval over pictures: 0.10000 to 0.30000)",
        "PSNR of the one-step prediction on the held-out pictures: 21.50 dB. It is measured in the autoencoder's latents",
        "Creative Commons Zero 1.0 (CC0-1.0)",
        "Lowest held-out loss, 0.12000.",
        "The strength was not measured.",
        "python -m kohya_bridge reproduce alice-s00000800-",
        "b" * 64,
    ):
        assert part in card


def test_the_preview_can_be_opened_and_carries_its_recipe(validated):
    made = package(validated)
    with Image.open(made.file.with_name(made.file.stem + ".preview.png")) as picture:
        assert picture.size == (64, 64)
        assert "char_alice, portrait" in picture.info["parameters"]
        assert json.loads(picture.info["prompt"]) == {"1": {"inputs": {"path": "x.png"}}}


def test_what_a_lora_manager_or_a_person_wrote_into_a_sidecar_stays(finished):
    made = package(finished)
    file = made.file.with_name(made.file.stem + ".metadata.json")
    data = json.loads(file.read_text())
    data |= {
        "favorite": True,
        "notes": "mine",
        "file_path": "/abs/x.safetensors",
        "sha256": "0" * 64,
        "extra": 1,
    }
    file.write_text(json.dumps(data))
    package(finished)
    again = json.loads(file.read_text())
    assert (again["favorite"], again["notes"], again["extra"]) == (True, "mine", 1)
    assert again["file_path"] == "/abs/x.safetensors"
    assert again["sha256"] == made.sha256


def test_no_civitai_id_is_invented(finished):
    made = package(finished, civitai_info=True)
    info = json.loads(made.file.with_name(made.file.stem + ".civitai.info").read_text())
    assert "id" not in info and "modelId" not in info
    assert info["files"][0]["hashes"]["AutoV2"] == made.sha256[:10].upper()


def test_a_header_that_would_be_too_large_gives_up_tag_frequencies_and_says_so(finished):
    huge = dict(
        LORA_METADATA, ss_tag_frequency=json.dumps({"10_alice": {f"tag {n}": n for n in range(80_000)}})
    )
    log = EventLog(finished.run.events_file)
    write_checkpoint(finished.run, log, 900, lora_tensors(1), huge)
    log.close()
    made = package(finished, which=900)
    assert made.left_out == ("ss_tag_frequency",)
    assert int.from_bytes(made.file.read_bytes()[:8], "little") < 1 << 20


def test_a_full_disk_leaves_nothing_behind_and_is_said_plainly(finished, tmp_path):
    blocked = tmp_path / "blocked"
    blocked.write_text("a file where the folder should be")
    with pytest.raises(Exception, match="could not be written"):
        package_lora(finished.run, lora_dir=blocked)
    assert blocked.read_text().startswith("a file")
