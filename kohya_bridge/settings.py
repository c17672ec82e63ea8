"""TrainingSettings: every number of a training, named and meant as in sd-scripts.

In: values from a preset, a config, a node. Out: one validated model; values that can't go together are refused with both
quoted. The string under each field is its documentation: meaning, unit, when to change it.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from .forbidding import Forbidding

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Rate = Annotated[float, Field(gt=0.0, le=10.0)]
SCHEDULE_FREE = ("AdamWScheduleFree",)
DENSITIES = ("logit_normal", "mode")  # weighting schemes that say how often a time is drawn


class TrainingSettings(Forbidding):
    """The numbers of a training. Names, meanings and defaults follow sd-scripts unless the field says otherwise."""

    also_called: ClassVar[dict[str, str]] = {
        "rank": "network_dim",
        "dim": "network_dim",
        "lora_rank": "network_dim",
        "alpha": "network_alpha",
        "lora_alpha": "network_alpha",
        "lr": "unet_lr",
        "learning_rate": "unet_lr",
        "steps": "max_train_steps",
        "max_steps": "max_train_steps",
        "batch_size": "train_batch_size",
        "batch": "train_batch_size",
        "optimizer": "optimizer_type",
        "optimiser": "optimizer_type",
        "scheduler": "lr_scheduler",
        "precision": "mixed_precision",
        "repeats": "num_repeats",
        "gradient_accumulation": "gradient_accumulation_steps",
    }
    """What other trainers and people call these, for whoever types it."""

    # --- the network -----------------------------------------------------------------------------------------------
    network_dim: Annotated[int, Field(ge=1, le=512)] = 16
    """Rank of the LoRA matrices. 8 to 16 holds one character; more costs memory and overfits small sets sooner."""
    network_alpha: Annotated[float, Field(gt=0, le=1024)] = 8.0
    """The update is scaled by `network_alpha / network_dim`. Half of the rank is the common choice."""
    conv_dim: Annotated[int, Field(ge=0, le=512)] = 0
    """Rank for the 3x3 convolutions of the U-Net's residual blocks (LoCon); 0 leaves them alone."""
    conv_alpha: Annotated[float, Field(gt=0, le=1024)] = 1.0
    """Alpha of the convolution LoRA; counts only with `conv_dim`."""
    network_dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Share of the rank-sized activations dropped while training."""
    network_weights: str = ""
    """SHA-256 of a LoRA file to start from instead of zeros; empty starts fresh. The desk resolves names to digests."""
    network_train_unet_only: bool = True
    """Leave the text encoders alone. Their outputs can then be cached, which saves memory and time."""

    # --- rates, optimiser, schedule --------------------------------------------------------------------------------
    unet_lr: Rate = 1e-4
    """Learning rate of the U-Net's LoRA. Prodigy wants 1.0."""
    text_encoder_lr: Rate = 5e-5
    """Learning rate of the text encoders' LoRA; counts only when they are trained."""
    optimizer_type: Literal["AdamW", "AdamW8bit", "Adafactor", "Lion", "Prodigy", "AdamWScheduleFree"] = (
        "AdamW"
    )
    """The optimiser. AdamW8bit saves memory and needs bitsandbytes; Prodigy finds its own rate (set rates to 1.0)."""
    optimizer_args: dict[str, float | int | bool | str | list[float]] = {}
    """Keyword arguments of the optimiser, such as `weight_decay: 0.01` or `betas: [0.9, 0.99]`."""
    lr_scheduler: Literal[
        "constant", "constant_with_warmup", "linear", "cosine", "cosine_with_restarts", "polynomial"
    ] = "cosine"
    """Shape of the learning rate over the run. Schedule-free optimisers want `constant`."""
    lr_warmup_steps: Annotated[float, Field(ge=0)] = 0.05
    """Warm-up: below 1 a share of all steps, else a number of optimizer steps."""
    lr_scheduler_num_cycles: Annotated[int, Field(ge=1, le=100)] = 1
    """Number of restarts of `cosine_with_restarts`."""
    lr_scheduler_power: Annotated[float, Field(gt=0, le=10)] = 1.0
    """Exponent of `polynomial`."""
    max_train_steps: Annotated[int, Field(ge=1, le=1_000_000)] = 1500
    """Number of optimizer steps."""
    train_batch_size: Annotated[int, Field(ge=1, le=256)] = 2
    """Pictures in one forward pass on one device."""
    gradient_accumulation_steps: Annotated[int, Field(ge=1, le=256)] = 1
    """Forward passes whose gradients are averaged into one optimizer step."""
    max_grad_norm: Annotated[float, Field(ge=0)] = 1.0
    """Gradients are scaled down to this L2 norm; 0 switches clipping off."""

    # --- memory and speed ------------------------------------------------------------------------------------------
    mixed_precision: Literal["auto", "no", "fp16", "bf16"] = "auto"
    """Precision of the frozen model and of the activations: auto is the one that the device computes best, and the plan says which.
    LoRA weights are always kept in fp32."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: much less memory, about a third more time."""
    attention: Literal["sdpa", "xformers"] = "sdpa"
    """Attention kernel. PyTorch's SDPA needs nothing; xformers needs CUDA and its package."""
    torch_compile: bool = False
    """Compile the U-Net's blocks with torch.compile: slow first steps, faster later ones."""
    cache_latents: bool = True
    """Encode each picture once, before training, and keep the latents on disk by content."""
    cache_text_encoder_outputs: bool = True
    """Encode each caption once, before training. Not with trained text encoders or changing captions."""

    # --- pictures --------------------------------------------------------------------------------------------------
    resolution: Annotated[int, Field(ge=64, le=4096)] = 512
    """Edge in pixels of the square whose area every training picture has at most."""
    enable_bucket: bool = True
    """Group pictures by aspect ratio instead of cropping all to squares."""
    min_bucket_reso: Annotated[int, Field(ge=64, le=8192)] = 256
    """Shortest bucket edge in pixels."""
    max_bucket_reso: Annotated[int, Field(ge=64, le=8192)] = 1024
    """Longest bucket edge in pixels."""
    bucket_reso_steps: Annotated[int, Field(ge=8, le=512)] = 64
    """Bucket edges are multiples of this number of pixels."""
    bucket_no_upscale: bool = True
    """Never enlarge a picture to fill a bucket."""
    num_repeats: Annotated[int, Field(ge=1, le=10_000)] = 1
    """How often each picture stands in one epoch."""
    flip_aug: bool = False
    """Mirror every second pass over a picture. Not for characters with one-sided features."""

    # --- captions --------------------------------------------------------------------------------------------------
    shuffle_caption: bool = False
    """Shuffle the comma-separated tags of a caption each time."""
    keep_tokens: Annotated[int, Field(ge=0, le=255)] = 1
    """Tags at the front that are never shuffled or dropped: the trigger stands there."""
    caption_dropout_rate: Share = 0.0
    """Share of picks whose caption is replaced by the empty one."""
    caption_tag_dropout_rate: Share = 0.0
    """Share of tags (after the kept ones) dropped from a caption each time."""
    clip_skip: Annotated[int, Field(ge=1, le=12)] = 1
    """Use the text encoder's n-th last layer (SD 1.x only); 2 for many anime bases."""
    max_token_length: Literal[75, 150, 225] = 75
    """Caption length in tokens; what is longer is cut off."""

    # --- the objective ---------------------------------------------------------------------------------------------
    min_snr_gamma: Annotated[float, Field(ge=0, le=100)] = 5.0
    """Weight steps by min(SNR, gamma) / SNR (Hang et al. 2023, arXiv 2303.09556); 0 weights all alike."""
    noise_offset: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Adds a per-channel constant to the noise, for darker darks; 0.0357 is common."""
    prediction_type: Literal["epsilon", "v_prediction"] = "epsilon"
    """What the base predicts; a property of the checkpoint."""
    diff_output_preservation_multiplier: Annotated[float, Field(ge=0, le=10)] = 0.0
    """Weight of keeping the base model's answers to captions without the trigger, so that the character stays behind its
    word (ai-toolkit's differential output preservation). 1 is common, 0 is off; a step takes up to 2.3 times as long."""
    diff_output_preservation_every_n_steps: Annotated[int, Field(ge=1, le=1000)] = 1
    """Keep the base model's answers at every n-th optimizer step only. The steps between take their usual time, and the multiplier
    is not raised for it: with 2, preservation weighs half as much in all at half of its cost."""
    zero_terminal_snr: bool = False
    """Rescale the noise schedule to end in pure noise (Lin et al. 2023, arXiv 2305.08891); for v-prediction bases."""
    timestep_sampling: Literal["auto", "uniform", "sigma", "sigmoid", "shift", "flux_shift"] = "auto"
    """How a flow model's times are drawn. `auto`: uniform in the sampler's own time, with the family's shift. The others as in
    sd-scripts: `uniform`; `sigma`, by the density of `weighting_scheme`; `sigmoid` of a Gaussian; `shift`, the same moved by
    `discrete_flow_shift`; `flux_shift`, moved by the picture's size."""
    discrete_flow_shift: Annotated[float, Field(ge=0, le=100)] = 0.0
    """A shift of one's own for `auto`, `sigma` and `shift`; 0 takes the family's. Above 1 there is more of the noisy end."""
    weighting_scheme: Literal["none", "sigma_sqrt", "logit_normal", "mode", "cosmap"] = "none"
    """Of a flow model: `sigma_sqrt` and `cosmap` weigh times; `logit_normal` and `mode` are densities for `sigma`."""
    logit_mean: Annotated[float, Field(ge=-10, le=10)] = 0.0
    """Mean of the Gaussian behind `logit_normal`; below 0 is nearer to the picture."""
    logit_std: Annotated[float, Field(gt=0, le=10)] = 1.0
    """Its standard deviation."""
    sigmoid_scale: Annotated[float, Field(gt=0, le=10)] = 1.0
    """Scale of the Gaussian behind `sigmoid`, `shift` and `flux_shift`."""
    mode_scale: Annotated[float, Field(ge=-1, le=1.75)] = 1.29
    """How heavy the middle is in `mode` (Esser et al. 2024, arXiv 2403.03206, equation 20)."""
    base_weights: str = ""
    """SHA-256 of a LoRA file that is on while training, frozen, and no part of the result: the training adapter of a distilled
    model. Empty: none. The desk resolves names to digests."""
    base_weights_multiplier: Annotated[float, Field(gt=0, le=2)] = 1.0
    """Strength of `base_weights`."""
    min_timestep: Annotated[int, Field(ge=0, le=999)] = 0
    """Smallest diffusion timestep that is trained."""
    max_timestep: Annotated[int, Field(ge=1, le=1000)] = 1000
    """One past the largest diffusion timestep that is trained."""
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = 42
    """Seed of weights, order, noise, timesteps and dropout: the same seed is the same training, bit for bit."""

    # --- saving, validating, stopping ------------------------------------------------------------------------------
    save_every_n_steps: Annotated[int, Field(ge=0)] = 250
    """Optimizer steps between LoRA checkpoints; 0 saves only the last."""
    save_state: bool = True
    """Save a full resume state with every checkpoint."""
    save_last_n_states: Annotated[int, Field(ge=1, le=1000)] = 2
    """How many resume states are kept; older ones are deleted. (sd-scripts counts steps here; we count states.)"""
    save_precision: Literal["fp16", "bf16", "float"] = "fp16"
    """Number format of the LoRA files."""
    validation_split: Annotated[float, Field(ge=0.0, le=0.5)] = 0.1
    """Share of the pictures that are held out of training to measure it; 0 measures nothing."""
    validation_seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = 1234
    """Seed of the split and of the fixed validation noise."""
    validate_every_n_steps: Annotated[int, Field(ge=0)] = 250
    """Optimizer steps between measurements; 0 measures only with checkpoints."""
    early_stop_patience: Annotated[int, Field(ge=0, le=1000)] = 0
    """Stop after this many measurements without a better held-out loss; 0 never stops early."""
    early_stop_min_delta: Annotated[float, Field(ge=0)] = 0.0
    """A held-out loss counts as better only when lower by more than this."""
    target_psnr: Annotated[float, Field(ge=0, le=100)] = 0.0
    """Stop when the held-out one-step PSNR reaches this many dB; 0 never does."""

    @field_validator("mixed_precision", mode="before")
    @classmethod
    def _no_is_a_word_here(cls, value: object) -> object:
        """YAML reads an unquoted `no` as false."""
        return "no" if value is False else value

    @field_validator("lr_warmup_steps")
    @classmethod
    def _whole_warmup(cls, value: float) -> float:
        if value > 1 and value != int(value):
            raise ValueError(
                f"{value} is neither a share below 1 nor a whole number of steps. | Write 0.05 or 100."
            )
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> TrainingSettings:
        wrong = []
        if self.cache_text_encoder_outputs:
            clashing = [
                name
                for name, on in (
                    ("network_train_unet_only: false", not self.network_train_unet_only),
                    ("shuffle_caption: true", self.shuffle_caption),
                    (
                        f"caption_tag_dropout_rate: {self.caption_tag_dropout_rate}",
                        self.caption_tag_dropout_rate > 0,
                    ),
                )
                if on
            ]
            if clashing:
                wrong.append(
                    (
                        f"cache_text_encoder_outputs: true can't be used with {', '.join(clashing)}.",
                        "Set cache_text_encoder_outputs to false, or switch the others off.",
                    )
                )
        if self.min_bucket_reso > self.max_bucket_reso:
            wrong.append(
                (
                    f"min_bucket_reso {self.min_bucket_reso} is above max_bucket_reso {self.max_bucket_reso}.",
                    "Swap them.",
                )
            )
        for name in ("resolution", "bucket_reso_steps"):
            if (pixels := getattr(self, name)) % 8:
                wrong.append(
                    (
                        f"{name} {pixels} is not a multiple of 8: the VAE works on blocks of 8 pixels.",
                        f"Set it to {round(pixels / 8) * 8}.",
                    )
                )
        if self.min_timestep >= self.max_timestep:
            wrong.append(
                (
                    f"min_timestep {self.min_timestep} is not below max_timestep {self.max_timestep}.",
                    "Set them to 0 and 1000, which is the whole range.",
                )
            )
        if self.optimizer_type in SCHEDULE_FREE and self.lr_scheduler != "constant":
            wrong.append(
                (
                    f"optimizer_type {self.optimizer_type} brings its own schedule; lr_scheduler is {self.lr_scheduler}.",
                    "Set lr_scheduler to constant.",
                )
            )
        if self.zero_terminal_snr and self.prediction_type == "epsilon":
            wrong.append(
                (
                    "zero_terminal_snr: true needs prediction_type v_prediction; it is epsilon.",
                    "An epsilon model can't learn the last step: set zero_terminal_snr to false.",
                )
            )
        if self.weighting_scheme in DENSITIES and self.timestep_sampling != "sigma":
            wrong.append(
                (
                    f"weighting_scheme {self.weighting_scheme} works with timestep_sampling sigma only; it is {self.timestep_sampling}.",
                    "Set timestep_sampling to sigma.",
                )
            )
        if (self.early_stop_patience or self.target_psnr) and not self.validation_split:
            wrong.append(
                (
                    f"{' and '.join(name for name in ('early_stop_patience', 'target_psnr') if getattr(self, name))} "
                    f"can't be judged without held-out pictures; validation_split is 0.",
                    "Set validation_split to 0.1.",
                )
            )
        if wrong:
            *before, last = wrong
            raise ValueError(" ".join([*(f"{problem} {fix}" for problem, fix in before), " | ".join(last)]))
        return self
