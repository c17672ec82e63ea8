"""NativeEngine as the desk sees it: obstacles before the start, and the command. Without torch in the parent."""

import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from kohya_bridge.device.finding import look, this_processor
from kohya_bridge.engines.contract import Engine
from kohya_bridge.engines.native.engine import NativeEngine
from kohya_bridge.run_folder import RunFolder

pytestmark = pytest.mark.torch

needs_cpu = pytest.mark.skipif(
    (look() or this_processor()).is_gpu, reason="asks what a machine without a GPU is told"
)


def codes(world, *, blocks=True, extra=None, **settings):
    paths = world.paths(**({"extra": extra} if extra else {}))
    return {
        each.code for each in NativeEngine().problems(world.plan(**settings), paths) if each.blocks == blocks
    }


def test_a_sound_plan_has_no_obstacle(world):
    assert codes(world) == set()


@needs_cpu
def test_what_a_cpu_cannot_do_is_an_obstacle(world):
    assert codes(world, mixed_precision="fp16") == {"precision"}
    assert codes(world, attention="xformers") == {"attention"}
    assert "no_gpu" in codes(world, blocks=False)


def test_every_obstacle_is_told_at_once_with_what_to_do(world):
    plan = world.plan(optimizer_type="Prodigy", network_train_unet_only=False, cache_text_encoder_outputs=False,
                      unet_lr=1.0, text_encoder_lr=0.5, network_weights="a" * 64)  # fmt: skip
    plan = plan.model_copy(update={"kohya": {"ip_noise_gamma": 0.1}})
    problems = [each for each in NativeEngine().problems(plan, world.paths()) if each.blocks]
    assert {each.code for each in problems} == {"kohya_options", "prodigy_rates", "network_weights"}
    assert all(each.problem and each.fix for each in problems)


def lora(file, layer, *, out=8, into=8, metadata=None):
    """A LoRA of one module."""
    tensors = {
        f"{layer}.lora_down.weight": np.zeros((2, into)),
        f"{layer}.lora_up.weight": np.zeros((out, 2)),
        f"{layer}.alpha": np.array(1.0),
    }
    save_file({name: value.astype(np.float32) for name, value in tensors.items()}, file, metadata)
    return file


@pytest.mark.parametrize("name", ["network_weights", "base_weights"])
def test_a_lora_that_can_not_go_on_this_model_is_an_obstacle(world, tmp_path, name):
    fits = lora(tmp_path / "a.safetensors", "lora_unet_down_blocks_0_attentions_0_proj_in")
    of_sdxl = lora(
        tmp_path / "b.safetensors", "lora_unet_x", metadata={"ss_base_model_version": "sdxl_base_v1-0"}
    )
    half = tmp_path / "c.safetensors"
    save_file({"lora_unet_x.lora_down.weight": np.zeros((2, 4), np.float32)}, half)
    none = tmp_path / "d.safetensors"
    save_file({"model.weight": np.zeros((2, 4), np.float32)}, none)
    dora = lora(tmp_path / "e.safetensors", "lora_unet_x")
    save_file({**load_file(dora), "lora_unet_x.dora_scale": np.zeros((8, 1), np.float32)}, dora)
    said = {}
    for file in (fits, of_sdxl, half, none, dora):
        found = NativeEngine().problems(world.plan(**{name: "a" * 64}), world.paths(extra={name: str(file)}))
        said[file.stem] = " ".join(each.problem for each in found if each.code == name)
    assert said["a"] == ""
    assert "was made for Stable Diffusion XL" in said["b"]
    assert "not fit together" in said["c"] and "is not a LoRA" in said["d"] and "DoRA" in said["e"]


def test_a_small_rate_for_prodigy_is_advice(world):
    assert "prodigy_rate" in codes(world, blocks=False, optimizer_type="Prodigy", unet_lr=1e-4)


def test_an_optimiser_whose_package_is_missing_is_an_obstacle(world):
    asked = f"""
import sys
sys.modules["bitsandbytes"] = None
import importlib.util
real = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == "bitsandbytes" else real(name, *rest)
from pathlib import Path
from tests.native_world import World
from kohya_bridge.engines.native.engine import NativeEngine
world = World(Path({str(world.root)!r}), Path({str(world.base)!r}), Path({str(world.dataset)!r}), Path({str(world.cache)!r}))
plan = world.plan(optimizer_type="AdamW8bit")
print([each.code for each in NativeEngine().problems(plan, world.paths()) if each.blocks])
print("torch" in sys.modules, "diffusers" in sys.modules)
"""
    answer = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    assert answer.stdout.splitlines() == ["['optimiser_package']", "False False"]


def test_the_command_is_a_list_and_child_json_tells_the_rest(world):
    plan = world.plan()
    run = RunFolder(world.root / "runs" / "dot" / plan.run_id)
    engine: Engine = NativeEngine()
    command = engine.command(run, plan, world.paths(), resume=None)
    assert command.argv[1:] == ("-m", "kohya_bridge.engines.native", str(run.dir))
    assert command.environment["HF_HUB_OFFLINE"] == "1"
    assert run.child_file.is_file()


def test_a_persons_own_workspace_of_cublas_is_kept(world, monkeypatch):
    name, plan = "CUBLAS_WORKSPACE_CONFIG", world.plan()
    run = RunFolder(world.root / "runs" / "dot" / plan.run_id)

    def given():
        return NativeEngine().command(run, plan, world.paths(), resume=None).environment[name]

    monkeypatch.delenv(name, raising=False)
    assert given() == ":4096:8"
    monkeypatch.setenv(name, ":16:8")
    assert given() == ":16:8"
