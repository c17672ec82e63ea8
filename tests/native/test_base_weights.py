"""A training adapter: on while training, off for samples, and no part of the file."""

import pytest
import torch
import torch.nn.functional as F

from kohya_bridge.engines.training.adapters import CallingAdapter, LinearAdapter, LoraModule, LoraPart
from kohya_bridge.engines.training.base_weights import put_beside, without_base_weights
from kohya_bridge.engines.training.lora import LoraNetwork
from kohya_bridge.errors import InvalidInput

pytestmark = pytest.mark.torch

PATH = "blocks.0.to_q"


def network(kind: str) -> tuple[LoraNetwork, torch.nn.Linear, object]:
    """One adapted layer of the model; returns it and what to call."""
    torch.manual_seed(0)
    layer = torch.nn.Linear(6, 4)
    adapter = (
        LinearAdapter(layer, dropout=0.0)
        if kind == "fast"
        else CallingAdapter(layer, dropout=0.0, compute=layer.forward)
    )
    module = LoraModule(f"diffusion_model.{PATH}", adapter, 2, 2.0, ".lora_A.weight", ".lora_B.weight")
    root = torch.nn.Sequential(adapter)
    part = LoraPart(root, [module], flat=True, dtype=torch.float32, device=torch.device("cpu"))
    return LoraNetwork({"unet": part}), layer, root


def file(prefix: str, down: str, up: str) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    return {
        prefix + down: torch.randn(3, 6),
        prefix + up: torch.randn(4, 3),
        f"{prefix}.alpha": torch.tensor(1.5),
    }


NAMINGS = {
    "peft": file(f"diffusion_model.{PATH}", ".lora_A.weight", ".lora_B.weight"),
    "kohya": file("lora_unet_blocks_0_to_q", ".lora_down.weight", ".lora_up.weight"),
    "diffusers": file(f"transformer.{PATH}", ".lora_A.weight", ".lora_B.weight"),
}


@pytest.mark.parametrize("kind", ["fast", "calling"])
@pytest.mark.parametrize("naming", NAMINGS)
def test_its_update_is_added_at_its_strength_and_taken_away_for_samples(kind, naming):
    ours, layer, root = network(kind)
    before, x = ours.state(), torch.randn(5, 6)
    assert put_beside(ours, NAMINGS[naming], 0.5) == []
    down, up, _ = NAMINGS[naming].values()
    expected = F.linear(x, layer.weight + 0.5 * 1.5 / 3 * up @ down, layer.bias)
    torch.testing.assert_close(root(x), expected)
    with (
        ours.silent()
    ):  # what the base model says is said with the adapter on, as the training's own answers are
        torch.testing.assert_close(root(x), expected)
    with without_base_weights(ours):
        torch.testing.assert_close(root(x), layer(x))
    torch.testing.assert_close(root(x), expected)
    assert all(before[key].equal(tensor) for key, tensor in ours.state().items())


def test_one_of_another_model_is_refused_and_stray_layers_are_named():
    ours, _, _ = network("fast")
    with pytest.raises(InvalidInput, match="no layer in common"):
        put_beside(ours, file("lora_unet_other", ".lora_down.weight", ".lora_up.weight"), 1.0)
    stray = {**NAMINGS["kohya"], **file("lora_unet_other", ".lora_down.weight", ".lora_up.weight")}
    assert put_beside(ours, stray, 1.0) == ["lora_unet_other"]
