"""A packaged LoRA in the real ComfyUI: listed, read, loaded whole; and the reference workflow notices when things change."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
import torch
from PIL import Image

from kohya_bridge.engines.native.diffusers_side.models import load_base
from kohya_bridge.engines.training.lora import add_lora
from kohya_bridge.engines.training.lora_file import save_lora
from kohya_bridge.events import EventLog
from kohya_bridge.package import package_lora
from kohya_bridge.plan import BaseModelFacts, DatasetFacts, TrainingRequest, make_plan
from kohya_bridge.run_folder import RunFolder
from kohya_bridge.settings import TrainingSettings
from kohya_bridge.workspace import Workspace, file_sha256
from scripts import regression
from tests.host.canvas import BASE_MODEL

pytestmark = pytest.mark.host


@pytest.fixture(scope="module")
def base_file(comfy):
    """The demo's base model in ComfyUI's folder: by name, as other tests put broken files beside it."""
    return comfy.checkpoints_dir / BASE_MODEL


@pytest.fixture(scope="module")
def packaged(comfy, base_file, tmp_path_factory):
    """A LoRA with every module of the base model's U-Net and random weights, packaged into ComfyUI's loras folder."""
    workspace = Workspace.at(tmp_path_factory.mktemp("workspace"))
    dataset_dir = workspace.dataset_dir("alice")
    dataset_dir.mkdir(parents=True)
    (dataset_dir / "metadata.yaml").write_text("licence: CC0-1.0\nsource: A test.\nrelease_approved: true\n")
    plan = make_plan(
        TrainingRequest(dataset="alice", base_model=base_file.name, settings={"mixed_precision": "bf16"}),
        dataset=DatasetFacts(slug="alice", digest="d" * 64, images=30, trigger="char_alice"),
        base_model=BaseModelFacts(name=base_file.name, sha256="b" * 64, family="sd15"),
        engine="native",
        engine_version="1",
    )
    run = RunFolder(workspace.run_dir("alice", plan.run_id))
    run.checkpoints_dir.mkdir(parents=True)
    run.plan_file.write_text(plan.to_yaml())
    network = add_lora(load_base(base_file, parts={"unet"}), TrainingSettings(network_dim=4), seed=1)
    state = network.state()
    generator = torch.Generator().manual_seed(2)
    for name in state:
        if "lora_up" in name:
            state[name] = 0.3 * torch.randn(state[name].shape, generator=generator)
    file = save_lora(
        run.checkpoints_dir / "alice.safetensors", state, dtype="fp16", metadata={"ss_steps": "5"}
    )
    log = EventLog(run.events_file)
    log.write("run_started", attempt=1, engine="native", pid=1, total=5, resumed_from=0)
    log.write(
        "checkpoint", step=5, file=f"checkpoints/{file.name}", sha256=file_sha256(file), bytes=1, final=True
    )
    log.close()
    return package_lora(run, "latest", lora_dir=comfy.loras_dir, title="Alice")


def reference(base_file, lora):
    """Load, prompt, sample, save, all of them stock nodes; and one node that no picture needs and that would fail."""
    return {
        "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": base_file.name}},
        "2": {
            "class_type": "LoraLoader",
            "inputs": {
                "model": ["1", 0],
                "clip": ["1", 1],
                "lora_name": lora,
                "strength_model": 1.0,
                "strength_clip": 1.0,
            },
        },
        "3": {"class_type": "CLIPTextEncode", "inputs": {"clip": ["2", 1], "text": "char_alice, portrait"}},
        "4": {"class_type": "CLIPTextEncode", "inputs": {"clip": ["2", 1], "text": ""}},
        "5": {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 64, "batch_size": 1}},
        "6": {
            "class_type": "KSampler",
            "inputs": {
                "model": ["2", 0], "positive": ["3", 0], "negative": ["4", 0], "latent_image": ["5", 0],
                "seed": 1, "steps": 2, "cfg": 4.0, "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0,
            },
        },
        "7": {"class_type": "VAEDecode", "inputs": {"samples": ["6", 0], "vae": ["1", 2]}},
        "8": {"class_type": "SaveImage", "inputs": {"images": ["7", 0], "filename_prefix": "reference"}},
        "9": {"class_type": "VAELoader", "inputs": {"vae_name": "nobody has this"}},
    }  # fmt: skip


def test_the_loaders_list_it_and_view_metadata_shows_where_it_comes_from(comfy, packaged):
    listed = comfy.client.get("object_info/LoraLoader")["LoraLoader"]["input"]["required"]["lora_name"][0]
    assert packaged.name in listed
    shown = comfy.client.get("view_metadata/loras", filename=packaged.name)
    assert shown["modelspec.title"] == "Alice" and shown["modelspec.trigger_phrase"] == "char_alice"
    assert json.loads(shown["wizdroid.plan"])["dataset"]["slug"] == "alice"


@pytest.fixture(scope="module")
def rendered(comfy, base_file, packaged, tmp_path_factory):
    """The reference workflow rendered twice, by the command that people use, and what ComfyUI logged meanwhile."""
    base_dir = tmp_path_factory.mktemp("regression")
    workflow = base_dir / "workflow.json"
    workflow.write_text(json.dumps(reference(base_file, "another.safetensors")))
    call = ["--lora", packaged.name, "--workflow", str(workflow), "--url", comfy.url, "--base", str(base_dir)]
    already = len(comfy.log())
    codes = [regression.main(call)]
    first = regression.newest(base_dir / "regression")
    first = first.rename(first.with_name("20000101-000000"))
    codes.append(regression.main(call))
    return codes, first, base_dir / "regression", call, comfy.log()[already:]


def test_every_key_of_it_is_loaded_and_it_changes_the_picture(rendered):
    (before,) = rendered[1].glob("8-0.png")
    (after,) = rendered[1].glob("8-0.lora.png")
    plain, worn = (np.asarray(Image.open(file).convert("RGB"), dtype=int) for file in (before, after))
    assert np.abs(plain - worn).max() > 8
    assert "lora key not loaded" not in rendered[4]
    assert "ERROR lora" not in rendered[4]


def test_strength_0_is_the_base_model_to_the_pixel(comfy, base_file, rendered):
    bare = {name: node for name, node in reference(base_file, "").items() if name not in ("2", "9")}
    text = json.dumps(bare).replace('["2", 0]', '["1", 0]').replace('["2", 1]', '["1", 1]')
    history = comfy.client.run(json.loads(text))
    (image,) = history["outputs"]["8"]["images"]
    data = comfy.client.get_bytes("view", **image)
    (file,) = rendered[1].glob("8-0.png")
    with Image.open(file) as zero:
        assert zero.convert("RGB").tobytes() == Image.open(io.BytesIO(data)).convert("RGB").tobytes()


def test_the_same_workflow_rendered_again_is_the_same_and_a_changed_one_is_noticed(rendered, capsys):
    codes, first, folder, call, _ = rendered
    assert codes == [0, 0]
    changed = json.loads((folder.parent / "workflow.json").read_text())
    changed["3"]["inputs"]["text"] = "char_alice, from behind"
    (folder.parent / "changed.json").write_text(json.dumps(changed))
    call = [*call, "--against", str(first), "--workflow", str(folder.parent / "changed.json")]
    assert regression.main(call) == 1
    assert "2 changed" in capsys.readouterr().out


def test_a_workflow_without_a_loader_is_refused(tmp_path, capsys):
    (tmp_path / "w.json").write_text(json.dumps({"8": {"class_type": "SaveImage", "inputs": {}}}))
    assert (
        regression.main(["--lora", "x", "--workflow", str(tmp_path / "w.json"), "--base", str(tmp_path)]) == 3
    )
    assert "needs a LoRA loader" in capsys.readouterr().err
