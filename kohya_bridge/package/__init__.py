"""From a run to something that others can use: the LoRA with its provenance inside, its card, and its sidecars."""

from .package import LoraPackage, package_lora, packages_of

__all__ = ["LoraPackage", "package_lora", "packages_of"]
