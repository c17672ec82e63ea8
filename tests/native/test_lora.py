"""The LoRA network has kohya's targets, names and start, computes what peft computes, and is reproducible bit for bit."""

import copy

import pytest
import torch
from peft import LoraConfig, inject_adapter_in_model

from kohya_bridge.engines.native.diffusers_side.models import Base, scheduler_config
from kohya_bridge.engines.native.diffusers_side.unet import build_unet
from kohya_bridge.engines.training.lora import LoraNetwork, add_lora
from kohya_bridge.engines.training.lora_file import read_lora, save_lora
from kohya_bridge.errors import InvalidInput
from kohya_bridge.models.unet_shape import UNetShape
from kohya_bridge.settings import TrainingSettings
from scripts.base_layouts import SD15_UNET, SDXL_UNET
from tests.bases import inputs_for, load_tiny

pytestmark = pytest.mark.torch


def settings_with(**values) -> TrainingSettings:
    text = {"network_train_unet_only": False, "cache_text_encoder_outputs": False}
    return TrainingSettings(
        **{"network_dim": 4, "network_alpha": 2.0, "mixed_precision": "no", **text, **values}
    )


def fill(network: LoraNetwork, seed: int = 5) -> None:
    """Give every matrix some weight, so that the network has an effect."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.05)


@pytest.fixture(params=["sd15", "sdxl"])
def base(request):
    return load_tiny(request.getfixturevalue(f"{request.param}_file"))


def full_size(shape: UNetShape, family: str) -> Base:
    """A full-size U-Net that owns no memory: enough to name its layers."""
    from kohya_bridge.models.base_models import BaseModel

    facts = BaseModel(None, family, "epsilon", False, shape)
    unet = build_unet(shape, family)
    return Base(facts, unet, None, None, scheduler_config(facts), torch.float32, torch.device("meta"))


@pytest.mark.parametrize(
    ("shape", "family", "modules", "with_convolutions"),
    [(SD15_UNET, "sd15", 192, 278), (SDXL_UNET, "sdxl", 722, 788)],
    ids=["sd15", "sdxl"],
)
def test_full_size_models_have_as_many_modules_as_sd_scripts_finds(shape, family, modules, with_convolutions):
    only_unet = {"network_train_unet_only": True, "network_dim": 1, "network_alpha": 1.0}
    network = add_lora(full_size(shape, family), settings_with(**only_unet), seed=0)
    assert len(network.modules) == len({module.name for module in network.modules}) == modules
    network = add_lora(full_size(shape, family), settings_with(conv_dim=1, **only_unet), seed=0)
    assert len(network.modules) == with_convolutions


def test_names_are_those_of_kohyas_files(base):
    names = {module.name for module in add_lora(base, settings_with(conv_dim=2), seed=0).modules}
    if base.family == "sd15":
        expected = {
            "lora_te_text_model_encoder_layers_0_self_attn_q_proj",
            "lora_te_text_model_encoder_layers_1_mlp_fc2",
            "lora_unet_down_blocks_0_attentions_0_proj_in",
            "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_out_0",
            "lora_unet_mid_block_attentions_0_transformer_blocks_0_ff_net_0_proj",
            "lora_unet_up_blocks_1_resnets_0_conv_shortcut",
            "lora_unet_down_blocks_0_downsamplers_0_conv",
        }
    else:
        expected = {
            "lora_te1_text_model_encoder_layers_0_self_attn_q_proj",
            "lora_te2_text_model_encoder_layers_1_mlp_fc1",
            "lora_unet_input_blocks_3_1_transformer_blocks_1_attn2_to_k",
            "lora_unet_middle_block_1_transformer_blocks_0_ff_net_2",
            "lora_unet_output_blocks_0_1_proj_out",
            "lora_unet_output_blocks_1_2_conv",
            "lora_unet_input_blocks_2_0_op",
            "lora_unet_input_blocks_1_0_emb_layers_1",
        }
    assert expected <= names


@torch.no_grad()
def test_a_fresh_network_changes_nothing(base):
    latents, steps, more = inputs_for(base)
    before = base.unet(latents, steps, **more).sample
    hidden = base.text.encode(base.text.tokenize(["a cat"])).hidden
    add_lora(base, settings_with(conv_dim=2), seed=0)
    assert torch.equal(base.unet(latents, steps, **more).sample, before)
    assert torch.equal(base.text.encode(base.text.tokenize(["a cat"])).hidden, hidden)


@torch.no_grad()
def test_a_silent_network_leaves_the_base_model_alone(base):
    latents, steps, more = inputs_for(base)
    before = base.unet(latents, steps, **more).sample
    hidden = base.text.encode(base.text.tokenize(["a cat"])).hidden
    network = add_lora(base, settings_with(conv_dim=2), seed=0)
    fill(network)
    with network.silent():
        assert torch.equal(base.unet(latents, steps, **more).sample, before)
        assert torch.equal(base.text.encode(base.text.tokenize(["a cat"])).hidden, hidden)
    assert not torch.allclose(base.unet(latents, steps, **more).sample, before)


def test_the_start_is_kohyas_and_depends_on_the_seed_alone(base):
    first = add_lora(copy.deepcopy(base), settings_with(), seed=3).state()
    again = add_lora(copy.deepcopy(base), settings_with(optimizer_type="Adafactor"), seed=3).state()
    other = add_lora(copy.deepcopy(base), settings_with(), seed=4).state()
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not all(torch.equal(first[key], other[key]) for key in first)
    for key, tensor in first.items():
        if key.endswith("lora_down.weight"):
            bound = (
                tensor[0].numel() ** -0.5
            )  # kaiming_uniform(a=sqrt(5)) is U(-1/sqrt(fan_in), 1/sqrt(fan_in))
            assert 0.8 * bound < tensor.abs().max() <= bound
        elif key.endswith("lora_up.weight"):
            assert not tensor.any()
        else:
            assert tensor.dtype == torch.float32 and tensor.shape == () and tensor == 2.0


def peft_twin(model: torch.nn.Module, network: LoraNetwork, adapted: torch.nn.Module) -> torch.nn.Module:
    """The same LoRA on an untouched copy of the model, by peft."""
    places = {module.adapter: module for module in network.modules}
    found = {name: places[module] for name, module in adapted.named_modules() if module in places}
    config = LoraConfig(
        r=4,
        lora_alpha=2,
        target_modules=list(found),
        rank_pattern={name: module.rank for name, module in found.items()},
        alpha_pattern={name: module.alpha for name, module in found.items()},
    )
    twin = inject_adapter_in_model(config, model)
    state = network.state()
    with torch.no_grad():
        for name, module in found.items():
            layer = twin.get_submodule(name)
            layer.lora_A["default"].weight.copy_(state[f"{module.name}.lora_down.weight"])
            layer.lora_B["default"].weight.copy_(state[f"{module.name}.lora_up.weight"])
    return twin


@pytest.mark.parametrize("flat", [True, False], ids=["flat", "matrices"])
def test_forward_and_gradients_are_pefts(base, flat):
    untouched = copy.deepcopy(base.unet)
    network = add_lora(base, settings_with(conv_dim=2, conv_alpha=3.0), seed=0, flat=flat)
    fill(network)
    twin = peft_twin(untouched, network, base.unet)
    latents, steps, more = inputs_for(base)
    ours, theirs = base.unet(latents, steps, **more).sample, twin(latents, steps, **more).sample
    assert torch.allclose(ours, theirs, atol=2e-5)
    ours.square().mean().backward()
    theirs.square().mean().backward()
    gradients = gradients_of(network)
    for name, adapted in base.unet.named_modules():
        for module in network.modules:
            if module.adapter is adapted:
                layer = twin.get_submodule(name)
                assert torch.allclose(
                    gradients[module.name, "down"], layer.lora_A["default"].weight.grad, atol=1e-6
                )
                assert torch.allclose(
                    gradients[module.name, "up"], layer.lora_B["default"].weight.grad, atol=1e-6
                )


def gradients_of(network: LoraNetwork) -> dict[tuple[str, str], torch.Tensor]:
    """Gradients by module and matrix: the masters are swapped for them, and read like masters."""
    found = {}
    for part in network.parts.values():
        kept = [parameter.data for parameter in part.parameters]
        for parameter in part.parameters:
            parameter.data = parameter.grad if parameter.grad is not None else torch.zeros_like(parameter)
        found |= {(module.name, kind): tensor.clone() for module, kind, tensor in part.matrices()}
        for parameter, data in zip(part.parameters, kept, strict=True):
            parameter.data = data
    return found


def test_text_encoders_learn_through_their_own_parameters(base):
    network = add_lora(base, settings_with(), seed=0)
    groups = dict(network.groups())
    assert len(groups["text_encoder"]) == len(base.text.encoders)
    fill(network)
    encoded = base.text.encode(base.text.tokenize(["char_alice, smile"]))
    (
        encoded.hidden.square().mean() + (0 if encoded.pooled is None else encoded.pooled.square().mean())
    ).backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in groups["text_encoder"])
    assert groups["unet"][0].grad is None


def test_gradient_checkpointing_gives_the_same_gradients(base):
    network = add_lora(base, settings_with(), seed=0)
    fill(network)
    latents, steps, more = inputs_for(base)
    base.unet.train()
    base.unet(latents, steps, **more).sample.square().mean().backward()
    plain = [parameter.grad.clone() for parameter in dict(network.groups())["unet"]]
    for parameter in network.parameters():
        parameter.grad = None
    base.unet.enable_gradient_checkpointing()
    base.unet(latents, steps, **more).sample.square().mean().backward()
    assert all(
        torch.allclose(a, p.grad, atol=1e-7)
        for a, p in zip(plain, dict(network.groups())["unet"], strict=True)
    )


@torch.no_grad()
def test_dropout_drops_rank_activations_while_training_only(base):
    network = add_lora(base, settings_with(network_dropout=0.5), seed=0)
    fill(network)
    latents, steps, more = inputs_for(base)
    base.unet.eval()
    quiet = [base.unet(latents, steps, **more).sample for _ in range(2)]
    assert torch.equal(*quiet)
    base.unet.train()
    loud = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        loud.append(base.unet(latents, steps, **more).sample)
    assert torch.equal(loud[0], loud[1]) and not torch.equal(loud[0], loud[2])
    assert not torch.equal(loud[0], quiet[0])


def test_masters_stay_fp32_over_a_bf16_model_and_get_fp32_gradients(sd15_file):
    base = load_tiny(sd15_file, dtype=torch.bfloat16)
    network = add_lora(base, settings_with(), seed=0)
    fill(network)
    latents, steps, more = inputs_for(base)
    more = {name: value.bfloat16() for name, value in more.items()}
    base.unet(latents.bfloat16(), steps, **more).sample.float().square().mean().backward()
    (master,) = dict(network.groups())["unet"]
    assert (master.dtype, master.grad.dtype) == (torch.float32, torch.float32)
    assert torch.isfinite(master.grad).all() and master.grad.any()


def test_state_and_load_are_exact_inverses(base):
    network = add_lora(copy.deepcopy(base), settings_with(conv_dim=2), seed=0)
    fill(network)
    saved = network.state()
    other = add_lora(copy.deepcopy(base), settings_with(conv_dim=2), seed=9)
    other.load(saved)
    again = other.state()
    assert list(again) == list(saved)
    assert all(torch.equal(saved[key], again[key]) for key in saved)
    with pytest.raises(InvalidInput, match="do not belong"):
        other.load({key: saved[key] for key in list(saved)[3:]})


@torch.no_grad()
def test_starting_from_a_lora_of_another_alpha_starts_with_its_exact_effect(base, tmp_path):
    first = copy.deepcopy(base)
    network = add_lora(first, settings_with(network_alpha=1.0), seed=0)
    fill(network)
    file = save_lora(tmp_path / "x.safetensors", network.state(), dtype="float", metadata={})
    second = copy.deepcopy(base)
    left_out = add_lora(second, settings_with(network_alpha=4.0), seed=1).start_from(read_lora(file)[0])
    assert left_out == []
    latents, steps, more = inputs_for(base)
    expected, started = (each.unet(latents, steps, **more).sample for each in (first, second))
    assert torch.allclose(started, expected, atol=1e-5)


def test_starting_from_a_lora_that_does_not_fit_says_why(base):
    given = add_lora(copy.deepcopy(base), settings_with(), seed=0).state()
    network = add_lora(base, settings_with(network_dim=8), seed=0)
    with pytest.raises(InvalidInput, match="has rank 4, network_dim is 8"):
        network.start_from(given)
    with pytest.raises(InvalidInput, match="no layer in common"):
        network.start_from({"lora_unet_double_blocks_0.lora_up.weight": torch.zeros(4, 4)})


def test_starting_from_a_lora_names_the_modules_that_are_not_trained(base):
    given = add_lora(copy.deepcopy(base), settings_with(), seed=0).state()
    network = add_lora(base, settings_with(network_train_unet_only=True), seed=0)
    left_out = network.start_from(given)
    assert left_out and all(name.startswith("lora_te") for name in left_out)
