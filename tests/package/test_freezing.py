"""A published LoRA freezes the version of its dataset, and refuses one that is not what was trained on."""

import json

import pytest
from PIL import Image

from kohya_bridge.dataset import dataset_digest, export_pictures
from kohya_bridge.datasets.dataset_lock import read_lock
from kohya_bridge.errors import Refused
from kohya_bridge.package import package_lora


@pytest.fixture
def with_pictures(finished):
    """The finished run, with the dataset that its plan names. The run keeps its folder's name."""
    dataset = export_pictures(finished.workspace, "alice", [Image.new("RGB", (8, 8))], ["char_alice"])
    plan = finished.run.plan()
    facts = plan.dataset.model_copy(update={"digest": dataset_digest(dataset)})
    finished.run.plan_file.write_text(plan.model_copy(update={"dataset": facts}).to_yaml())
    return finished, dataset


def test_publishing_takes_the_dataset_down_as_published_by_this_lora_once(with_pictures):
    finished, dataset = with_pictures
    for _ in range(2):
        made = package_lora(finished.run, lora_dir=finished.lora_dir, published=True)
    (version,) = read_lock(dataset.dir).versions
    assert (version.reason, version.name, version.digest) == ("published", made.name, dataset_digest(dataset))


def test_packaging_without_publishing_freezes_nothing_and_a_published_record_stays_published(with_pictures):
    finished, dataset = with_pictures
    package_lora(finished.run, lora_dir=finished.lora_dir)
    assert read_lock(dataset.dir).published() is None
    package_lora(finished.run, lora_dir=finished.lora_dir, published=True)
    made = package_lora(finished.run, lora_dir=finished.lora_dir)
    assert json.loads((made.folder / "package.json").read_text())["published"] is True


def test_a_dataset_that_changed_since_cannot_be_frozen_and_nothing_is_written(with_pictures):
    finished, dataset = with_pictures
    dataset.items[0].file.unlink()
    with pytest.raises(Refused, match="has changed since this LoRA was trained"):
        package_lora(finished.run, lora_dir=finished.lora_dir, published=True)
    assert not finished.lora_dir.exists()
    package_lora(finished.run, lora_dir=finished.lora_dir)
