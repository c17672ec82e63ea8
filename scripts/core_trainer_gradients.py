"""Are the gradients of ComfyUI's own Train LoRA node right? Its functions, unchanged, on reduced random models.

    COMFYUI_DIR=... python -m scripts.core_trainer_gradients [flux flux2 chroma zimage ...]

For each family, with and without gradient checkpointing and bypass mode: how far the slope along the adapters' gradient is from finite
differences, the worst and the median of all matrices, or what was raised. docs/core_trainer.md has the figures. Needs a ComfyUI whose
node has its adapters in functions of their own (seen: 0.33.0).
"""

from __future__ import annotations

import argparse
import itertools
import logging
from typing import Any

import torch

from scripts.host.comfy_install import find_comfyui
from scripts.host.launch import provide_torchvision

STEP = 1e-2
TIMES = (0.3, 0.7)


def adapted(core: Any, model: Any, bypass: bool) -> tuple[dict[str, Any], Any]:
    """The node's own adapters on a model, with random weights; the patcher that wears them."""
    import comfy.model_patcher

    cpu = torch.device("cpu")
    patcher = comfy.model_patcher.ModelPatcher(model, load_device=cpu, offload_device=cpu)
    manager = None
    if bypass:
        state, _, manager = core._setup_lora_adapters_bypass(patcher, {}, "LoRA", torch.float32, 4)
    else:
        state, _ = core._setup_lora_adapters(patcher, {}, "LoRA", torch.float32, 4)
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, each in state.items():
            if each.dim() == 2:
                drawn = torch.randn(each.shape, generator=draw)
                each.copy_(drawn * (0.2 if "up" in name else each.shape[1] ** -0.5))
    return state, (patcher, manager)


def errors(core: Any, reduced: Any, family: str, *, bypass: bool, checkpointing: bool) -> list[float]:
    """Relative errors of the slopes, one for each matrix that has a gradient."""
    from kohya_bridge.engines.native.host_side.conditions import joined_conditions

    model = reduced.make(family)
    state, (patcher, manager) = adapted(core, model, bypass)
    model.model_sampling.calculate_denoised = lambda sigma, said, noisy: said
    if checkpointing:
        for module in core.find_modules_at_depth(model.diffusion_model, depth=1):
            core.patch(module)
    core.comfy.model_management.load_models_gpu([patcher], memory_required=1e20, force_full_load=True)
    for injection in manager.create_injections(model) if manager else ():
        injection.inject(patcher)
    draw = torch.Generator().manual_seed(3)
    noise, direction = (torch.randn(2, *reduced.latents(family).shape, generator=draw) for _ in range(2))
    noisy = noise.requires_grad_(True)
    condition = {name: torch.stack([each] * 2) for name, each in reduced.condition(family).items()}
    edges = [each * 8 for each in noise.shape[-2:]]
    named = joined_conditions(model, noise, condition, [[*edges, 0, 0, *edges]] * 2, {})
    times = torch.tensor(TIMES)

    def answer() -> torch.Tensor:
        said: torch.Tensor = model.apply_model(noisy, times, transformer_options={}, **named)
        return said

    (answer() * direction).sum().backward()
    found = []
    for each in state.values():
        if each.dim() != 2 or each.grad is None or float(each.grad.norm()) == 0:
            continue
        along, step = each.grad / each.grad.norm(), STEP * float(each.detach().norm())
        with torch.no_grad():
            each += step * along
            above = answer().double()
            each -= 2 * step * along
            below = answer().double()
            each += step * along
        slope = float(((above - below) * direction).sum()) / (2 * step)
        found.append(abs(slope / float(each.grad.norm()) - 1.0))
    return sorted(found)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("families", nargs="*", default=["flux", "flux2", "chroma", "zimage"])
    chosen = parser.parse_args()
    from tests.host_models import reduced  # before ComfyUI's own `tests` is on the path

    install = find_comfyui()
    provide_torchvision(str(install.torchvision_dir or ""))
    from kohya_bridge.engines.native.host_side.opening import open_host

    host = open_host(install.dir, torch.device("cpu"))
    import comfy_extras.nodes_train as core

    logging.disable(logging.INFO)
    print(f"ComfyUI {host.name}", flush=True)
    if not hasattr(core, "_setup_lora_adapters_bypass"):
        print("Its Train LoRA node is of an older make, which this script can't take apart.")
        return
    for family, bypass, checkpointing in itertools.product(chosen.families, (False, True), (False, True)):
        told = f"{family:8s} bypass {bypass!s:5s} checkpointing {checkpointing!s:5s}"
        try:
            found = errors(core, reduced, family, bypass=bypass, checkpointing=checkpointing)
        except RuntimeError as error:
            print(f"{told} raises: {str(error).splitlines()[0][:90]}", flush=True)
            continue
        print(
            f"{told} worst {found[-1]:.1%}, median {found[len(found) // 2]:.1%} of {len(found)} matrices",
            flush=True,
        )


if __name__ == "__main__":
    main()
