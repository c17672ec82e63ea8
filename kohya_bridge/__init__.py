"""The core of Wizdroid LoRA training: everything that is true without ComfyUI.

In: a dataset, a base model and a request. Out: run folders, events, checkpoints, packages. It imports neither ComfyUI
nor, above `engines/native`, torch. This file stays empty of imports: trainer interpreters import it too.
"""

__version__ = "0.1.0"
