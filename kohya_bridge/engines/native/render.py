"""`python -m kohya_bridge.engines.native.render JOB.json`: render validation cells without a running ComfyUI, by diffusers' samplers, or where the
family is the host's by the sampler in ComfyUI's folder.

In: a job file (`validation/renderer.py` writes it). Out: one PNG for each render under its key, and a JSON line on stdout
after each. The same job gives the same pixels on the same machine; ComfyUI's own samplers give others than diffusers'.
"""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from PIL import Image

from ... import json_text
from ...architectures import architecture
from ...device.accelerator import Accelerator
from ...device.description import Device
from ...device.precision import NO, settled
from ...device.probe import examine
from ...errors import BridgeError
from ...reasons import reason_of
from ..training.precision import DTYPES
from .diffusers_side.quick_imports import import_diffusers

if TYPE_CHECKING:
    from .diffusers_side.models import Base


def render_job(job: dict[str, Any]) -> None:
    """Render everything that the job asks for; one line of progress for each picture."""
    accelerator = Accelerator.find(torch)
    device = torch.device(accelerator.type)
    seen = examine(torch) if accelerator.is_gpu else accelerator.describe()
    dtype = DTYPES[rendering_precision(job["mixed_precision"], seen)]
    drawing = _drawing(job, dtype, device)
    done, total = 0, len(job["renders"])
    for (file, strength), group in groupby(
        job["renders"], key=lambda each: (each["lora_file"], each["strength"])
    ):
        worn: AbstractContextManager[None] = drawing.wearing(Path(file), strength) if file else nullcontext()
        with worn:
            for each in group:
                _save(drawing.picture(each), Path(job["out_dir"]) / f"{each['key']}.png")
                done += 1
                print(json_text.write({"done": done, "total": total, "key": each["key"]}), flush=True)


class Drawing(Protocol):
    """A base model that draws."""

    def wearing(self, file: Path, strength: float) -> AbstractContextManager[None]:
        """With the LoRA in `file` on it, for as long as the block lasts."""

    def picture(self, each: dict[str, Any]) -> Image.Image:
        """One of the job's renders."""


def _drawing(job: dict[str, Any], dtype: torch.dtype, device: torch.device) -> Drawing:
    if architecture(job["family"]).trainable == "host":
        from .host_side.drawing import HostDrawing

        return HostDrawing(job, dtype=dtype, device=device)
    return DiffusersDrawing(job, dtype, device)


class DiffusersDrawing:
    """SD 1.x and SDXL by diffusers' samplers."""

    def __init__(self, job: dict[str, Any], dtype: torch.dtype, device: torch.device):
        import_diffusers()  # first: what follows imports it as a whole otherwise
        from .diffusers_side.models import load_base

        self.job = job
        self.base = load_base(
            Path(job["base_model_file"]),
            family=job["family"],
            dtype=dtype,
            device=device,
            tokenizer_dir=Path(job["tokenizer_dir"]),
        )

    def wearing(self, file: Path, strength: float) -> AbstractContextManager[None]:
        from .diffusers_side.wearing import wearing

        return wearing(self.base, file, strength)

    def picture(self, each: dict[str, Any]) -> Image.Image:
        return _render(self.base, self.job, each)


def rendering_precision(trained_in: str, device: Device) -> str:
    """The run's own format where this device computes it well, else the device's; fp32 on every CPU, as ComfyUI renders there:
    the plan may come from another machine, and a grid's pictures should not differ between processors."""
    if not device.is_gpu:
        return NO
    known = settled(device)
    return known.best if trained_in in known.slower or trained_in in known.impossible else trained_in


@torch.no_grad()
def _render(base: Base, job: dict[str, Any], each: dict[str, Any]) -> Image.Image:
    """One picture by classifier-free guidance (Ho and Salimans 2022). Noise comes from the seed alone, on the CPU."""
    from .diffusers_side.denoiser import denoise

    width, height, cfg = job["width"], job["height"], job["cfg"]
    assert base.unet is not None and base.text is not None and base.vae is not None
    scheduler = _scheduler(job["sampler"], job["scheduler"], base.scheduler_config)
    scheduler.set_timesteps(job["steps"])
    unet: Any = base.unet
    channels = unet.config.in_channels
    noise = np.random.default_rng(each["seed"]).standard_normal(
        (1, channels, height // 8, width // 8), dtype=np.float32
    )
    latents_BCHW = torch.from_numpy(noise).to(base.device) * scheduler.init_noise_sigma
    ids = base.text.tokenize([each["negative"], each["prompt"]], job["max_token_length"])
    encoded = base.text.encode(ids, job["clip_skip"])
    both = {"hidden": encoded.hidden} | ({} if encoded.pooled is None else {"pooled": encoded.pooled})
    sizes_26 = torch.tensor(
        [[height, width, 0, 0, height, width]] * 2, dtype=torch.float32, device=base.device
    )
    for timestep in scheduler.timesteps:
        model_input = scheduler.scale_model_input(latents_BCHW, timestep).expand(2, -1, -1, -1)
        without, with_prompt = denoise(
            unet, base.dtype, model_input, timestep.to(base.device).expand(2), both, sizes_26
        ).float()
        said = without + cfg * (with_prompt - without)
        latents_BCHW = scheduler.step(said[None], timestep, latents_BCHW, return_dict=False)[0]
    pixels_CHW = base.vae.decode(latents_BCHW)[0].cpu()
    array = ((pixels_CHW.permute(1, 2, 0) + 1.0) * 127.5).round().clamp(0, 255).to(torch.uint8).numpy()
    return Image.fromarray(array)


def _scheduler(sampler: str, scheduler: str, config: dict[str, Any]) -> Any:
    """diffusers' sampler for one of `validation.renderer.SAMPLERS`."""
    import diffusers

    samplers: Any = diffusers  # its classes carry no types
    shared = {key: value for key, value in config.items() if key != "clip_sample"}
    if sampler == "ddim":
        return samplers.DDIMScheduler(**config, timestep_spacing="trailing")
    kind = samplers.EulerDiscreteScheduler if sampler == "euler" else samplers.DPMSolverMultistepScheduler
    return kind(**shared, use_karras_sigmas=scheduler == "karras", timestep_spacing="trailing")


def _save(picture: Image.Image, file: Path) -> None:
    temporary = file.with_name(f".{file.name}.tmp")
    file.parent.mkdir(parents=True, exist_ok=True)
    picture.save(temporary, "PNG")
    temporary.replace(file)


def main(arguments: Iterable[str]) -> int:
    (job_file,) = arguments
    try:
        render_job(json.loads(Path(job_file).read_text("utf-8")))
        return 0
    except BridgeError as error:
        print(json_text.write({"problem": error.problem, "fix": error.fix}), flush=True)
    except Exception as error:  # the outermost edge: the traceback goes to the log, a sentence to the parent
        traceback.print_exc()
        told = {
            "problem": f"Rendering broke off: {reason_of(error)}.",
            "fix": "The traceback is in render.log.",
        }
        if Accelerator.find(torch).ran_out(error):
            told = {
                "problem": "The memory of the device ran out while rendering.",
                "fix": "Render smaller pictures, or free the GPU first.",
            }
        print(json_text.write(told), flush=True)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
