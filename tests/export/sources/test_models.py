"""`load_models`: all parts together, and parts that don't fit each other."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderTiny, ControlNetModel, T2IAdapter
from fgdm.export.adapter import PlainAdapter, TimestepAdapter
from fgdm.export.errors import ExportError
from fgdm.export.sources import Lora, Models, load_models
from safetensors.torch import save_file

from tests.tiny_models import CHANNELS, GROUPS, TinyCheckpoint


def load(checkpoint: TinyCheckpoint, **changes: Any) -> Models:
    arguments: dict[str, Any] = {
        "base": checkpoint.base,
        "adapters": [checkpoint.adapter],
        "controlnets": [checkpoint.controlnet],
    }
    return load_models(**{**arguments, **changes})


def test_all_parts(tiny_checkpoint: TinyCheckpoint, tmp_path: Path) -> None:
    """Several ControlNets, a plain adapter, a LoRA and a tiny decoder at once."""
    plain = PlainAdapter(channels=CHANNELS)
    plain.save_pretrained(tmp_path / "adapter")
    AutoencoderTiny(
        decoder_block_out_channels=(8, 8, 8), num_decoder_blocks=(1, 1, 1)
    ).save_pretrained(tmp_path / "tiny")
    layer = "down_blocks.0.resnets.0.time_emb_proj"
    lora = {
        f"unet.{layer}.lora_A.weight": torch.ones(1, 128),
        f"unet.{layer}.lora_B.weight": torch.ones(32, 1),
    }
    save_file(lora, tmp_path / "lora.safetensors")
    models = load(
        tiny_checkpoint,
        adapters=[tmp_path / "adapter"],
        controlnets=[tiny_checkpoint.controlnet, str(tiny_checkpoint.controlnet)],
        loras=[Lora(tmp_path / "lora.safetensors", 0.5)],
        tiny_decoder=tmp_path / "tiny",
    )
    assert [type(entry) for entry in models.controlnets] == [ControlNetModel] * 2
    assert isinstance(models.adapters[0][0], PlainAdapter)
    assert isinstance(models.tiny_decoder, AutoencoderTiny)
    assert models.scheduler["steps_offset"] == 1
    weight = models.unet.get_submodule(layer).weight
    added = weight - load(tiny_checkpoint).unet.get_submodule(layer).weight
    torch.testing.assert_close(added, torch.full_like(added, 0.5))


def test_parts_that_do_not_fit(tiny_checkpoint: TinyCheckpoint, tmp_path: Path) -> None:
    TimestepAdapter(channels=CHANNELS, time_embed_dim=64, norm_num_groups=GROUPS).save_pretrained(
        tmp_path / "time"
    )
    PlainAdapter(channels=CHANNELS, in_channels=6).save_pretrained(tmp_path / "plain")
    AutoencoderTiny(latent_channels=16).save_pretrained(tmp_path / "channels")
    AutoencoderTiny().save_pretrained(tmp_path / "size")
    for changes, message in (
        ({"adapters": [tmp_path / "time"]}, "adapter's time_embed_dim: 64 given, .* needs 128"),
        ({"adapters": [tmp_path / "plain"]}, "adapter's in_channels: 6 given"),
        ({"tiny_decoder": tmp_path / "channels"}, "tiny decoder's latent_channels: 16 given"),
        ({"tiny_decoder": tmp_path / "size"}, "tiny decoder's enlargement: 8 given, .* needs 4"),
    ):
        with pytest.raises(ExportError, match=message):
            load(tiny_checkpoint, **changes)


def test_a_larger_tokenizer_than_the_text_encoder_knows(
    tiny_checkpoint: TinyCheckpoint, tmp_path: Path
) -> None:
    shutil.copytree(tiny_checkpoint.base / "tokenizer", tmp_path / "tokenizer")
    path = tmp_path / "tokenizer/vocab.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "extra": 49407}))
    with pytest.raises(
        ExportError, match=r"ids up to 49407, but the text encoder knows \d+ tokens"
    ):
        load(tiny_checkpoint, tokenizer=tmp_path / "tokenizer")


def test_a_t2i_adapter_is_no_condition_factor_s(
    tiny_checkpoint: TinyCheckpoint, tmp_path: Path
) -> None:
    T2IAdapter(channels=[32, 64, 64]).save_pretrained(tmp_path / "t2i")
    with pytest.raises(ExportError, match="is a T2I-Adapter, which takes a picture"):
        load(tiny_checkpoint, adapters=[tmp_path / "t2i"])
