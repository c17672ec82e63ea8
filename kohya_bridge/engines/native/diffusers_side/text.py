"""Captions to conditioning: CLIP's tokenizer and text encoders as Stable Diffusion 1.x and SDXL use them.

In: captions. Out: token ids in chunks of 77, then hidden states (B, T, C) and for SDXL the pooled vector (B, P). Chunking
follows sd-scripts (library/strategy_base.py `_get_input_ids`, strategy_sd.py, strategy_sdxl.py): 75, 150 or 225 tokens
are 1 to 3 chunks, encoded one by one and joined. Works with transformers 4.54+ and 5.x, whose CLIP modules are nested
differently.

B captions, N chunks, T = 75 N + 2 tokens, C width of the conditioning, P width of the pooled vector.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from ....architectures import architecture
from ....errors import InvalidInput, NotFound
from .checkpoint import Checkpoint, State, put_weights

CHUNK = 75  # tokens between the begin and end marks; CLIP was trained on 77 with them
BEGIN, END = 49406, 49407
PAD_BIG_G = 0  # open_clip pads with "!" (id 0), OpenAI's CLIP with the end mark


@dataclass(frozen=True)
class Encoded:
    """Conditioning of B captions: `hidden` (B, T, C); `pooled` (B, P) for SDXL, else None."""

    hidden: torch.Tensor
    pooled: torch.Tensor | None


class TextStack:
    """Tokenizer and text encoders of one base model. `encoders` are CLIP-L, then (SDXL) OpenCLIP bigG."""

    def __init__(self, tokenizer: CLIPTokenizer, encoders: Sequence[Any]):
        self.tokenizer = tokenizer
        self.encoders = list(encoders)

    @property
    def is_sdxl(self) -> bool:
        return len(self.encoders) == 2

    def tokenize(self, captions: Sequence[str], max_token_length: int = CHUNK) -> list[torch.Tensor]:
        """Ids (B, N, 77) for each encoder; what is longer than `max_token_length` tokens is cut off."""
        pads = [END, PAD_BIG_G][: len(self.encoders)]
        plain = [self._plain_ids(caption, max_token_length) for caption in captions]
        return [
            torch.tensor([chunked(ids, max_token_length, pad=pad) for ids in plain], dtype=torch.long)
            for pad in pads
        ]

    def _plain_ids(self, caption: str, length: int) -> list[int]:
        ids: list[int] = self.tokenizer(caption, add_special_tokens=False, verbose=False).input_ids
        return ids[:length]

    def encode(self, ids: Sequence[torch.Tensor], clip_skip: int = 1) -> Encoded:
        """Conditioning for `tokenize`'s ids. `clip_skip` counts layers from the end and is for SD 1.x only.

        SDXL always takes the last but one layer of both encoders, without final norm, and pools the second encoder's
        first chunk at its end mark.
        """
        if not self.is_sdxl:
            return Encoded(self._encode_clip_l(ids[0], clip_skip), None)
        hidden_l = self._run(0, ids[0]).hidden_states[-2]
        big_g = self._run(1, ids[1])
        pooled = self._pool(big_g.last_hidden_state, ids[1])
        hidden = torch.cat([_joined(hidden_l, ids[0]), _joined(big_g.hidden_states[-2], ids[1])], dim=-1)
        return Encoded(hidden, pooled)

    def _encode_clip_l(self, ids_BNL: torch.Tensor, clip_skip: int) -> torch.Tensor:
        output = self._run(0, ids_BNL)
        if clip_skip == 1:
            return _joined(output.last_hidden_state, ids_BNL)
        normed = text_body(self.encoders[0]).final_layer_norm(output.hidden_states[-clip_skip])
        return _joined(normed, ids_BNL)

    def _run(self, index: int, ids_BNL: torch.Tensor) -> Any:
        encoder = self.encoders[index]
        device = next(encoder.parameters()).device
        return encoder(ids_BNL.reshape(-1, CHUNK + 2).to(device), output_hidden_states=True)

    def _pool(self, last_hidden: torch.Tensor, ids_BNL: torch.Tensor) -> torch.Tensor:
        """The projected state at the first end mark of each caption's first chunk, (B, P)."""
        first_BL = ids_BNL[:, 0].to(last_hidden.device)
        states_BLC = last_hidden.reshape(*ids_BNL.shape, -1)[:, 0]
        ends_B = (first_BL == END).int().argmax(dim=1)
        picked_BC = states_BLC[torch.arange(len(ends_B), device=ends_B.device), ends_B]
        pooled: torch.Tensor = self.encoders[1].text_projection(picked_BC)
        return pooled


def chunked(ids: Sequence[int], length: int, *, pad: int) -> list[list[int]]:
    """`ids` as rows of 77: begin mark, 75 tokens, end mark, padded with `pad`, as sd-scripts cuts them."""
    padded = [*ids, END, *[pad] * length][: length + 1]
    last = END if len(ids) >= length else pad
    rows = []
    for start in range(0, length, CHUNK):
        row = [BEGIN, *padded[start : start + CHUNK], last if length > CHUNK else padded[length]]
        if length > CHUNK and pad != END:
            if row[-2] not in (END, pad):
                row[-1] = END
            if row[1] == pad:
                row[1] = END
        rows.append(row)
    return rows


def _joined(hidden: torch.Tensor, ids_BNL: torch.Tensor) -> torch.Tensor:
    """Hidden states (B*N, 77, C) of the chunks as one sequence (B, 75 N + 2, C) with one begin and one end mark."""
    batch, chunks, _ = ids_BNL.shape
    if chunks == 1:
        return hidden
    parts = hidden.reshape(batch, chunks, CHUNK + 2, -1)
    inner = parts[:, :, 1:-1].reshape(batch, chunks * CHUNK, -1)
    return torch.cat([parts[:, 0, :1], inner, parts[:, -1, -1:]], dim=1)


def text_body(encoder: torch.nn.Module) -> Any:
    """The module that holds embeddings, layers and final norm: transformers 5 dropped a level in CLIPTextModel."""
    return getattr(encoder, "text_model", encoder)


def load_tokenizer(folder: Path) -> CLIPTokenizer:
    """CLIP's tokenizer from a folder with `vocab.json` and `merges.txt` (or `tokenizer.json`, as transformers 5 saves).

    Its length limit is always 77, whatever the folder says (ComfyUI's says 8192).

    Raises:
        NotFound: a file is missing. InvalidInput: it is not CLIP's vocabulary.
    """
    missing = [name for name in ("vocab.json", "merges.txt") if not (Path(folder) / name).is_file()]
    if missing and not (Path(folder) / "tokenizer.json").is_file():
        raise NotFound(
            f"The tokenizer folder {Path(folder).name} has no {' and no '.join(missing)}.",
            "Point to ComfyUI's comfy/sd1_tokenizer.",
        )
    tokenizer = CLIPTokenizer.from_pretrained(str(folder), model_max_length=CHUNK + 2, local_files_only=True)
    if tokenizer("a").input_ids[:1] != [BEGIN] or tokenizer("a").input_ids[-1:] != [END]:
        raise InvalidInput(
            f"The tokenizer folder {Path(folder).name} does not hold CLIP's vocabulary.",
            "Point to ComfyUI's comfy/sd1_tokenizer.",
        )
    return tokenizer


def load_text_stack(
    checkpoint: Checkpoint, family: str, dtype: torch.dtype, tokenizer_dir: Path | None
) -> TextStack:
    """The text encoders of an open single-file checkpoint."""
    if tokenizer_dir is None:
        raise NotFound("No tokenizer folder was given.", "Point to ComfyUI's comfy/sd1_tokenizer.")
    tokenizer = load_tokenizer(tokenizer_dir)
    encoders = [_build(CLIPTextModel, checkpoint.clip_l_state(family, dtype), "quick_gelu", "text encoder")]
    if len(architecture(family).text_encoder_prefixes) > 1:
        state = checkpoint.clip_g_state(dtype)
        encoders.append(_build(CLIPTextModelWithProjection, state, "gelu", "second text encoder"))
    return TextStack(tokenizer, encoders)


def load_text_stack_from_folder(
    folder: Path, family: str, dtype: torch.dtype, device: torch.device, tokenizer_dir: Path | None
) -> TextStack:
    """The text encoders of a diffusers folder, with its own tokenizer where it has one."""
    own = folder / "tokenizer"
    tokenizer = load_tokenizer(own if own.is_dir() or tokenizer_dir is None else tokenizer_dir)
    kinds = [("text_encoder", CLIPTextModel), ("text_encoder_2", CLIPTextModelWithProjection)]
    encoders = []
    for name, kind in kinds[: len(architecture(family).text_encoder_prefixes)]:
        encoder = kind.from_pretrained(folder / name, local_files_only=True, use_safetensors=True)
        # not `dtype=` in the call above: transformers renamed that argument between 4.54 and 5
        encoders.append(encoder.to(device, dtype).eval().requires_grad_(False))
    return TextStack(tokenizer, encoders)


def _build(kind: type, state: State, activation: str, what: str) -> Any:
    with torch.device("meta"):
        model = kind(clip_config(state, activation))
    if not any(name.startswith("text_model.") for name in model.state_dict()):
        state = {name.removeprefix("text_model."): tensor for name, tensor in state.items()}
    put_weights(model, state, what=what)
    embeddings = text_body(model).embeddings
    # not a weight, so no checkpoint has it; on the meta device it stayed empty
    positions = torch.arange(
        embeddings.position_embedding.num_embeddings, device=next(model.parameters()).device
    )
    embeddings.position_ids = positions.expand((1, -1))
    return model.eval()


def clip_config(state: State, activation: str) -> CLIPTextConfig:
    """The configuration of a CLIP text encoder for weights under transformers names. Heads are 64 wide in all CLIPs."""
    names = ("embeddings.token_embedding", "embeddings.position_embedding", "encoder.layers.0.mlp.fc1")
    shapes = [
        state[f"text_model.{name}.weight"].shape for name in names if f"text_model.{name}.weight" in state
    ]
    if len(shapes) != len(names):
        raise InvalidInput(
            "A text encoder in this checkpoint has a layout that is not known here.",
            "Use a plain Stable Diffusion 1.x or SDXL checkpoint.",
        )
    (vocabulary, width), (positions, _), (intermediate, _) = shapes
    layers = {name.split(".")[3] for name in state if name.startswith("text_model.encoder.layers.")}
    projection = state.get("text_projection.weight")
    return CLIPTextConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=intermediate,
        num_hidden_layers=len(layers),
        num_attention_heads=max(1, width // 64),
        max_position_embeddings=positions,
        hidden_act=activation,
        projection_dim=width if projection is None else projection.shape[0],
        bos_token_id=BEGIN,
        eos_token_id=END,
        pad_token_id=1,
    )
