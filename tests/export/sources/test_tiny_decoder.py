"""Tiny decoders: TAESD's own file and diffusers' folder."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from diffusers import AutoencoderTiny
from fgdm.export.errors import ExportError
from fgdm.export.sources import load_tiny_decoder
from torch import Tensor

from tests.export.sources.layouts import random_file, taesd_decoder
from tests.export.sources.tiny_ldm import assert_holds, save

ENTRIES = taesd_decoder()


def small(seed: int = 0) -> dict[str, Tensor]:
    return {key: 0.05 * value for key, value in random_file(ENTRIES, seed).items()}


def reference(tensors: dict[str, Tensor], latents: Tensor) -> Tensor:
    """TAESD's decoder as it is published, layer by layer: a picture in 0..1."""

    def convolve(x: Tensor, name: str) -> Tensor:
        return F.conv2d(x, tensors[f"{name}.weight"], tensors.get(f"{name}.bias"), padding=1)

    def block(x: Tensor, number: int) -> Tensor:
        inside = convolve(x, f"{number}.conv.0").relu()
        inside = convolve(inside, f"{number}.conv.2").relu()
        return (convolve(inside, f"{number}.conv.4") + x).relu()

    x = convolve(torch.tanh(latents / 3) * 3, "1").relu()
    for first in (3, 8, 13):
        for number in range(first, first + 3):
            x = block(x, number)
        x = convolve(F.interpolate(x, scale_factor=2), str(first + 4))
    return convolve(block(x, 18), "19")


def test_the_table_has_taesd_s_size() -> None:
    assert sum(math.prod(entry.shape) for entry in ENTRIES) == 1_222_531


@pytest.mark.parametrize("name", ["taesd_decoder.safetensors", "taesd_decoder.pth"])
def test_taesd_s_own_file(tmp_path: Path, name: str) -> None:
    tensors = small()
    model = load_tiny_decoder(str(save(tmp_path / name, tensors)))
    assert_holds(model, ENTRIES, tensors)
    latents = torch.randn(1, 4, 5, 6)
    with torch.no_grad():
        picture = model.decode(latents / model.config.scaling_factor).sample
    torch.testing.assert_close(picture, 2 * reference(tensors, latents) - 1, rtol=1e-4, atol=1e-5)


def test_diffusers_folder(tmp_path: Path) -> None:
    whole = AutoencoderTiny(
        encoder_block_out_channels=(8, 8, 8, 8), decoder_block_out_channels=(8, 8, 8, 8)
    ).eval()
    whole.save_pretrained(tmp_path / "tiny")
    for source in (tmp_path / "tiny", tmp_path / "tiny/diffusion_pytorch_model.safetensors"):
        if source.is_file():
            with pytest.raises(ExportError, match="have another shape"):  # a file is TAESD's size
                load_tiny_decoder(source)
            continue
        model = load_tiny_decoder(source)
        assert model.encoder is None
        latents = torch.randn(1, 4, 3, 3)
        with torch.no_grad():
            assert torch.equal(model.decode(latents).sample, whole.decode(latents).sample)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"7.bias": torch.ones(64)}, "unexpected: decoder.layers.6.bias"),
        (
            {"1.weight": torch.ones(64, 16, 3, 3)},
            "layers.0.weight is 64x16x3x3 instead of 64x4x3x3",
        ),
        ({"quant.weight": torch.ones(1)}, "isn't a tiny decoder: it holds quant.weight"),
    ],
)
def test_wrong_files(tmp_path: Path, changes: dict[str, Tensor], message: str) -> None:
    with pytest.raises(ExportError, match=message):
        load_tiny_decoder(save(tmp_path / "taesd_decoder.pth", {**small(), **changes}))
