"""A tiny Stable Diffusion in the layout of single-file checkpoints, and what to expect of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from fgdm.export.sources import Base
from fgdm.export.sources.sd1 import SD1, Architecture
from safetensors.torch import save_file
from torch import Tensor, nn

from tests.export.sources import layouts
from tests.export.sources.layouts import Entry, UNetSizes

SIZES = UNetSizes(channels=(8, 16, 32, 32), context=16)
HINT = (2, 4, 6, 8)
_UNET = {
    "block_out_channels": SIZES.channels,
    "norm_num_groups": 8,
    "attention_head_dim": 2,
    "cross_attention_dim": SIZES.context,
}
#: Stable Diffusion 1.x with fewer channels: all names are the full-size ones.
TINY = Architecture(
    unet={**SD1.unet, **_UNET},
    vae={**SD1.vae, "block_out_channels": SIZES.channels, "norm_num_groups": 8},
    text_encoder={
        **SD1.text_encoder,
        "vocab_size": 60,
        "hidden_size": SIZES.context,
        "intermediate_size": 4 * SIZES.context,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": 8,
    },
    controlnet={**SD1.controlnet, **_UNET, "conditioning_embedding_out_channels": HINT},
)

UNET = [entry.behind("model.diffusion_model.") for entry in layouts.unet(SIZES)]
VAE = [entry.behind("first_stage_model.") for entry in layouts.vae(SIZES.channels)]
TEXT_ENCODER = [
    entry.behind("cond_stage_model.transformer.")
    for entry in layouts.text_encoder(SIZES.context, layers=2, vocabulary=60, length=8)
]
CONTROLNET = [entry.behind("control_model.") for entry in layouts.controlnet(SIZES, HINT)]
CHECKPOINT = [*UNET, *VAE, *TEXT_ENCODER]


def save(path: Path, tensors: dict[str, Tensor]) -> Path:
    """Write `path` as safetensors or with torch.save, as its suffix says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".safetensors":
        save_file(tensors, path)
    else:
        torch.save(tensors, path)
    return path


def assert_holds(model: nn.Module, entries: Sequence[Entry], tensors: dict[str, Tensor]) -> None:
    """The model has a float32 tensor for every entry, with the file's numbers, and no others."""
    state = {key.removeprefix("text_model."): value for key, value in model.state_dict().items()}
    assert state.keys() == {entry.model for entry in entries}
    for entry in entries:
        value = state[entry.model]
        assert value.dtype == torch.float32
        expected = tensors[entry.file].float().reshape(value.shape)
        assert torch.equal(value, expected), entry


def assert_is_base(base: Base, tensors: dict[str, Tensor]) -> None:
    """The base has the numbers of a file with the entries of `CHECKPOINT`."""
    assert_holds(base.unet, UNET, tensors)
    assert_holds(base.vae, VAE, tensors)
    assert_holds(base.text_encoder, TEXT_ENCODER, tensors)
    assert not any(value.is_meta for value in everything(base.unet, base.vae, base.text_encoder))


def everything(*models: nn.Module) -> Iterable[Tensor]:
    """All parameters and buffers, those that aren't saved as well."""
    for model in models:
        yield from model.parameters()
        yield from model.buffers()
