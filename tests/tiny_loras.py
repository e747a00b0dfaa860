"""Two random LoRAs for the tiny checkpoint, and a bundle whose requests weigh them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from fgdm.export.bundle import export_bundle
from fgdm.export.runtime_loras import RuntimeLora
from fgdm.export.signature import Precision
from fgdm.export.sources import load_base
from fgdm.export.sources.loras import lora_layers
from safetensors.torch import save_file
from torch import Tensor, nn

from tests.tiny_models import TinyCheckpoint

#: Ends of the names of layers that "style" changes, of both models; and "line", of the UNet alone:
#: convolutions of every kind, with strides and without.
STYLE = (
    *("to_q", "to_k", "to_v", "to_out.0", "ff.net.0.proj", "ff.net.2", "proj_in", "proj_out"),
    *("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"),
)
LINE = (
    *("to_q", "conv1", "conv2", "conv_shortcut", "time_emb_proj", "downsamplers.0.conv"),
    *("upsamplers.0.conv", "conv_in", "conv_out"),
)
FACTORS = ("segmentation", "image")


def pair(layer: nn.Module, rank: int) -> tuple[Tensor, Tensor]:
    """A random update that changes a layer's outputs by about a fifth."""
    weight = layer.get_parameter("weight")
    down = torch.randn(rank, *weight.shape[1:]) / weight[0].numel() ** 0.5
    up = 0.2 * torch.randn(len(weight), rank, *(1 for _ in weight.shape[2:])) / rank**0.5
    return down, up


def write_loras(folder: Path, checkpoint: TinyCheckpoint) -> dict[str, Path]:
    """style.safetensors with kohya's names, rank 3 and alphas; line.safetensors with peft's, of
    rank 2."""
    torch.manual_seed(43)
    base = load_base(checkpoint.base)
    layers = lora_layers(base.unet, base.text_encoder)
    style: dict[str, Tensor] = {}
    line: dict[str, Tensor] = {}
    for name, layer in layers.items():
        model, _, rest = name.partition(".")
        if name.endswith(STYLE):
            prefix = "lora_unet_" if model == "unet" else "lora_te_text_model_"
            key = prefix + rest.replace(".", "_")
            down, up = pair(layer, 3)
            style |= {f"{key}.lora_down.weight": down, f"{key}.lora_up.weight": up}
            style[f"{key}.alpha"] = torch.tensor(4.5)
        if model == "unet" and name.endswith(LINE):
            down, up = pair(layer, 2)
            line |= {f"{name}.lora_A.weight": down, f"{name}.lora_B.weight": up}
    folder.mkdir(parents=True, exist_ok=True)
    save_file(style, folder / "style.safetensors")
    save_file(line, folder / "line.safetensors")
    return {name: folder / f"{name}.safetensors" for name in ("style", "line")}


def runtime_loras(
    files: Mapping[str, Path], factors: tuple[str, ...] = FACTORS
) -> list[RuntimeLora]:
    return [RuntimeLora(name, file, factors) for name, file in files.items()]


def build_lora_bundle(
    folder: Path, checkpoint: TinyCheckpoint, precision: Precision = "fp32", **options: Any
) -> Path:
    """The tiny bundle; float32 weights in float32, so that nothing but the arithmetic differs."""
    return export_bundle(
        checkpoint.base,
        {"segmentation": checkpoint.adapter},
        checkpoint.controlnet,
        checkpoint.palette,
        folder,
        name="tiny",
        weights="fp32" if precision == "fp32" else "fp16",
        precision=precision,
        check=False,
        **options,
    )
