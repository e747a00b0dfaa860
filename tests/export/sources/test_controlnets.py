"""ControlNets in each of the forms in which they are published."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import ControlNetModel
from fgdm.export.errors import ExportError
from fgdm.export.sources import load_controlnet
from torch import Tensor

from tests.export.sources import layouts
from tests.export.sources.layouts import random_file
from tests.export.sources.tiny_ldm import (
    CHECKPOINT,
    CONTROLNET,
    HINT,
    SIZES,
    TINY,
    assert_holds,
    save,
)
from tests.tiny_models import TinyCheckpoint

BARE = layouts.controlnet(SIZES, HINT)


def test_a_folder_is_read_as_diffusers_reads_it(tiny_checkpoint: TinyCheckpoint) -> None:
    given = load_controlnet(str(tiny_checkpoint.controlnet)).state_dict()
    expected = ControlNetModel.from_pretrained(tiny_checkpoint.controlnet).state_dict()
    assert given.keys() == expected.keys()
    assert all(torch.equal(given[key], value) for key, value in expected.items())


@pytest.mark.parametrize("name", ["seg.safetensors", "seg.pth"])
@pytest.mark.parametrize("entries", [BARE, CONTROLNET], ids=["bare", "prefixed"])
def test_original_names(tmp_path: Path, name: str, entries: list[layouts.Entry]) -> None:
    tensors = random_file(entries)
    assert_holds(load_controlnet(save(tmp_path / name, tensors), TINY), entries, tensors)


def test_inside_a_whole_checkpoint(tmp_path: Path) -> None:
    """control_sd15_seg.pth holds Stable Diffusion 1.5 as well."""
    tensors = random_file([*CONTROLNET, *CHECKPOINT])
    path = save(tmp_path / "control_sd15_seg.pth", {k: v.half() for k, v in tensors.items()})
    halves = {key: value.half() for key, value in tensors.items()}
    assert_holds(load_controlnet(path, TINY), CONTROLNET, halves)


def test_diffusers_names_in_one_file(tmp_path: Path) -> None:
    named = {
        entry.model: value for entry, value in zip(BARE, random_file(BARE).values(), strict=True)
    }
    model = load_controlnet(save(tmp_path / "diffusers.safetensors", named), TINY)
    assert all(torch.equal(model.state_dict()[key], value) for key, value in named.items())


def changed(**changes: Tensor | None) -> dict[str, Tensor]:
    tensors = {**random_file(BARE), **{k.replace("__", "."): v for k, v in changes.items()}}
    return {key: value for key, value in tensors.items() if value is not None}


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        (changed(zero_convs__3__0__bias=None), r"missing: controlnet_down_blocks.3.bias"),
        (changed(zero_convs__3__1__bias=torch.ones(1)), r"unexpected: zero_convs.3.1.bias"),
        (changed(middle_block_out__0__bias=torch.ones(3)), r"controlnet_mid_block.bias is 3 inst"),
        (changed(difference=torch.ones(0)), "difference from its base"),
        (changed(lora_controlnet=torch.ones(0)), "Control-LoRA"),
        (changed(label_emb__0__0__weight=torch.ones(1)), "ControlNet for Stable Diffusion XL"),
        (
            changed(
                input_blocks__1__1__transformer_blocks__0__attn2__to_k__weight=torch.ones(8, 1024)
            ),
            "Stable Diffusion 2.x",
        ),
        (random_file(CHECKPOINT), "isn't a ControlNet"),
    ],
)
def test_wrong_files(tmp_path: Path, tensors: dict[str, Tensor], message: str) -> None:
    with pytest.raises(ExportError, match=message):
        load_controlnet(save(tmp_path / "c.safetensors", tensors), TINY)


def test_the_shuffle_controlnet_is_refused(tiny_checkpoint: TinyCheckpoint, tmp_path: Path) -> None:
    """It needs a mean over the picture that the graphs don't take."""
    model = ControlNetModel.from_pretrained(tiny_checkpoint.controlnet)
    model.register_to_config(global_pool_conditions=True)
    model.save_pretrained(tmp_path / "shuffle")
    with pytest.raises(ExportError, match="global_pool_conditions"):
        load_controlnet(tmp_path / "shuffle")


def test_another_model_s_folder(tiny_checkpoint: TinyCheckpoint) -> None:
    with pytest.raises(ExportError, match="holds a UNet2DConditionModel; expected a ControlNet"):
        load_controlnet(tiny_checkpoint.base / "unet")
