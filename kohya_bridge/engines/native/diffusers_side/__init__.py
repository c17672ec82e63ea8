"""The model side of SD 1.x and SDXL, by diffusers and transformers."""
