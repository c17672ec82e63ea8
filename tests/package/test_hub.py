"""The Hugging Face folder and the Civitai zip are complete, valid and the same each time."""

import json
import zipfile

import pytest
import yaml
from huggingface_hub import ModelCard
from PIL import Image

from kohya_bridge.errors import InvalidInput
from kohya_bridge.package import package_lora
from kohya_bridge.package.hub import hub_card_problems


def package(finished, **options):
    return package_lora(finished.run, lora_dir=finished.lora_dir, **options)


def test_the_hub_folder_is_a_model_repository_that_the_hub_client_reads(validated):
    made = package(validated, hub_folder=True, hub_base_model="org/base-model")
    folder = made.folder / "huggingface"
    card = ModelCard.load(folder / "README.md")
    assert card.data.license == "cc0-1.0"
    assert card.data.base_model == "org/base-model"
    assert card.data.instance_prompt == "char_alice"
    assert "template:sd-lora" in card.data.tags
    assert (folder / made.file.name).read_bytes() == made.file.read_bytes()
    front = yaml.safe_load((folder / "README.md").read_text().split("---\n")[1])
    assert len(front["widget"]) == 6
    for each in front["widget"]:
        assert Image.open(folder / each["output"]["url"]).size == (64, 64)
    assert "step800_s0.7" in front["widget"][0]["output"]["url"]
    assert "<Gallery />" in card.text


def test_a_licence_without_a_hub_id_is_other_with_a_name(finished):
    text = finished.dataset_metadata.read_text().replace(
        "CC0-1.0", "Free for all uses if the atelier is named."
    )
    finished.dataset_metadata.write_text(text)
    made = package(finished, hub_folder=True)
    card = ModelCard.load(made.folder / "huggingface" / "README.md")
    assert (card.data.license, card.data.license_name) == ("other", "licenseref-terms")
    assert card.data.base_model is None


@pytest.mark.parametrize("trigger_prompt", ["a: b # c", "- 'quoted'", "{x}"])
def test_prompts_that_mean_something_in_yaml_stay_text(validated, trigger_prompt):
    manifest = validated.workspace.validation_dir("alice", validated.run.run_id) / "validation_manifest.json"
    manifest.write_text(manifest.read_text().replace("char_alice, portrait", trigger_prompt))
    made = package(validated, hub_folder=True)
    card = ModelCard.load(made.folder / "huggingface" / "README.md")
    assert card.data.widget[0]["text"] == trigger_prompt


def test_a_local_file_name_is_not_passed_off_as_a_model_id(finished):
    with pytest.raises(InvalidInput, match="not the id of a model on Hugging Face"):
        package(finished, hub_folder=True, hub_base_model="base.safetensors")


def test_a_card_whose_picture_is_gone_or_whose_licence_is_unknown_is_found_out(validated):
    folder = package(validated, hub_folder=True).folder / "huggingface"
    readme = folder / "README.md"
    next((folder / "images").iterdir()).unlink()
    readme.write_text(readme.read_text().replace("license: cc0-1.0", "license: cc-zero"))
    assert len(hub_card_problems(readme)) == 2


def test_the_civitai_zip_holds_the_lora_and_pictures_with_their_generation_data(validated):
    made = package(validated, civitai_zip=True)
    file = made.folder / f"{made.file.stem}-civitai.zip"
    first = file.read_bytes()
    with zipfile.ZipFile(file) as archive:
        assert archive.read(made.file.name) == made.file.read_bytes()
        form = json.loads(archive.read("upload.json"))
        pictures = [name for name in archive.namelist() if name.endswith(".png")]
        with archive.open(pictures[0]) as stream:
            assert "Steps: 4, Sampler: euler" in Image.open(stream).info["parameters"]
    assert form["trainedWords"] == ["char_alice"] and form["file"]["SHA256"] == made.sha256.upper()
    assert len(pictures) == 6
    package(validated, civitai_zip=True)
    assert file.read_bytes() == first
