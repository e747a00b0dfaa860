"""The operations that the roofline counts are those of Stable Diffusion 1.5's models."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from diffusers import AutoencoderKL, ControlNetModel, UNet2DConditionModel
from torch.utils.flop_counter import FlopCounterMode

from gpu.roofline import BACKBONE, BACKBONE_BYTES, CONTROLNET, DECODER


def tera_operations(call: Callable[[], object]) -> float:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        call()
    return float(counter.get_total_flops()) / 1e12


@pytest.mark.nightly
def test_operations_and_bytes_are_the_models_own() -> None:
    """On PyTorch's meta device, which has shapes and computes nothing."""
    with torch.device("meta"):
        unet = UNet2DConditionModel(sample_size=64, cross_attention_dim=768)
        controlnet = ControlNetModel(cross_attention_dim=768)
        vae = AutoencoderKL(
            block_out_channels=(128, 256, 512, 512),
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            layers_per_block=2,
        )
        timestep, context = torch.empty(1), torch.empty(1, 77, 768)
        assert 2 * sum(p.numel() for p in unet.parameters()) == pytest.approx(BACKBONE_BYTES, 0.01)
        for side in (32, 64):
            sample, hint = torch.empty(1, 4, side, side), torch.empty(1, 3, 8 * side, 8 * side)
            calls: list[tuple[dict[int, float], Callable[[], object]]] = [
                (BACKBONE, lambda: unet(sample, timestep, context)),  # noqa: B023
                (CONTROLNET, lambda: controlnet(sample, timestep, context, hint)),  # noqa: B023
                (DECODER, lambda: vae.decode(sample)),  # noqa: B023
            ]
            for counted, call in calls:
                if side in counted:
                    assert tera_operations(call) == pytest.approx(counted[side], rel=0.02)
