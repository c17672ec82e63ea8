"""The model side of every family that ComfyUI knows: its own models, text encoders and VAEs, in the child process only.

The only place of `kohya_bridge` that imports comfy.
"""
