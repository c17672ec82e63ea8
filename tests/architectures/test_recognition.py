"""A model is recognised by its header, whichever program saved it and in whichever format, and never taken for another."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kohya_bridge.architectures import ARCHITECTURES, recognise
from kohya_bridge.architectures.relatives import RELATIVES, relative
from kohya_bridge.errors import InvalidInput
from kohya_bridge.models.base_models import PREFIXES, inspect_base_model, look
from kohya_bridge.models.safetensors_header import SafetensorsHeader, TensorInfo
from tests.architectures import golden

SHOWN = [f"{file} is {family}" for family, file, _ in golden.FAMILIES]


def header_of(tensors, name="model.safetensors", metadata=None):
    infos = {each: TensorInfo("BF16", tuple(size), 0, 0) for each, size in tensors.items()}
    return SafetensorsHeader(golden.FILE.with_name(name), infos, metadata or {})


@pytest.mark.parametrize(("family", "file", "tensors"), golden.FAMILIES, ids=SHOWN)
def test_a_familys_own_header_is_recognised(family, file, tensors):
    found, _ = look(header_of(tensors, f"{file}.safetensors"))
    assert found is ARCHITECTURES[family]


@pytest.mark.parametrize(("family", "file", "tensors"), golden.FAMILIES, ids=SHOWN)
def test_it_bears_no_other_familys_marks_but_those_of_one_that_only_its_name_tells_apart(
    family, file, tensors
):
    bearing = {each.name for each in ARCHITECTURES.values() if each.bears(tensors)}
    alike = {each.name for each in ARCHITECTURES.values() if each.marks == ARCHITECTURES[family].marks}
    assert bearing == alike
    assert relative(tensors) is None


def test_every_family_has_a_golden_header_and_every_header_a_family():
    told = {family for family, _, _ in golden.FAMILIES}
    assert told == {each.name for each in ARCHITECTURES.values() if not each.untried}


@pytest.mark.parametrize(("title", "tensors"), golden.RELATIVES, ids=[title for title, _ in golden.RELATIVES])
def test_a_relative_is_no_family(title, tensors):
    assert relative(tensors).title == title
    assert recognise(tensors) is None


def fp8_scaled(tensors):
    """As ComfyUI's scaled fp8 files: a scale beside each matrix and a marker."""
    scales = {f"{name}_scale": () for name, size in tensors.items() if len(size) == 2}
    return {**tensors, **scales, "scaled_fp8": (0,)}


def comfy_quant(tensors):
    """As ComfyUI's newer files: scales and a description of the format beside each matrix."""
    matrices = [name.removesuffix(".weight") for name, size in tensors.items() if len(size) == 2]
    more = {f"{name}.{what}": (1,) for name in matrices for what in ("comfy_quant", "weight_scale")}
    return {**tensors, **more}


def packed(tensors):
    """As four-bit formats: two numbers to a byte along the last axis."""
    halved = {
        name: (*size[:-1], -(-size[-1] // 2)) if len(size) == 2 else size for name, size in tensors.items()
    }
    return {**halved, **{f"{name}_scale_2": () for name in halved}}


def with_other_parts(tensors):
    """As in a whole checkpoint: text encoders and VAE beside the model."""
    parts = {
        f"text_encoders.qwen3_4b.transformer.model.layers.{n}.mlp.up_proj.weight": (4, 4) for n in range(3)
    }
    return {
        **tensors,
        **parts,
        "vae.decoder.conv_in.weight": (8, 16, 3, 3),
        "vae.encoder.conv_in.weight": (8, 3, 3, 3),
    }


FORMATS = (dict, fp8_scaled, comfy_quant, packed)


@given(
    which=st.sampled_from(range(len(golden.FAMILIES))),
    prefix=st.sampled_from(PREFIXES),
    saved=st.sampled_from(FORMATS),
    whole=st.booleans(),
    extra=st.dictionaries(
        st.from_regex(r"zz_[a-z]{1,8}(\.[a-z0-9_]{1,8}){0,3}", fullmatch=True), st.just((1,)), max_size=3
    ),
)
def test_the_format_the_prefix_and_further_tensors_change_nothing(which, prefix, saved, whole, extra):
    family, file, tensors = golden.FAMILIES[which]
    named = {f"{prefix}{name}": size for name, size in saved(tensors).items()} | extra
    if whole and prefix:
        named = with_other_parts(named)
    found, shapes = look(header_of(named, f"{file}.safetensors"))
    assert found is ARCHITECTURES[family]
    assert set(tensors) <= set(shapes)


@pytest.mark.parametrize("prefix", ["", "model.", "text_encoders.qwen3_4b.transformer.model."])
def test_a_language_model_is_no_diffusion_model(prefix):
    names = (
        "layers.0.self_attn.q_norm.weight",
        "layers.0.mlp.up_proj.weight",
        "embed_tokens.weight",
        "norm.weight",
    )
    assert look(header_of({f"{prefix}{name}": (8, 8) for name in names}))[0] is None


@pytest.mark.parametrize(
    ("title", "words"), [(title, "makes videos") for title in ("Wan", "HunyuanVideo", "LTX-Video")]
)
def test_a_video_model_is_refused_in_words(tmp_path, title, words):
    tensors = dict(golden.RELATIVES)[title]
    small = {name: tuple(1 for _ in size) for name, size in tensors.items()}
    with pytest.raises(InvalidInput) as caught:
        inspect_base_model(golden.write(tmp_path / "x.safetensors", small))
    assert title in caught.value.problem and words in caught.value.problem
    assert "Z-Image" in caught.value.fix and "Stable Diffusion XL" in caught.value.fix


EDITORS = {
    "qwen_image_edit_2509_fp8_e4m3fn": "Qwen-Image-Edit",
    "Qwen-Image-Edit-2511-bf16": "Qwen-Image-Edit",
    "flux1-dev-kontext_fp8_scaled": "FLUX.1 Kontext",
    "hidream_e1_1_bf16": "HiDream-E1",
}
NO_EDITORS = {
    "qwen_image_2512_bf16": "qwen_image",
    "my-edition-of-qwen": "qwen_image",
    "credited": "qwen_image",
    "hidream_e100": "other",
}


def tensors_like(name):
    of_whom = "hidream" if "hidream" in name else "flux1" if "flux" in name else "qwen_image"
    return dict(golden.RELATIVES)["HiDream"] if of_whom == "hidream" else golden.tensors_of(of_whom)


@pytest.mark.parametrize("name", EDITORS)
def test_an_editing_model_is_never_taken_for_the_model_with_the_same_tensors(tmp_path, name):
    small = {
        each: tuple(1 if "txt_norm" not in each else side for side in size)
        for each, size in tensors_like(name).items()
    }
    with pytest.raises(InvalidInput) as caught:
        inspect_base_model(golden.write(tmp_path / f"{name}.safetensors", small))
    assert EDITORS[name] in caught.value.problem and "changes a picture" in caught.value.problem


def test_a_newer_editor_is_known_by_its_own_mark_whatever_its_name():
    found, _ = look(
        header_of({**golden.tensors_of("qwen_image"), "__index_timestep_zero__": (0,)}, "mine.safetensors")
    )
    assert found.title == "Qwen-Image-Edit"


@pytest.mark.parametrize("name", NO_EDITORS)
def test_a_name_that_only_looks_like_an_editors_changes_nothing(name):
    found, _ = look(header_of(tensors_like(name), f"{name}.safetensors"))
    assert getattr(found, "name", "other") == NO_EDITORS[name]


def test_an_image_model_without_a_file_of_its_own_is_tried_as_any_other(tmp_path):
    small = {name: tuple(1 for _ in size) for name, size in dict(golden.RELATIVES)["HiDream"].items()}
    found = inspect_base_model(golden.write(tmp_path / "x.safetensors", small))
    assert (found.family, found.title, found.prediction_type) == ("other", "HiDream", "flow")


def test_a_gguf_file_is_answered_with_what_to_use_instead(tmp_path):
    for name in ("z_image-Q8_0.gguf", "renamed.safetensors"):
        (tmp_path / name).write_bytes(b"GGUF\x03\x00\x00\x00" + b"\0" * 64)
        with pytest.raises(InvalidInput) as caught:
            inspect_base_model(tmp_path / name)
        assert "GGUF" in caught.value.problem and "fp8" in caught.value.fix


def test_every_relative_has_words_that_fit_a_sentence():
    for each in RELATIVES:
        assert each.title and not each.title.endswith(".")
