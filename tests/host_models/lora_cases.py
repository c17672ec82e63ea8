"""What a process with an opened ComfyUI is asked for about LoRA files: which layers their names find, and what the host says with them."""

from __future__ import annotations

import logging
from pathlib import Path

from tests.host_models import reduced, small_files
from tests.host_models.cases import knows, reduced_model


def drawn_with(file: str, lora: str) -> dict:
    """What the host itself says with a LoRA on the model, through its own loader, against our side with the same weights."""
    import comfy.lora
    import comfy.model_patcher
    import comfy.sd
    import comfy.utils
    import torch

    from kohya_bridge.engines.native.host_side.gradients import _Bench
    from kohya_bridge.engines.native.host_side.loading import load_diffusion_model, read_file

    tensors, metadata = read_file(Path(file))
    family = metadata[small_files.MARK]
    state = comfy.utils.load_torch_file(lora, safe_load=True)

    def load():
        return load_diffusion_model(dict(tensors), metadata, dtype=torch.float32, name="base")

    ours = _Bench(
        reduced_model(family, load()), reduced.latents(family), reduced.condition(family), recomputed=False
    )
    with torch.no_grad():
        for _, _, master in ours.network.parts["unet"].matrices():
            master.zero_()
        _put(ours.network, state)
        trained = ours.answer()
    cpu = torch.device("cpu")
    host = load()
    patcher = comfy.model_patcher.ModelPatcher(host, load_device=cpu, offload_device=cpu)
    heard: list[str] = []
    ear = logging.Handler()
    ear.emit = lambda record: heard.append(record.getMessage())
    logging.getLogger().addHandler(ear)
    patched, _ = comfy.sd.load_lora_for_models(patcher, None, state, 1.0, 0)
    logging.getLogger().removeHandler(ear)
    patched.patch_model(device_to=cpu)
    theirs = reduced_model(family, host)
    with torch.no_grad():
        drawn = theirs.predict(ours.noisy, ours.times_B, ours.condition, ours.sizes)
        base = reduced_model(family, load()).predict(ours.noisy, ours.times_B, ours.condition, ours.sizes)
    return {
        "unknown": [each for each in heard if "not loaded" in each.lower()],
        "patches": len(patched.patches),
        "modules": sum(key.endswith(".lora_A.weight") for key in state),
        "difference": float((trained - drawn).abs().max() / drawn.abs().max()),
        "moved": float((drawn - base).abs().max() / base.abs().max()),
    }


def found_by_name(family: str) -> dict:
    """How many layers of a model a file in each of OneTrainer's namings finds through `names_of_host`, and how many find another one."""
    import comfy.lora

    from kohya_bridge.models.lora_kinds import names_of_host

    if not knows(family):
        return {"unknown": True}
    model = reduced.make(family)
    known = {
        name: to for name, to in comfy.lora.model_lora_keys_unet(model, {}).items() if isinstance(name, str)
    }
    paths = [
        name.removesuffix(".weight")
        for name, weight in model.diffusion_model.named_parameters()
        if name.endswith(".weight") and weight.dim() > 1
    ]
    told = {}
    for before in ("", "unet.", "transformer.", "lora_unet."):
        new = names_of_host([f"{before}{path}.lora_down.weight" for path in paths], known)
        right = wrong = 0
        for path in paths:
            name = f"{before}{path}.lora_down.weight"
            module = new.get(name, name).removesuffix(".lora_down.weight")
            to = known.get(module)
            right += to == f"diffusion_model.{path}.weight"
            wrong += to not in (None, f"diffusion_model.{path}.weight")
        told[before] = [right, wrong, len(paths)]
    return told


def _put(network, state) -> None:
    """A file's weights into a network of another rank: its effect, by the matrices' product, through fresh parameters."""
    for module in network.modules:
        down, up = state[module.name + module.down].float(), state[module.name + module.up].float()
        alpha = float(state[module.name + ".alpha"])
        module.adapter.beside = (down * (alpha / down.shape[0]), up)
