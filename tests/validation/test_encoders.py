"""An image encoder is found on the machine, works in a child process, and its failure costs no grid."""

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image, ImageDraw

from kohya_bridge.errors import Unavailable
from kohya_bridge.validation.encoders import EFFICIENTNET, ChildEncoder, find_encoder
from kohya_bridge.validation.likeness import ThumbnailEncoder
from kohya_bridge.workspace import Workspace


def face(hair, *, shift=0, ground="white"):
    picture = Image.new("RGB", (96, 128), ground)
    draw = ImageDraw.Draw(picture)
    draw.ellipse((20 + shift, 20, 76 + shift, 100), fill=(230, 190, 160))
    draw.pieslice((16 + shift, 10, 80 + shift, 90), 180, 360, fill=hair)
    for x in (36, 56):
        draw.ellipse((x + shift, 55, x + 6 + shift, 62), fill="black")
    return picture


def house():
    """Where the face is, in its colours, but a house."""
    picture = Image.new("RGB", (96, 128), "white")
    draw = ImageDraw.Draw(picture)
    draw.rectangle((20, 50, 76, 100), fill=(230, 190, 160))
    draw.polygon((14, 50, 48, 10, 82, 50), fill="red")
    draw.rectangle((40, 75, 56, 100), fill="black")
    return picture


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory):
    """A tiny CLIP with seeded weights, as transformers saves it."""
    torch = pytest.importorskip("torch")
    from transformers import CLIPConfig, CLIPModel

    torch.manual_seed(0)
    layers = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = CLIPConfig(
        text_config=layers, vision_config={**layers, "image_size": 32, "patch_size": 8}, projection_dim=16
    )
    folder = tmp_path_factory.mktemp("workspace") / "encoders" / "tiny-clip"
    CLIPModel(config).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(
        json.dumps({"image_mean": [0.5] * 3, "image_std": [0.5] * 3})
    )
    return folder


@pytest.mark.torch
def test_a_model_folder_in_the_workspace_is_found_first_and_gives_unit_vectors(clip_folder):
    encoder = find_encoder(Workspace.at(clip_folder.parent.parent))
    assert encoder.name == "tiny-clip"
    vectors = encoder.embed([face("red"), face("blue"), face("red")])
    assert vectors.shape == (3, 32)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert np.allclose(vectors[0], vectors[2], atol=1e-5) and not np.allclose(
        vectors[0], vectors[1], atol=1e-5
    )


@pytest.mark.torch
def test_what_was_seen_once_is_not_looked_at_again(clip_folder, tmp_path):
    pictures = [face("red"), face("blue")]
    seen = ChildEncoder("tiny-clip", str(clip_folder), cache_dir=tmp_path).embed(pictures)
    unable = ChildEncoder("tiny-clip", "/nowhere", cache_dir=tmp_path)
    assert np.array_equal(unable.embed(pictures[::-1]), seen[::-1])
    with pytest.raises(Unavailable):
        unable.embed([*pictures, house()])


@pytest.mark.torch
def test_efficientnet_knows_the_same_face_on_another_ground_better_than_a_thumbnail_does(tmp_path):
    encoder = find_encoder(Workspace.at(tmp_path))
    if encoder is None:
        pytest.skip("efficientnet-lite0 is not installed")
    assert encoder.name == EFFICIENTNET
    pictures = [face("red"), face("red", shift=12, ground="navy"), house()]

    def margin(eye):
        vectors = eye.embed(pictures)
        return float(vectors[0] @ vectors[1] - vectors[0] @ vectors[2])

    assert margin(encoder) > 0 > margin(ThumbnailEncoder())


def test_a_folder_that_holds_no_model_is_said_so(tmp_path):
    (tmp_path / "encoders" / "broken").mkdir(parents=True)
    (tmp_path / "encoders" / "broken" / "config.json").write_text("{}")
    encoder = find_encoder(Workspace.at(tmp_path))
    with pytest.raises(Unavailable, match="image encoder broken could not be used"):
        encoder.embed([face("red")])


def test_no_pictures_need_no_child():
    assert ChildEncoder("x", "/nowhere").embed([]).shape[0] == 0


def test_judging_imports_no_torch():
    code = "import sys, kohya_bridge.validation.validate, kohya_bridge.package; print('torch' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "False"
