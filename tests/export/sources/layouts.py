"""Key names and shapes of the files in which Stable Diffusion 1.x and its relatives are published.

Written from the layouts themselves (CompVis/stable-diffusion, lllyasviel/ControlNet,
DeepakSridhar/fgdm, TencentARC/T2I-Adapter, madebyollin/taesd), not from any converter. Each table
is a list of entries: the name in the file, the name that the loaded model has for it, and the shape
in the file. The tables follow the channels they are given, so that a tiny model has exactly the
names of the full-size one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor


@dataclass(frozen=True)
class Entry:
    """A tensor's name in the file, its name in the loaded model, and its shape in the file."""

    file: str
    model: str
    shape: tuple[int, ...]

    def behind(self, prefix: str) -> Entry:
        return replace(self, file=prefix + self.file)


def random_file(entries: Sequence[Entry], seed: int = 0) -> dict[str, Tensor]:
    """A tensor of random numbers for every entry, under its name in the file."""
    generator = torch.Generator().manual_seed(seed)
    return {entry.file: torch.randn(entry.shape, generator=generator) for entry in entries}


def shapes_file(entries: Sequence[Entry]) -> dict[str, Tensor]:
    """Tensors without numbers, which take no memory at any size."""
    return {entry.file: torch.empty(entry.shape, device="meta") for entry in entries}


def _affine(file: str, model: str, *weight: int) -> Iterator[Entry]:
    yield Entry(f"{file}.weight", f"{model}.weight", weight)
    yield Entry(f"{file}.bias", f"{model}.bias", weight[:1])


def _norm(file: str, model: str, channels: int) -> Iterator[Entry]:
    yield from _affine(file, model, channels)


def _conv(file: str, model: str, channels_out: int, channels_in: int, size: int) -> Iterator[Entry]:
    yield from _affine(file, model, channels_out, channels_in, size, size)


# Stable Diffusion's UNet and ControlNet.


@dataclass(frozen=True)
class UNetSizes:
    """channels: per level, four of them. context: width of the text encoder's output."""

    channels: tuple[int, ...] = (320, 640, 1280, 1280)
    context: int = 768
    layers: int = 2

    @property
    def time(self) -> int:
        return 4 * self.channels[0]

    @property
    def last(self) -> int:
        return len(self.channels) - 1


def _resnet(file: str, model: str, c_in: int, c_out: int, time: int) -> Iterator[Entry]:
    yield from _norm(f"{file}.in_layers.0", f"{model}.norm1", c_in)
    yield from _conv(f"{file}.in_layers.2", f"{model}.conv1", c_out, c_in, 3)
    yield from _affine(f"{file}.emb_layers.1", f"{model}.time_emb_proj", c_out, time)
    yield from _norm(f"{file}.out_layers.0", f"{model}.norm2", c_out)
    yield from _conv(f"{file}.out_layers.3", f"{model}.conv2", c_out, c_out, 3)
    if c_in != c_out:
        yield from _conv(f"{file}.skip_connection", f"{model}.conv_shortcut", c_out, c_in, 1)


def _transformer(file: str, model: str, width: int, context: int) -> Iterator[Entry]:
    yield from _norm(f"{file}.norm", f"{model}.norm", width)
    yield from _conv(f"{file}.proj_in", f"{model}.proj_in", width, width, 1)
    yield from _conv(f"{file}.proj_out", f"{model}.proj_out", width, width, 1)
    for name, shape in (
        *((f"norm{i}", (width,)) for i in (1, 2, 3)),
        ("attn1.to_out.0", (width, width)),
        ("attn2.to_out.0", (width, width)),
        ("ff.net.0.proj", (8 * width, width)),
        ("ff.net.2", (width, 4 * width)),
    ):
        block = f"transformer_blocks.0.{name}"
        yield from _affine(f"{file}.{block}", f"{model}.{block}", *shape)
    for attention, source in (("attn1", width), ("attn2", context)):
        for name, columns in (("to_q", width), ("to_k", source), ("to_v", source)):
            weight = f"transformer_blocks.0.{attention}.{name}.weight"
            yield Entry(f"{file}.{weight}", f"{model}.{weight}", (width, columns))


def _encoder(sizes: UNetSizes) -> Iterator[Entry]:
    """What the UNet and a ControlNet share: everything up to the middle block."""
    channels, time = sizes.channels, sizes.time
    yield from _affine("time_embed.0", "time_embedding.linear_1", time, channels[0])
    yield from _affine("time_embed.2", "time_embedding.linear_2", time, time)
    yield from _conv("input_blocks.0.0", "conv_in", channels[0], 4, 3)
    number, c_in = 1, channels[0]
    for level, c_out in enumerate(channels):
        down = f"down_blocks.{level}"
        for layer in range(sizes.layers):
            file = f"input_blocks.{number}"
            yield from _resnet(f"{file}.0", f"{down}.resnets.{layer}", c_in, c_out, time)
            if level < sizes.last:
                model = f"{down}.attentions.{layer}"
                yield from _transformer(f"{file}.1", model, c_out, sizes.context)
            number, c_in = number + 1, c_out
        if level < sizes.last:
            model = f"{down}.downsamplers.0.conv"
            yield from _conv(f"input_blocks.{number}.0.op", model, c_out, c_out, 3)
            number += 1
    width = channels[-1]
    yield from _resnet("middle_block.0", "mid_block.resnets.0", width, width, time)
    yield from _transformer("middle_block.1", "mid_block.attentions.0", width, sizes.context)
    yield from _resnet("middle_block.2", "mid_block.resnets.1", width, width, time)


def unet(sizes: UNetSizes) -> list[Entry]:
    """``model.diffusion_model.*`` without the prefix."""
    channels = sizes.channels
    entries = list(_encoder(sizes))
    skips = [channels[0]]
    for level, width in enumerate(channels):
        skips += [width] * (sizes.layers + (level < sizes.last))
    number, c_in = 0, channels[-1]
    for index, c_out in enumerate(reversed(channels)):
        up, level = f"up_blocks.{index}", sizes.last - index
        for layer in range(sizes.layers + 1):
            file = f"output_blocks.{number}"
            c_both = c_in + skips.pop()
            model = f"{up}.resnets.{layer}"
            entries += _resnet(f"{file}.0", model, c_both, c_out, sizes.time)
            if level < sizes.last:
                model = f"{up}.attentions.{layer}"
                entries += _transformer(f"{file}.1", model, c_out, sizes.context)
            if layer == sizes.layers and level > 0:
                place = 2 if level < sizes.last else 1
                model = f"{up}.upsamplers.0.conv"
                entries += _conv(f"{file}.{place}.conv", model, c_out, c_out, 3)
            number, c_in = number + 1, c_out
    entries += _norm("out.0", "conv_norm_out", channels[0])
    entries += _conv("out.2", "conv_out", 4, channels[0], 3)
    return entries


def controlnet(sizes: UNetSizes, hint: Sequence[int] = (16, 32, 96, 256)) -> list[Entry]:
    """``control_model.*`` without the prefix. hint: channels of the hint encoder."""
    entries = list(_encoder(sizes))
    skips = [sizes.channels[0]]
    for level, width in enumerate(sizes.channels):
        skips += [width] * (sizes.layers + (level < sizes.last))
    for i, width in enumerate(skips):
        entries += _conv(f"zero_convs.{i}.0", f"controlnet_down_blocks.{i}", width, width, 1)
    width = sizes.channels[-1]
    entries += _conv("middle_block_out.0", "controlnet_mid_block", width, width, 1)
    embedding = "controlnet_cond_embedding"
    entries += _conv("input_hint_block.0", f"{embedding}.conv_in", hint[0], 3, 3)
    for i, (before, after) in enumerate(pairwise(hint)):
        even, odd = f"{embedding}.blocks.{2 * i}", f"{embedding}.blocks.{2 * i + 1}"
        entries += _conv(f"input_hint_block.{4 * i + 2}", even, before, before, 3)
        entries += _conv(f"input_hint_block.{4 * i + 4}", odd, after, before, 3)
    final = f"input_hint_block.{4 * len(hint) - 2}"
    entries += _conv(final, f"{embedding}.conv_out", sizes.channels[0], hint[-1], 3)
    return entries


# The autoencoder.


def _vae_resnet(file: str, model: str, c_in: int, c_out: int) -> Iterator[Entry]:
    yield from _norm(f"{file}.norm1", f"{model}.norm1", c_in)
    yield from _conv(f"{file}.conv1", f"{model}.conv1", c_out, c_in, 3)
    yield from _norm(f"{file}.norm2", f"{model}.norm2", c_out)
    yield from _conv(f"{file}.conv2", f"{model}.conv2", c_out, c_out, 3)
    if c_in != c_out:
        yield from _conv(f"{file}.nin_shortcut", f"{model}.conv_shortcut", c_out, c_in, 1)


def _vae_middle(side: str, width: int) -> Iterator[Entry]:
    for i in (0, 1):
        file, model = f"{side}.mid.block_{i + 1}", f"{side}.mid_block.resnets.{i}"
        yield from _vae_resnet(file, model, width, width)
    file, model = f"{side}.mid.attn_1", f"{side}.mid_block.attentions.0"
    yield from _norm(f"{file}.norm", f"{model}.group_norm", width)
    for name, new in (("q", "to_q"), ("k", "to_k"), ("v", "to_v"), ("proj_out", "to_out.0")):
        yield from _conv(f"{file}.{name}", f"{model}.{new}", width, width, 1)


def vae(channels: Sequence[int] = (128, 256, 512, 512), layers: int = 2) -> list[Entry]:
    """``first_stage_model.*`` without the prefix, for 4 latent channels."""
    last, width = len(channels) - 1, channels[-1]
    entries = list(_conv("encoder.conv_in", "encoder.conv_in", channels[0], 3, 3))
    c_in = channels[0]
    for level, c_out in enumerate(channels):
        file, model = f"encoder.down.{level}", f"encoder.down_blocks.{level}"
        for i in range(layers):
            entries += _vae_resnet(f"{file}.block.{i}", f"{model}.resnets.{i}", c_in, c_out)
            c_in = c_out
        if level < last:
            model = f"{model}.downsamplers.0.conv"
            entries += _conv(f"{file}.downsample.conv", model, c_out, c_out, 3)
    entries += _vae_middle("encoder", width)
    entries += _norm("encoder.norm_out", "encoder.conv_norm_out", width)
    entries += _conv("encoder.conv_out", "encoder.conv_out", 8, width, 3)
    entries += _conv("quant_conv", "quant_conv", 8, 8, 1)
    entries += _conv("post_quant_conv", "post_quant_conv", 4, 4, 1)
    entries += _conv("decoder.conv_in", "decoder.conv_in", width, 4, 3)
    entries += _vae_middle("decoder", width)
    c_in = width
    for index, c_out in enumerate(reversed(channels)):
        file, model = f"decoder.up.{last - index}", f"decoder.up_blocks.{index}"
        for i in range(layers + 1):
            entries += _vae_resnet(f"{file}.block.{i}", f"{model}.resnets.{i}", c_in, c_out)
            c_in = c_out
        if index < last:
            model = f"{model}.upsamplers.0.conv"
            entries += _conv(f"{file}.upsample.conv", model, c_out, c_out, 3)
    entries += _norm("decoder.norm_out", "decoder.conv_norm_out", channels[0])
    entries += _conv("decoder.conv_out", "decoder.conv_out", 3, channels[0], 3)
    return entries


# CLIP's text model.


def text_encoder(
    width: int = 768, layers: int = 12, vocabulary: int = 49408, length: int = 77
) -> list[Entry]:
    """``cond_stage_model.transformer.*`` without the prefix and without position_ids."""
    entries = []
    for name, rows in (("token_embedding", vocabulary), ("position_embedding", length)):
        key = f"embeddings.{name}.weight"
        entries.append(Entry(f"text_model.{key}", key, (rows, width)))
    for i in range(layers):
        layer = f"encoder.layers.{i}"
        shapes: dict[str, tuple[int, ...]] = {
            f"self_attn.{name}_proj": (width, width) for name in ("q", "k", "v", "out")
        }
        shapes |= {"layer_norm1": (width,), "layer_norm2": (width,)}
        shapes |= {"mlp.fc1": (4 * width, width), "mlp.fc2": (width, 4 * width)}
        for name, shape in shapes.items():
            entries += _affine(f"text_model.{layer}.{name}", f"{layer}.{name}", *shape)
    return [*entries, *_norm("text_model.final_layer_norm", "final_layer_norm", width)]


def position_ids(length: int = 77) -> dict[str, Tensor]:
    """What old versions of transformers saved beside the weights."""
    key = "cond_stage_model.transformer.text_model.embeddings.position_ids"
    return {key: torch.arange(length)[None]}


# Adapters.


def timestep_adapter(sizes: UNetSizes) -> list[Entry]:
    """FG-DM's timestep-conditioned adapter: two blocks a level, 1x1 convolutions on the skips."""
    entries = list(_conv("conv_in", "conv_in", sizes.channels[0], 4, 3))
    number, c_in = 0, sizes.channels[0]
    for c_out in sizes.channels:
        for _ in range(2):
            body = f"body.{number}"
            entries += _norm(f"{body}.in_layers.0", f"{body}.in_layers.0", c_in)
            entries += _conv(f"{body}.in_layers.2", f"{body}.in_layers.2", c_out, c_in, 3)
            entries += _affine(f"{body}.emb_layers.1", f"{body}.emb_layers.1", c_out, sizes.time)
            entries += _norm(f"{body}.out_layers.0", f"{body}.out_layers.0", c_out)
            entries += _conv(f"{body}.out_layers.3", f"{body}.out_layers.3", c_out, c_out, 3)
            if c_in != c_out:
                skip = f"{body}.skip_connection"
                entries += _conv(skip, skip, c_out, c_in, 1)
            number, c_in = number + 1, c_out
    return entries


def plain_adapter(channels: Sequence[int], in_channels: int) -> list[Entry]:
    """T2I-Adapter's network, which FG-DM's plain kind uses on a latent, with its own names."""
    entries = list(_conv("conv_in", "conv_in", channels[0], in_channels, 3))
    number, c_in = 0, channels[0]
    for c_out in channels:
        for _ in range(2):
            body = f"body.{number}"
            if c_in != c_out:
                entries += _conv(f"{body}.in_conv", f"{body}.in_conv", c_out, c_in, 1)
            entries += _conv(f"{body}.block1", f"{body}.block1", c_out, c_out, 3)
            entries += _conv(f"{body}.block2", f"{body}.block2", c_out, c_out, 1)
            number, c_in = number + 1, c_out
    return entries


def joint_file(
    channels: Sequence[int], further: int, file_of: Callable[[list[Entry], int], dict[str, Tensor]]
) -> dict[str, Tensor]:
    """FG-DM's joint variant: a plain adapter, and a list of further ones behind their numbers."""
    tensors = {f"adapter.{k}": v for k, v in file_of(plain_adapter(channels, 4), 0).items()}
    for number in range(further):
        made = file_of(plain_adapter(channels, 4), number + 1)
        tensors |= {f"adapters.{number}.{key}": value for key, value in made.items()}
    return tensors


def t2i_adapter(channels: Sequence[int], in_channels: int) -> list[Entry]:
    """The same, with the names that diffusers' `T2IAdapter` has for it."""

    def model(name: str) -> str:
        parts = name.split(".")
        if parts[0] == "conv_in":
            return f"adapter.{name}"
        scale, block = divmod(int(parts[1]), 2)
        inner = parts[2:] if parts[2] == "in_conv" else ["resnets", str(block), *parts[2:]]
        return ".".join(["adapter", "body", str(scale), *inner])

    return [replace(e, model=model(e.file)) for e in plain_adapter(channels, in_channels)]


def light_adapter(channels: Sequence[int], in_channels: int, blocks: int = 4) -> list[Entry]:
    """The colour T2I-Adapter's network. channels: per level; each level works at a quarter."""
    entries: list[Entry] = []
    c_in = in_channels
    for level, c_out in enumerate(channels):
        file, model, inner = f"body.{level}", f"adapter.body.{level}", c_out // 4
        entries += _conv(f"{file}.in_conv", f"{model}.in_conv", inner, c_in, 1)
        for i in range(blocks):
            for name in ("block1", "block2"):
                resnet = f"{model}.resnets.{i}.{name}"
                entries += _conv(f"{file}.body.{i}.{name}", resnet, inner, inner, 3)
        entries += _conv(f"{file}.out_conv", f"{model}.out_conv", c_out, inner, 1)
        c_in = c_out
    return entries


# TAESD.


def taesd_decoder(width: int = 64) -> list[Entry]:
    """A sequence: clamp, convolution, ReLU, three times (three blocks, enlargement, convolution
    without bias), one block, convolution."""

    def name(number: int) -> tuple[str, str]:
        return str(number), f"decoder.layers.{number - 1}"

    def block(number: int) -> Iterator[Entry]:
        file, model = name(number)
        for i in (0, 2, 4):
            yield from _conv(f"{file}.conv.{i}", f"{model}.conv.{i}", width, width, 3)

    entries = list(_conv(*name(1), width, 4, 3))
    number = 3
    for _ in range(3):
        for _ in range(3):
            entries += block(number)
            number += 1
        file, model = name(number + 1)
        entries.append(Entry(f"{file}.weight", f"{model}.weight", (width, width, 3, 3)))
        number += 2
    entries += block(number)
    return [*entries, *_conv(*name(number + 1), 3, width, 3)]
