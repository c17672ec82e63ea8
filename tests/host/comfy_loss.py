"""Run by a test in an interpreter of ComfyUI's: the loss of ComfyUI's own model at given latents, noise and timesteps.

usage: comfy_loss.py COMFYUI_DIR TORCHVISION_DIR PACK_DIR CHECKPOINT LORA PROBE.npz

PROBE holds latents_NCHW, noise_NCHW, timesteps_N and captions_N. Prints one line of JSON: the mean squared error of the
predicted noise for each row, with the base alone and with the LoRA on it.
"""

import json
import sys


def main() -> None:
    comfy_dir, torchvision_dir, pack_dir, checkpoint, lora_file, probe_file = sys.argv[1:7]
    sys.path.insert(0, pack_dir)
    from scripts.host.launch import provide_torchvision

    sys.path[:2] = [comfy_dir]
    provide_torchvision(torchvision_dir)
    sys.argv = ["main.py", "--cpu"]
    import comfy.options

    comfy.options.enable_args_parsing()
    import comfy.sd
    import comfy.utils
    import numpy as np
    import torch

    probe = np.load(probe_file, allow_pickle=False)
    model, clip, *_ = comfy.sd.load_checkpoint_guess_config(checkpoint, output_vae=False)
    weights = comfy.utils.load_torch_file(lora_file, safe_load=True)
    with torch.inference_mode():
        base = losses(model, clip, probe)
        trained = losses(*comfy.sd.load_lora_for_models(model, clip, weights, 1.0, 1.0), probe)
    print(json.dumps({"base": base, "lora": trained}))


def losses(model, clip, probe) -> list[float]:
    """Mean squared error of the noise for each row, through ComfyUI's own sampling formulas."""
    import comfy.model_management
    import torch

    comfy.model_management.load_models_gpu([model])
    inner = model.model
    found = []
    for latents, noise, timestep, caption in zip(
        probe["latents_NCHW"], probe["noise_NCHW"], probe["timesteps_N"], probe["captions_N"], strict=True
    ):
        x0, epsilon = torch.from_numpy(latents)[None], torch.from_numpy(noise)[None]
        sigma = inner.model_sampling.sigma(torch.tensor([float(timestep)]))
        noisy = x0 + sigma.view(-1, 1, 1, 1) * epsilon  # ComfyUI's variance-exploding form
        context = clip.encode_from_tokens(clip.tokenize(str(caption)))
        denoised = inner.apply_model(noisy, sigma, c_crossattn=context)
        predicted = (noisy - denoised) / sigma.view(-1, 1, 1, 1)
        found.append(float(((predicted - epsilon) ** 2).mean()))
    return found


if __name__ == "__main__":
    main()
