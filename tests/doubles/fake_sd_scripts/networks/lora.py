"""The double's LoRA network: three modules under upstream's key names, on a U-Net of three linear layers."""

import torch
from safetensors.torch import save_file

MODULES = (
    "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q",
    "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_v",
    "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_k",
)


class LoRAModule(torch.nn.Module):
    def __init__(self, width, rank, alpha):
        super().__init__()
        self.lora_down = torch.nn.Linear(width, rank, bias=False)
        self.lora_up = torch.nn.Linear(rank, width, bias=False)
        torch.nn.init.zeros_(self.lora_up.weight)
        self.register_buffer("alpha", torch.tensor(float(alpha)))
        self.scale = alpha / rank

    def forward(self, x):
        return self.lora_up(self.lora_down(x)) * self.scale


class LoRANetwork(torch.nn.Module):
    def __init__(self, width, rank, alpha):
        super().__init__()
        for name in MODULES:
            self.add_module(name, LoRAModule(width, rank, alpha))

    def apply_to(self, text_encoder, unet, train_text_encoder, train_unet):
        unet.adapters = [getattr(self, name) for name in MODULES]

    def prepare_optimizer_params_with_multiple_te_lrs(self, text_encoder_lr, unet_lr, default_lr):
        return [{"params": list(self.parameters()), "lr": unet_lr or default_lr}], ["unet"]

    def prepare_grad_etc(self, text_encoder, unet):
        self.requires_grad_(True)

    def on_epoch_start(self, text_encoder, unet):
        self.train()

    def get_trainable_params(self):
        return self.parameters()

    def save_weights(self, file, dtype, metadata):
        state = {
            name: each.detach().clone().to("cpu", dtype or each.dtype)
            for name, each in self.state_dict().items()
        }
        save_file(state, file, metadata)


def create_network(
    multiplier, network_dim, network_alpha, vae, text_encoder, unet, neuron_dropout=None, **kwargs
):
    print(f"create LoRA for U-Net: {len(MODULES)} modules.")
    return LoRANetwork(unet.width, network_dim or 4, network_alpha)
