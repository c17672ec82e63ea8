"""doctor --gradients says in words what it lacks, before anything is loaded."""

from tests.architectures import golden


def test_a_family_whose_text_encoder_lies_nowhere_is_told_so_with_what_there_is(shell, tmp_path, monkeypatch):
    comfy = tmp_path / "ComfyUI"
    for made in ("comfy/sd1_tokenizer/vocab.json", "comfy/sd.py", "models/text_encoders/other.safetensors"):
        (comfy / made).parent.mkdir(parents=True, exist_ok=True)
        (comfy / made).touch()
    small = {name: tuple(1 for _ in size) for name, size in golden.tensors_of("zimage").items()}
    golden.write(comfy / "models" / "diffusion_models" / "z_image.safetensors", small)
    (comfy / "models" / "checkpoints").mkdir()
    monkeypatch.setenv("COMFYUI_DIR", str(comfy))
    answer = shell(
        "doctor", "--checkpoints", str(comfy / "models" / "checkpoints"), "--gradients", "z_image.safetensors"
    )
    assert answer.code == 4
    assert "Qwen3 4B is needed and not chosen. There are: other.safetensors." in answer.err
    assert "FLUX autoencoder is needed" in answer.err and "Traceback" not in answer.err
