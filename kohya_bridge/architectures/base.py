"""What an architecture is: everything in which one model family differs from another, as data.

In: nothing. Out: the dataclasses that each file of this folder fills in. A value that is the same for all families has no place
here; a value that differs between two of them has no place anywhere else. Pure: no file is read, nothing is imported but names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Literal

from ..errors import InvalidInput

CLIP = "clip"
Shapes = Mapping[str, tuple[int, ...]]
"""Tensors of a file by name, without the prefix that some files put before a diffusion model's names."""
Size = tuple[int | None, ...]
"""A shape in which None stands for any number."""


@dataclass(frozen=True)
class Marks:
    """How the diffusion model of a family is known by its tensors' names and shapes.

    `having`: beginnings of names, each of which some tensor must have; `any_of`: beginnings of which one will do; `lacking`:
    beginnings that no tensor may have; `sized`: patterns of names (`*` for anything) with the shape that every tensor so named
    has, and at least one must be there.
    """

    having: tuple[str, ...] = ()
    lacking: tuple[str, ...] = ()
    sized: Mapping[str, Size] = field(default_factory=dict)
    any_of: tuple[str, ...] = ()

    def fit(self, shapes: Shapes) -> bool:
        """Whether a file with these tensors bears the marks."""
        return (
            all(_begins(shapes, each) for each in self.having)
            and not any(_begins(shapes, each) for each in self.lacking)
            and (not self.any_of or any(_begins(shapes, each) for each in self.any_of))
            and all(_sized(shapes, pattern, size) for pattern, size in self.sized.items())
        )


@dataclass(frozen=True)
class ModelFile:
    """A file that a family needs beside its base model: the name by which it is chosen (sd-scripts' option where sd-scripts
    trains the family), and the ComfyUI folder that lists it.

    `known_by`: tensors and their shapes that no other kind of file in that folder has; the marks that ComfyUI goes by too
    (`comfy/sd.py`: detect_te_model and the VAE loader). `unknown_by`: tensors that a file with the same marks must not have.
    """

    option: str
    title: str
    folder: str
    required: bool = True
    known_by: Mapping[str, Size] = field(default_factory=dict)
    unknown_by: tuple[str, ...] = ()


@dataclass(frozen=True)
class Presets:
    """Numbers by preset: `always` for every preset of the family, `by_name` on top of it. `sources` says for each setting, or
    for all of them under "", where its number comes from: docs/presets.md shows it."""

    always: Mapping[str, Any]
    by_name: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    sources: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Estimates:
    """What a training of this family costs, for advice before the start.

    GiB are of the model in half precision; activations are what one picture at the family's resolution keeps for the backward
    pass, with a LoRA on every matrix, without and with gradient checkpointing; `encoders_gib` is what encodes pictures and
    captions, and is gone before the first step. Counted on the real networks without weights (docs/measurements.md).
    """

    weights_gib: float
    activations_gib: float
    checkpointed_gib: float
    encoders_gib: float
    lora_mb_per_rank: float
    """Megabytes (10^6) of a LoRA of rank 1 on the diffusion model alone, in half precision."""
    forward_tflop: float
    """Floating point operations (10^12) of one picture through the model once, at the family's resolution."""


def in_the_gui(prefix: str, *options: str) -> dict[str, str]:
    """kohya_ss' GUI's field -> sd-scripts option, for fields that are called as the option is, after a prefix."""
    return {f"{prefix}_{option}" if prefix else option: option for option in options}


TEXT_CACHES = ("cache_text_encoder_outputs", "cache_text_encoder_outputs_to_disk")
FLOW = ("discrete_flow_shift", "timestep_sampling")


@dataclass(frozen=True)
class Kohya:
    """How sd-scripts trains the family, and what is odd about its script there.

    `options` is what its guide sets; `bucket_step` the divisor that it insists on; `tokenizers` the folders that it looks for
    below --tokenizer_cache_dir; `gui_types` the GUI's names for a LoRA of this family, `gui_fields` those of its
    fields that it reads for this family alone, by the option that each becomes.
    """

    script: str
    network_module: str
    options: Mapping[str, Any] = field(default_factory=dict)
    bucket_step: int = 64
    tokenizers: tuple[str, ...] = ()
    takes_tokenizer_folder: bool = True
    caches_text: bool = True
    long_captions: bool = False
    """Whether the script reads captions in chunks, as many as max_token_length has."""
    swaps_blocks: bool = True
    refused_precisions: tuple[str, ...] = ()
    vae_overflows_in: tuple[str, ...] = ()
    """Formats in which the family's own VAE gives NaN, unless sd-scripts is told `no_half_vae`."""
    gui_types: tuple[str, ...] = ()
    gui_fields: Mapping[str, str] = field(default_factory=dict)
    gui_flag: str = ""
    """The GUI's check box that means this family."""


@dataclass(frozen=True)
class Diffusers:
    """What diffusers' configuration of a U-Net family needs and no tensor tells.

    `heads` of attention at every level, None: one for every 64 channels; `original_names` tells whether the names in kohya's
    LoRA files are those of the original model rather than diffusers'.
    """

    latent_scale: float
    sample_size: int
    heads: int | None = None
    original_names: bool = False


@dataclass(frozen=True)
class TextLoader:
    """ComfyUI's loader for the text encoders: its node, its `type`, and the model files (by option) in the order of its inputs."""

    node: Literal["CLIPLoader", "DualCLIPLoader", "TripleCLIPLoader", "QuadrupleCLIPLoader"]
    files: tuple[str, ...]
    type: str = ""


@dataclass(frozen=True)
class Drawing:
    """How ComfyUI draws with the family: its loaders and the sampling that its own templates use.

    Without `text` the base model is a whole checkpoint; without `vae` alone it is one that may lack the text encoders. `shift` is a value for ModelSamplingAuraFlow, where the
    templates set one.
    """

    text: TextLoader | None = None
    vae: str = ""
    """Option of the model file that VAELoader takes."""
    latent: str = "EmptyLatentImage"
    steps: int = 20
    cfg: float = 7.0
    sampler: str = "euler"
    scheduler: str = "normal"
    shift: float | None = None


@dataclass(frozen=True)
class Names:
    """What others call the family.

    `modelspec` is the architecture of modelspec.org, `base_version` sd-scripts' `ss_base_model_version`, `civitai` Civitai's
    base model, `lora_manager` the one that ComfyUI-Lora-Manager shows (Civitai's list), `a1111` AUTOMATIC1111's `sd version`,
    `hub_tag` the tag of its models on Hugging Face and `hub_base` the id of the base model there.
    """

    modelspec: str
    base_version: str
    civitai: str
    lora_manager: str
    hub_tag: str
    hub_base: str
    a1111: str = "Unknown"
    implementation: str = "diffusers"


@dataclass(frozen=True)
class Captions:
    """How the family reads captions: the tokenizer's name, how many tokens of a caption it takes (None: as
    `max_token_length` says), and whether the encoder's layer can be chosen (`clip_skip`)."""

    tokenizer: str = CLIP
    tokens: int | None = None
    clip_skip: bool = False

    @property
    def reads_clip(self) -> bool:
        """Whether CLIP's tokens are what counts."""
        return self.tokenizer == CLIP


@dataclass(frozen=True)
class Distilled:
    """That a model was distilled to few steps, and the advice of what to train instead, as a sentence. It holds for every file of
    the family, or only for those that bear `marks` or have one of `words` in their names."""

    advice: str
    marks: Marks | None = None
    words: tuple[str, ...] = ()

    def holds(self, shapes: Shapes, file_name: str) -> bool:
        """Whether a file is such a model."""
        if self.marks is None and not self.words:
            return True
        named = any(word in file_name.lower() for word in self.words)
        return named or (self.marks is not None and self.marks.fit(shapes))


@dataclass(frozen=True)
class Architecture:
    """One model family. `name` is what plans and configs say."""

    name: str
    title: str
    resolution: int
    """Edge in pixels of the square that it was made for."""
    prompt_style: str
    """How it wants to be prompted: `tags`, `prose` or `natural`."""
    flow: bool
    """Whether it is a flow model: no SNR weighting, no v-prediction, no noise offset."""
    marks: tuple[Marks, ...]
    """How its diffusion model is known; any of them will do."""
    presets: Presets
    estimates: Estimates
    drawing: Drawing
    names: Names
    captions: Captions
    trainable: Literal["diffusers", "host"] | None
    """Which side of the native engine trains it: diffusers' models or the host's own; None: neither."""
    in_comfyui: tuple[str, str] | None = None
    """A file below ComfyUI's `comfy`, and what stands in it in every version that knows the family; None where nobody knows."""
    not_trainable: str = ""
    """Why `trainable` is None, as a sentence."""
    kohya: Kohya | None = None
    """How sd-scripts trains it; None: it does not."""
    diffusers: Diffusers | None = None
    """What the diffusers side must be told of it; None for the families of the host side."""
    latent_stride: int = 8
    """Pixels to a latent, along an edge."""
    latent_channels: int = 4
    bucket_step: int = 64
    """The multiple of pixels that its network takes."""
    base_folder: str = "checkpoints"
    """ComfyUI's folder for its base models."""
    model_files: tuple[ModelFile, ...] = ()
    parts: Mapping[str, str] = field(default_factory=dict)
    """What a whole checkpoint must hold beside the diffusion model: a word for it, and the prefix of its tensors."""
    lora_marks: tuple[Marks, ...] = ()
    """How a LoRA of this family is known where its metadata does not tell: the layers that it changes (paths with `_` for every
    dot, text encoders after `te_`, `te1_`, `te2_`) and the shapes of their weights. Any will do."""
    text_encoder_prefixes: tuple[str, ...] = ()
    """kohya's prefix for the LoRA of each text encoder that can be trained; none: only the diffusion model is."""
    name_hints: tuple[str, ...] = ()
    """Words in a file's name that tell this family from another with the same tensors."""
    untried: bool = False
    """Whether it stands for models that nobody has tried: their gradients are checked, and the answer says so."""
    distilled: Distilled | None = None
    """Which of its models were distilled to few steps."""

    @property
    def a_model(self) -> str:
        """A model of the family, with its article: `an Anima model`."""
        if self.title.startswith("another "):
            return self.title
        return f"{'an' if self.title[0] in 'AEIOU' else 'a'} {self.title} model"

    def bears(self, shapes: Shapes) -> bool:
        """Whether a diffusion model with these tensors is one of the family."""
        return any(marks.fit(shapes) for marks in self.marks)

    def file(self, option: str) -> ModelFile:
        """The model file that is chosen by that name. Raises KeyError."""
        return next(each for each in self.model_files if each.option == option)


def diffusers_facts(architecture: Architecture) -> Diffusers:
    """What the diffusers side must be told of it. Raises InvalidInput for a family of another side."""
    if architecture.diffusers is None:
        raise InvalidInput(
            f"diffusers' models of {architecture.title} are not used here.", "Choose another side."
        )
    return architecture.diffusers


def sd_scripts(architecture: Architecture) -> Kohya:
    """How sd-scripts trains it. Raises InvalidInput where it does not."""
    if architecture.kohya is None:
        raise InvalidInput(f"sd-scripts does not train {architecture.title}.", "Choose the native engine.")
    return architecture.kohya


def _begins(shapes: Shapes, mark: str) -> bool:
    return any(name.startswith(mark) for name in shapes)


def _sized(shapes: Shapes, pattern: str, size: Size) -> bool:
    found = [shape for name, shape in shapes.items() if fnmatchcase(name, pattern)]
    return bool(found) and all(fits(shape, size) for shape in found)


def fits(shape: tuple[int, ...], size: Size) -> bool:
    """Whether a shape is of that size."""
    return len(shape) == len(size) and all(
        wanted in (None, there) for there, wanted in zip(shape, size, strict=True)
    )
