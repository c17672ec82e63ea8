"""A node pack for a test's ComfyUI: writes the files of a reduced family into ComfyUI's folders."""

from pathlib import Path

import folder_paths
from sitecustomize import reduced_models


class ReducedModelFiles:
    """Diffusion model, text encoder and VAE, each under its name; shows the three files' names."""

    CATEGORY, FUNCTION, OUTPUT_NODE, RETURN_TYPES = "tests", "write", True, ()

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "family": ("STRING", {"default": "zimage"}),
                "diffusion_model": ("STRING", {"default": "small.safetensors"}),
                "text_encoder": ("STRING", {"default": "small.safetensors"}),
                "vae": ("STRING", {"default": "small.safetensors"}),
            }
        }

    def write(self, family, diffusion_model, text_encoder, vae):
        small_files = reduced_models("small_files")
        names = {"diffusion_models": diffusion_model, "text_encoders": text_encoder, "vae": vae}
        diffusion, text, vae = (
            Path(folder_paths.get_folder_paths(kind)[0]) / name for kind, name in names.items()
        )
        small_files.write_diffusion_model(diffusion, family)
        small_files.write_text_encoder(text, family)
        small_files.write_vae(vae, family)
        return {"ui": {"text": [diffusion.name, text.name, vae.name]}}


NODE_CLASS_MAPPINGS = {"ReducedModelFiles": ReducedModelFiles}
