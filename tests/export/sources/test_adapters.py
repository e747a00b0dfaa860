"""Adapters: ours, both kinds of original FG-DM checkpoint, and public T2I-Adapters."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from diffusers import T2IAdapter, UNet2DConditionModel
from fgdm.export.adapter import PlainAdapter, TimestepAdapter
from fgdm.export.check import check_graph
from fgdm.export.errors import ExportError
from fgdm.export.graphs import adapter_graph
from fgdm.export.onnx_export import export_graph
from fgdm.export.sources import load_adapter, load_adapters, load_base
from fgdm.export.weights import WeightStore
from torch import Tensor

from tests.export.sources import layouts
from tests.export.sources.layouts import Entry, UNetSizes, random_file
from tests.export.sources.tiny_ldm import (
    CHECKPOINT,
    TINY,
    assert_holds,
    assert_is_base,
    save,
)
from tests.tiny_models import TinyCheckpoint

SIZES = UNetSizes(channels=(32, 64, 64, 64))
TIMESTEP = layouts.timestep_adapter(SIZES)
PLAIN = layouts.plain_adapter(SIZES.channels, in_channels=4)
PREFIXES = ("", "adapter.", "model.diffusion_model.adapter.")


def file_of(entries: list[Entry], seed: int = 0) -> dict[str, Tensor]:
    """Random numbers small enough for 8 blocks in a row."""
    return {key: 0.1 * value for key, value in random_file(entries, seed).items()}


def behind(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + key: value for key, value in tensors.items()}


@pytest.mark.parametrize(
    ("entries", "parameters"),
    [
        (layouts.timestep_adapter(UNetSizes()), 137_277_120),
        (layouts.plain_adapter(UNetSizes().channels, 4), 76_827_840),
        (layouts.t2i_adapter(UNetSizes().channels, 192), 77_369_280),
    ],
    ids=["timestep", "plain", "t2i"],
)
def test_the_models_have_the_tables_names_at_full_size(
    entries: list[Entry], parameters: int
) -> None:
    assert sum(math.prod(entry.shape) for entry in entries) == parameters
    with torch.device("meta"):
        model = {
            86: lambda: TimestepAdapter(skip_kernel_size=1),
            38: lambda: T2IAdapter() if "adapter." in entries[0].model else PlainAdapter(),
        }[len(entries)]()
    shapes = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    assert shapes == {entry.model: entry.shape for entry in entries}


@pytest.mark.parametrize("name", ["adapter.safetensors", "adapter.ckpt"])
@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize(
    ("entries", "kind"), [(TIMESTEP, TimestepAdapter), (PLAIN, PlainAdapter)], ids=["time", "plain"]
)
def test_original_adapter_alone(
    tmp_path: Path,
    name: str,
    prefix: str,
    entries: list[Entry],
    kind: type[TimestepAdapter | PlainAdapter],
) -> None:
    tensors = file_of(entries)
    adapter = load_adapter(str(save(tmp_path / name, behind(prefix, tensors))))
    assert type(adapter) is kind
    assert adapter.config.channels == SIZES.channels
    assert_holds(adapter, entries, tensors)


@pytest.mark.parametrize("entries", [TIMESTEP, PLAIN], ids=["timestep", "plain"])
def test_one_checkpoint_is_base_and_adapter_at_once(
    tmp_path: Path, tiny_checkpoint: TinyCheckpoint, entries: list[Entry]
) -> None:
    base, adapter = random_file(CHECKPOINT), file_of(entries)
    path = tmp_path / "fgdm.ckpt"
    torch.save({"state_dict": base | behind(PREFIXES[-1], adapter), "epoch": 4}, path)
    assert_is_base(load_base(path, tiny_checkpoint.base / "tokenizer", TINY), base)
    assert_holds(load_adapter(path), entries, adapter)


@pytest.mark.parametrize("prefix", ["", "diffusion_model.", "model.diffusion_model."])
def test_the_joint_variant(tmp_path: Path, tiny_checkpoint: TinyCheckpoint, prefix: str) -> None:
    """One adapter and a list of further ones, alone or in a whole checkpoint."""
    tensors = behind(prefix, layouts.joint_file(SIZES.channels, 2, file_of))
    if prefix == "model.diffusion_model.":
        base = random_file(CHECKPOINT)
        path = save(tmp_path / "joint.ckpt", base | tensors)
        assert_is_base(load_base(path, tiny_checkpoint.base / "tokenizer", TINY), base)
    else:
        path = save(tmp_path / "joint.safetensors", tensors)
    adapters = load_adapters(path)
    assert [type(adapter) for adapter in adapters] == [PlainAdapter] * 3
    for number, adapter in enumerate(adapters):
        assert_holds(adapter, PLAIN, file_of(PLAIN, number))
    with pytest.raises(ExportError, match="holds 3 adapters, as FG-DM's joint variant"):
        load_adapter(path)


def test_a_joint_variant_with_a_gap(tmp_path: Path) -> None:
    tensors = layouts.joint_file(SIZES.channels, 2, file_of)
    path = save(
        tmp_path / "joint.ckpt", {k: v for k, v in tensors.items() if "adapters.0." not in k}
    )
    with pytest.raises(ExportError, match=r"further adapters 1; expected numbers from 0 on"):
        load_adapters(path)


def test_ours(tiny_checkpoint: TinyCheckpoint) -> None:
    """A skip's convolution is our own choice, and 3 wide where a configuration is silent."""
    loaded = load_adapter(tiny_checkpoint.adapter)
    expected = TimestepAdapter.from_pretrained(tiny_checkpoint.adapter).state_dict()
    assert isinstance(loaded, TimestepAdapter)
    assert loaded.body[2].skip_connection.kernel_size == (3, 3)
    assert all(torch.equal(loaded.state_dict()[key], value) for key, value in expected.items())


def timestep_reference(tensors: dict[str, Tensor], sample: Tensor, emb: Tensor) -> list[Tensor]:
    """FG-DM's adapter, one operation after the other, from the file's own tensors."""

    def layer(name: str) -> tuple[Tensor, Tensor]:
        return tensors[f"{name}.weight"], tensors[f"{name}.bias"]

    hidden, features = F.conv2d(sample, *layer("conv_in"), padding=1), []
    for number in range(8):
        body = f"body.{number}"
        halve = number in (2, 4, 6)
        inside = F.silu(F.group_norm(hidden, 32, *layer(f"{body}.in_layers.0"), 1e-5))
        if halve:
            inside, hidden = F.avg_pool2d(inside, 2), F.avg_pool2d(hidden, 2)
        inside = F.conv2d(inside, *layer(f"{body}.in_layers.2"), padding=1)
        inside = inside + F.linear(F.silu(emb), *layer(f"{body}.emb_layers.1"))[..., None, None]
        inside = F.silu(F.group_norm(inside, 32, *layer(f"{body}.out_layers.0"), 1e-5))
        inside = F.conv2d(inside, *layer(f"{body}.out_layers.3"), padding=1)
        if f"{body}.skip_connection.weight" in tensors:
            hidden = F.conv2d(hidden, *layer(f"{body}.skip_connection"))
        hidden = hidden + inside
        if number % 2 == 1:
            features.append(hidden)
    return features


def test_timestep_adapter_computes_what_the_original_does(tmp_path: Path) -> None:
    tensors = file_of(TIMESTEP)
    adapter = load_adapter(save(tmp_path / "adapter.ckpt", tensors))
    sample, emb = torch.randn(2, 4, 16, 24), torch.randn(2, SIZES.time)
    with torch.no_grad():
        given = adapter(sample, emb)
    expected = timestep_reference(tensors, sample, emb)
    assert [tuple(f.shape[1:]) for f in given] == [
        (32, 16, 24),
        (64, 8, 12),
        (64, 4, 6),
        (64, 2, 3),
    ]
    for ours, theirs in zip(given, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_plain_adapter_computes_what_t2i_adapter_does(tmp_path: Path) -> None:
    """diffusers' T2IAdapter without its folding is the same network."""
    entries = layouts.t2i_adapter(SIZES.channels, in_channels=4)
    tensors = file_of(entries)
    reference = T2IAdapter(in_channels=4, channels=list(SIZES.channels), downscale_factor=1)
    reference.load_state_dict({entry.model: tensors[entry.file] for entry in entries})
    adapter = load_adapter(save(tmp_path / "adapter.ckpt", tensors))
    sample = torch.randn(2, 4, 16, 24)
    with torch.no_grad():
        pairs = zip(adapter(sample, torch.randn(2, 1)), reference(sample), strict=True)
        for ours, theirs in pairs:
            torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("entries", [TIMESTEP, PLAIN], ids=["timestep", "plain"])
def test_original_adapters_export(tmp_path: Path, entries: list[Entry]) -> None:
    """Through the graph that our own adapter has, timestep included."""
    adapter = load_adapter(save(tmp_path / "adapter.safetensors", file_of(entries)))
    unet = UNet2DConditionModel(
        block_out_channels=SIZES.channels, cross_attention_dim=8, attention_head_dim=4
    ).eval()
    store = WeightStore(tmp_path / "bundle", "fp16")
    store.save(unet, "unet", "model.safetensors")
    store.save(adapter, "adapter", "model.safetensors")
    graph = adapter_graph("adapter_segmentation", adapter, unet)
    path = export_graph(graph, store)
    assert check_graph(graph, path) < 1e-4


@pytest.mark.parametrize("colours", [1, 3])
@pytest.mark.parametrize("name", ["t2iadapter_seg_sd14v1.pth", "t2iadapter.safetensors"])
def test_original_t2i_adapter(tmp_path: Path, name: str, colours: int) -> None:
    entries = layouts.t2i_adapter(SIZES.channels, in_channels=64 * colours)
    tensors = file_of(entries)
    adapter = load_adapter(save(tmp_path / name, tensors))
    assert isinstance(adapter, T2IAdapter)
    assert adapter.config.in_channels == colours
    assert adapter.total_downscale_factor == 64
    assert_holds(adapter, entries, tensors)


def test_original_light_t2i_adapter(tmp_path: Path) -> None:
    entries = layouts.light_adapter((16, 32, 64, 64), in_channels=192)
    tensors = file_of(entries)
    adapter = load_adapter(save(tmp_path / "t2iadapter_color_sd14v1.pth", tensors))
    assert_holds(adapter, entries, tensors)
    assert [f.shape[1] for f in adapter(torch.randn(1, 3, 64, 64))] == [16, 32, 64, 64]


def test_diffusers_t2i_adapter(tmp_path: Path) -> None:
    model = T2IAdapter(channels=[32, 64, 64, 64])
    model.save_pretrained(tmp_path / "t2i")
    loaded = load_adapter(tmp_path / "t2i")
    assert isinstance(loaded, T2IAdapter)
    state = model.state_dict()
    assert all(torch.equal(loaded.state_dict()[key], value) for key, value in state.items())


def without(tensors: dict[str, Tensor], key: str) -> dict[str, Tensor]:
    return {name: value for name, value in tensors.items() if name != key}


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        (without(file_of(TIMESTEP), "body.5.out_layers.3.bias"), "missing: body.5.out_layers.3.b"),
        (without(file_of(TIMESTEP), "conv_in.weight"), "lacks the adapter's conv_in.weight"),
        (without(file_of(PLAIN), "body.2.in_conv.weight"), "missing: body.2.in_conv.weight"),
        ({**file_of(PLAIN), "body.0.in_conv.weight": torch.ones(1)}, "unexpected: body.0.in_conv"),
        (behind("adapter.", file_of(PLAIN)) | {"x": torch.ones(1)}, "unexpected: x"),
        (file_of(layouts.plain_adapter((32, 64), 768)), "T2I-Adapter for Stable Diffusion XL"),
        (random_file(CHECKPOINT), "holds no adapter"),
        ({"body.0.attn.weight": torch.ones(1)}, "isn't an adapter"),
    ],
)
def test_wrong_files(tmp_path: Path, tensors: dict[str, Tensor], message: str) -> None:
    with pytest.raises(ExportError, match=message):
        load_adapter(save(tmp_path / "adapter.ckpt", tensors))


def test_wrong_folders(tmp_path: Path, tiny_checkpoint: TinyCheckpoint) -> None:
    with pytest.raises(ExportError, match=r"has no config\.json"):
        load_adapter(tmp_path)
    with pytest.raises(ExportError, match="holds a ControlNetModel; expected one of TimestepAdap"):
        load_adapter(tiny_checkpoint.controlnet)
    config = tmp_path / "config.json"
    config.write_text('{"_class_name": "T2IAdapter", "adapter_type": "full_adapter_xl"}')
    with pytest.raises(ExportError, match="Stable Diffusion XL"):
        load_adapter(tmp_path)
