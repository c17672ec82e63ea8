"""ComfyUI's own code as the judge of our files, in a process of its own: its packages must not mix with ours.

usage: comfy_reader.py COMFYUI_DIR TORCHVISION_DIR     (orders as JSON lines on stdin: `[task, work_dir]`; an exit code for each on stdout)

Importing ComfyUI takes many times as long as any task, so it is done once and each task runs in a fork of it.

In: `WORK_DIR/inputs.safetensors` and the files that the task names. Out: `WORK_DIR/outputs.safetensors`, and `WORK_DIR/said.json`
with what ComfyUI said; what was printed is in `WORK_DIR/log.txt`. Tasks: unet, checkpoint, picture, sdxl_names.
"""

import json
import logging
import os
import sys
import traceback
from pathlib import Path


class Kept(logging.Handler):
    """Keeps ComfyUI's complaints about a LoRA."""

    def __init__(self):
        super().__init__()
        self.lines = []

    def emit(self, record):
        text = record.getMessage()
        if "lora" in text.lower() or "NOT LOADED" in text:
            self.lines.append(text)


def arrange(comfy_dir, torchvision_dir):
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    from scripts.host.launch import provide_torchvision

    sys.path[:2] = [comfy_dir]
    provide_torchvision(torchvision_dir)
    sys.argv = ["comfy_reader", "--cpu"]
    import comfy.options
    import torch

    comfy.options.enable_args_parsing()
    import comfy.sd

    torch.set_num_threads(1)  # a fork has no other threads
    torch.set_flush_denormal(True)
    return torch


def unet(torch, work_dir, inputs):
    """The U-Net as ComfyUI detects and builds it from a checkpoint of any layout, heads as for SD 1.x."""
    import comfy.model_detection
    import comfy.ops
    import comfy.utils
    from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel

    prefix = "model.diffusion_model."
    state = comfy.utils.load_torch_file(str(work_dir / "base.safetensors"))
    config = comfy.model_detection.detect_unet_config(state, prefix)
    heads = {"num_heads": 8, "num_head_channels": -1}
    model = UNetModel(
        **{**config, **heads, "dtype": torch.float32}, device="cpu", operations=comfy.ops.disable_weight_init
    )
    own = {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
    model.load_state_dict(own, strict=True)
    model.eval()
    predicted = model(inputs["latents"], inputs["steps"], context=inputs["hidden"])
    return {"predicted": predicted}, {"transformer_depth_output": config["transformer_depth_output"]}


def checkpoint(torch, work_dir, inputs):
    """A whole checkpoint with a LoRA on it: what it encodes and predicts, before and after."""
    import comfy.sd
    import comfy.utils

    kept = Kept()
    logging.getLogger().addHandler(kept)
    file = str(work_dir / "base.safetensors")
    model, clip, vae, _ = comfy.sd.load_checkpoint_guess_config(file, output_vae=True, output_clip=True)
    pixels = (inputs["pixels"].movedim(1, -1) + 1) / 2
    outputs = {"latents": model.model.process_latent_in(vae.encode(pixels))}
    decoded = vae.decode(model.model.process_latent_out(inputs["latents"]))
    outputs["decoded"] = decoded.movedim(-1, 1) * 2 - 1
    outputs |= {f"base_{name}": each for name, each in predicted(torch, model, clip, inputs).items()}
    lora = comfy.utils.load_torch_file(str(work_dir / "lora.safetensors"))
    with_lora = comfy.sd.load_lora_for_models(model, clip, lora, 1.0, 1.0)
    outputs |= {f"lora_{name}": each for name, each in predicted(torch, *with_lora, inputs).items()}
    patched = len(with_lora[0].patches) + len(with_lora[1].patcher.patches)
    return outputs, {
        "model": type(model.model.model_config).__name__,
        "patched": patched,
        "complaints": kept.lines,
    }


def predicted(torch, model, clip, inputs):
    tokens = clip.tokenize((Path(inputs["work_dir"]) / "caption.txt").read_text("utf-8"))
    hidden = clip.encode_from_tokens(tokens)
    model.patch_model(device_to=torch.device("cpu"))
    unet = model.model.diffusion_model.float()
    answer = unet(inputs["latents"], inputs["steps"], context=inputs["hidden"].float()).clone()
    model.unpatch_model(device_to=torch.device("cpu"))
    return {"hidden": hidden.float().clone(), "predicted": answer.float()}


def picture(torch, work_dir, inputs):
    """A picture as KSampler (euler, normal) and VAE Decode make it from a checkpoint, and the latents that were decoded."""
    import comfy.sample
    import comfy.sd

    job = json.loads((work_dir / "picture.json").read_text("utf-8"))
    model, clip, vae, _ = comfy.sd.load_checkpoint_guess_config(
        str(work_dir / "base.safetensors"), output_vae=True, output_clip=True
    )
    positive, negative = (
        clip.encode_from_tokens_scheduled(clip.tokenize(job[name])) for name in ("prompt", "negative")
    )
    empty = torch.zeros_like(inputs["noise"])
    latents = comfy.sample.sample(
        model, inputs["noise"], job["steps"], job["cfg"], "euler", "normal", positive, negative, empty, seed=0
    )
    pixels = vae.decode(latents).movedim(-1, 1)
    return {"pixels": pixels, "latents": latents}, {"model": type(model.model.model_config).__name__}


def sdxl_names(torch, work_dir, inputs):
    """Which names of an SDXL LoRA ComfyUI's key map knows, for a model with these parameter names."""
    from types import SimpleNamespace

    import comfy.lora
    import comfy.model_detection

    def named(names):
        return SimpleNamespace(state_dict=lambda: dict.fromkeys(names))

    shapes = json.loads((work_dir / "shapes.json").read_text())
    prefix = "model.diffusion_model."
    unet_state = {
        name: torch.empty(shape, device="meta") for name, shape in shapes.items() if name.startswith(prefix)
    }
    model = named(name.replace("model.", "", 1) for name in unet_state)
    model.model_config = SimpleNamespace(
        unet_config=comfy.model_detection.detect_unet_config(unet_state, prefix)
    )
    layers = ["mlp.fc1", "mlp.fc2", *(f"self_attn.{each}_proj" for each in ("q", "k", "v", "out"))]
    clip = named(
        f"clip_{size}.transformer.text_model.encoder.layers.{number}.{layer}.weight"
        for size, count in (("l", 12), ("g", 32))
        for number in range(count)
        for layer in layers
    )
    known = comfy.lora.model_lora_keys_clip(clip, comfy.lora.model_lora_keys_unet(model, {}))
    names = json.loads((work_dir / "names.json").read_text())
    return {}, {
        "unknown": [name for name in names if name not in known],
        "targets": len({known.get(n) for n in names}),
    }


TASKS = {"unet": unet, "checkpoint": checkpoint, "picture": picture, "sdxl_names": sdxl_names}


def main():
    torch = arrange(*sys.argv[1:3])
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    for line in sys.stdin:
        task, work_dir = json.loads(line)
        pid = os.fork()
        if not pid:
            os._exit(obey(torch, task, Path(work_dir)))
        answers.write(f"{os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])}\n")
    os._exit(0)


def obey(torch, task, work_dir):
    """In a fork: do the task and return an exit code."""
    from safetensors.torch import load_file, save_file

    log = os.open(work_dir / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    try:
        inputs = load_file(work_dir / "inputs.safetensors")
        inputs["work_dir"] = work_dir
        with torch.inference_mode():
            outputs, said = TASKS[task](torch, work_dir, inputs)
            outputs = {name: tensor.clone().contiguous() for name, tensor in outputs.items()}
        save_file(outputs, work_dir / "outputs.safetensors")
        (work_dir / "said.json").write_text(json.dumps(said), "utf-8")
        return 0
    except BaseException:  # the outermost edge of the fork: whoever asked finds it in the log
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


if __name__ == "__main__":
    main()
