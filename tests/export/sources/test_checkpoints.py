"""Single-file checkpoints: every tensor of the file lands where it belongs, or is an error."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from fgdm.export.errors import ExportError
from fgdm.export.sources import load_base
from fgdm.export.sources.checkpoints import (
    load_controlnet_checkpoint,
    load_text_encoder_checkpoint,
    load_unet_checkpoint,
    load_vae_checkpoint,
    split_checkpoint,
)
from fgdm.export.sources.sd1 import SCHEDULER, SD1
from torch import Tensor, nn

from tests.export.sources import layouts, tiny_ldm
from tests.export.sources.layouts import Entry, UNetSizes, random_file, shapes_file
from tests.export.sources.tiny_ldm import CHECKPOINT, TINY, assert_is_base, save
from tests.tiny_models import TinyCheckpoint

FULL_SIZE = {
    "model.diffusion_model.": layouts.unet(UNetSizes()),
    "first_stage_model.": layouts.vae(),
    "cond_stage_model.transformer.": layouts.text_encoder(),
}


@pytest.fixture
def tokenizer(tiny_checkpoint: TinyCheckpoint) -> Path:
    return tiny_checkpoint.base / "tokenizer"


def load_parts(file: dict[str, Tensor]) -> tuple[nn.Module, nn.Module, nn.Module]:
    """UNet, autoencoder and text encoder of a full-size file."""
    origin = "sd.safetensors"
    parts = split_checkpoint(file, origin)
    return (
        load_unet_checkpoint(parts.unet, SD1.unet, origin),
        load_vae_checkpoint(parts.vae, SD1.vae, origin),
        load_text_encoder_checkpoint(parts.text_encoder, SD1.text_encoder, origin),
    )


# Full size, without numbers.


@pytest.mark.parametrize(
    ("entries", "tensors", "parameters"),
    [
        (layouts.unet(UNetSizes()), 686, 859_520_964),
        (layouts.vae(), 248, 83_653_863),
        (layouts.text_encoder(), 196, 123_060_480),
        (layouts.controlnet(UNetSizes()), 340, 361_279_120),
    ],
    ids=["unet", "vae", "text_encoder", "controlnet"],
)
def test_the_tables_have_the_published_counts(
    entries: list[Entry], tensors: int, parameters: int
) -> None:
    assert len({entry.file for entry in entries}) == len(entries) == tensors
    assert sum(math.prod(entry.shape) for entry in entries) == parameters


def test_full_size_checkpoint_is_read_key_for_key() -> None:
    file: dict[str, Tensor] = {}
    for prefix, entries in FULL_SIZE.items():
        file |= shapes_file([entry.behind(prefix) for entry in entries])
    models = load_parts(file | layouts.position_ids())
    for model, entries in zip(models, FULL_SIZE.values(), strict=True):
        state = {key.removeprefix("text_model."): v for key, v in model.state_dict().items()}
        assert state.keys() == {entry.model for entry in entries}
        for entry in entries:
            assert state[entry.model].numel() == math.prod(entry.shape), entry


def test_full_size_controlnet_is_read_key_for_key() -> None:
    entries = [entry.behind("control_model.") for entry in layouts.controlnet(UNetSizes())]
    model = load_controlnet_checkpoint(shapes_file(entries), SD1.controlnet, "seg.safetensors")
    shapes = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    assert shapes == {entry.model: entry.shape for entry in entries}


@pytest.mark.parametrize("prefix", FULL_SIZE)
def test_no_tensor_of_the_full_size_may_be_missing(prefix: str) -> None:
    """One missing tensor in each part is found, whichever it is (every 20th is tried)."""
    file = {
        entry.behind(part).file: torch.empty(entry.shape, device="meta")
        for part, entries in FULL_SIZE.items()
        for entry in entries
    }
    for entry in FULL_SIZE[prefix][7::100]:
        without = {key: value for key, value in file.items() if key != prefix + entry.file}
        with pytest.raises(ExportError) as error:
            load_parts(without)
        name = entry.file if "cond" in prefix else entry.model
        assert name.removeprefix("text_model.") in str(error.value)


# Tiny files with numbers.


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", ["sd.safetensors", "sd.ckpt"])
def test_checkpoint_gives_its_own_numbers(
    tokenizer: Path, tmp_path: Path, name: str, dtype: torch.dtype
) -> None:
    tensors = {key: value.to(dtype) for key, value in random_file(CHECKPOINT).items()}
    base = load_base(str(save(tmp_path / name, tensors)), tokenizer, TINY)
    assert_is_base(base, tensors)
    assert base.scheduler == SCHEDULER


def test_what_training_leaves_in_a_checkpoint_is_ignored(tokenizer: Path, tmp_path: Path) -> None:
    tensors = random_file(CHECKPOINT)
    extras = {
        "model_ema.decay": torch.tensor(0.9999),
        "model_ema.num_updates": torch.tensor(3),
        **{f"model_ema.diffusion_modelinput_blocks{i}": torch.ones(2) for i in range(120)},
        "betas": torch.ones(1000),
        "sqrt_recipm1_alphas_cumprod": torch.ones(1000),
        "posterior_mean_coef1": torch.ones(1000),
        "cond_stage_model.transformer.text_model.embeddings.position_ids": torch.arange(8)[None],
        "first_stage_model.loss.logvar": torch.zeros(()),
        "control_model.input_hint_block.0.weight": torch.ones(2),
        "model.diffusion_model.adapter.conv_in.weight": torch.ones(2),
    }
    path = tmp_path / "training.ckpt"
    torch.save({"state_dict": tensors | extras, "global_step": 7, "optimizer_states": []}, path)
    assert_is_base(load_base(path, tokenizer, TINY), tensors)


def test_names_of_merges_that_lack_a_level(tokenizer: Path, tmp_path: Path) -> None:
    """Some merging tools leave text_model out of the text encoder's names."""
    tensors = random_file(CHECKPOINT)
    renamed = {key.replace(".text_model.", "."): value for key, value in tensors.items()}
    assert_is_base(load_base(save(tmp_path / "m.safetensors", renamed), tokenizer, TINY), tensors)


def test_a_checkpoint_written_before_2020_is_read(tokenizer: Path, tmp_path: Path) -> None:
    tensors = random_file(CHECKPOINT)
    path = tmp_path / "old.ckpt"
    torch.save(tensors, path, _use_new_zipfile_serialization=False)
    assert_is_base(load_base(path, tokenizer, TINY), tensors)


def test_reading_leaves_the_file_alone(tokenizer: Path, tmp_path: Path) -> None:
    path = save(tmp_path / "sd.safetensors", random_file(CHECKPOINT))
    before = path.read_bytes()
    base = load_base(path, tokenizer, TINY)
    for parameter in base.unet.parameters():
        parameter.data.zero_()
    assert path.read_bytes() == before


def edited(**changes: Tensor | None) -> dict[str, Tensor]:
    """The checkpoint with tensors replaced, added or, by None, left out. `__` stands for a dot."""
    tensors: dict[str, Any] = random_file(CHECKPOINT)
    tensors |= {key.replace("__", "."): value for key, value in changes.items()}
    return {key: value for key, value in tensors.items() if value is not None}


UNET = "model__diffusion_model__"


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        (edited(**{UNET + "out__2__bias": None}), r"1 of 686 tensors are missing: conv_out.bias"),
        (
            edited(**{UNET + "out__3__bias": torch.ones(4)}),
            r"1 tensors are unexpected: model.diffusion_model.out.3.bias",
        ),
        (
            edited(**{UNET + "out__2__bias": torch.ones(5)}),
            r"conv_out.bias is 5 instead of 4",
        ),
        (
            edited(**{UNET + "out__2__bias": torch.ones(4, dtype=torch.int8)}),
            r"aren't of floating point: conv_out.bias is torch.int8",
        ),
        (
            edited(**{UNET + "output_blocks__2__1__conv__bias": None}),
            r"output_blocks.2.1.conv.bias",
        ),
        (edited(embedding_manager__x=torch.ones(1)), r"no Stable Diffusion 1.x .* embedding_mana"),
        (
            {k: v for k, v in edited().items() if not k.startswith("first_stage_model.")},
            r"has no autoencoder; give one with --vae",
        ),
        (
            {k: v for k, v in edited().items() if "norm" not in k},
            r"tensors are missing: .* and \d+ more",
        ),
    ],
)
def test_a_wrong_tensor_is_an_error_that_names_it(
    tokenizer: Path, tmp_path: Path, tensors: dict[str, Tensor], message: str
) -> None:
    path = save(tmp_path / "sd.safetensors", tensors)
    with pytest.raises(ExportError, match=message) as error:
        load_base(path, tokenizer, TINY)
    assert str(error.value).startswith(str(path))


# Other families.

INPUT = UNET + "input_blocks__0__0__weight"
CONTEXT = UNET + "input_blocks__1__1__transformer_blocks__0__attn2__to_k__weight"


@pytest.mark.parametrize(
    ("tensors", "family"),
    [
        (edited(conditioner__embedders__0__x=torch.ones(1)), "Stable Diffusion XL"),
        (edited(**{UNET + "label_emb__0__0__weight": torch.ones(1)}), "Stable Diffusion XL"),
        (edited(cond_stage_model__model__ln_final__bias=torch.ones(1)), "Stable Diffusion 2.x"),
        (edited(**{CONTEXT: torch.ones(8, 1024)}), "Stable Diffusion 2.x .a 1024-wide context"),
        (edited(v_pred=torch.ones(1)), "v-prediction"),
        (edited(**{INPUT: torch.ones(8, 9, 3, 3)}), "inpainting model"),
        (edited(**{INPUT: torch.ones(8, 8, 3, 3)}), "InstructPix2Pix"),
        ({"joint_blocks.0.x": torch.ones(1)}, "Stable Diffusion 3"),
        ({"model.diffusion_model.double_blocks.0.x": torch.ones(1)}, "Flux"),
        ({"lora_unet_x.alpha": torch.ones(1)}, "a LoRA, which --lora merges"),
        (random_file(tiny_ldm.CONTROLNET), "a ControlNet, which --controlnet takes"),
        ({"body.0.block1.weight": torch.ones(1)}, "a condition adapter"),
        ({"transformer.h.0.weight": torch.ones(1)}, "it holds transformer.h"),
        ({}, "it holds no tensors"),
    ],
)
def test_another_family_is_refused_by_name(
    tokenizer: Path, tmp_path: Path, tensors: dict[str, Tensor], family: str
) -> None:
    path = save(tmp_path / "other.safetensors", tensors)
    with pytest.raises(ExportError, match=family) as error:
        load_base(path, tokenizer, TINY)
    assert "Stable Diffusion 1.x" in str(error.value)
