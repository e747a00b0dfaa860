"""A UNet alone as a base, and autoencoders and text encoders from sources of their own."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, TypedDict

import pytest
import torch
from diffusers import AutoencoderKL
from fgdm.export.errors import ExportError
from fgdm.export.sources import load_base
from fgdm.export.sources.sd1 import SCHEDULER
from safetensors.torch import save_file
from transformers import CLIPConfig, CLIPModel, CLIPTextModel

from tests.export.sources import tiny_ldm
from tests.export.sources.layouts import Entry, random_file
from tests.export.sources.test_base import TEXT, UNET, VAE, edit, is_whole, same
from tests.export.sources.tiny_ldm import CHECKPOINT, TINY, assert_holds, save
from tests.tiny_models import TinyCheckpoint


class Others(TypedDict):
    """The other parts of a base, as `load_base` takes them."""

    tokenizer: Path
    vae: Path
    text_encoder: Path


@pytest.fixture
def others(tiny_checkpoint: TinyCheckpoint) -> Others:
    base = tiny_checkpoint.base
    return {
        "tokenizer": base / "tokenizer",
        "vae": base / "vae",
        "text_encoder": base / "text_encoder",
    }


@pytest.mark.parametrize("form", ["folder", "file"])
def test_a_unet_alone(
    tiny_checkpoint: TinyCheckpoint, others: Others, tmp_path: Path, form: str
) -> None:
    """diffusers' folder, or the file in it; its config.json says what it looks like."""
    shutil.copytree(tiny_checkpoint.base / "unet", tmp_path / "unet")
    source = tmp_path / "unet"
    if form == "file":
        source = source / Path(UNET).name
    base = load_base(source, **others)
    is_whole(base, tiny_checkpoint)
    assert base.scheduler == SCHEDULER
    with pytest.raises(ExportError, match=r"has no autoencoder; give one with --vae SOURCE"):
        load_base(source, others["tokenizer"])
    with pytest.raises(ExportError, match=r"has no text encoder; give one with --text-encoder"):
        load_base(source, others["tokenizer"], vae=others["vae"])


@pytest.mark.parametrize("prefix", ["model.diffusion_model.", "diffusion_model.", ""])
def test_a_unet_alone_under_ldm_s_names(others: Others, tmp_path: Path, prefix: str) -> None:
    entries = [
        Entry(prefix + e.file.removeprefix("model.diffusion_model."), e.model, e.shape)
        for e in tiny_ldm.UNET
    ]
    tensors = random_file(entries)
    path = save(tmp_path / "unet.safetensors", dict(tensors))
    assert_holds(load_base(path, architecture=TINY, **others).unet, entries, tensors)


def test_parts_of_a_pipeline(
    tiny_checkpoint: TinyCheckpoint, others: Others, tmp_path: Path
) -> None:
    """Folders without these parts take them from elsewhere; from a whole pipeline as well."""
    base = tmp_path / "base"
    shutil.copytree(tiny_checkpoint.base, base)
    shutil.rmtree(base / "vae")
    shutil.rmtree(base / "text_encoder")
    whole = tiny_checkpoint.base
    is_whole(load_base(base, vae=whole, text_encoder=whole), tiny_checkpoint)
    is_whole(load_base(base, vae=whole / VAE, text_encoder=whole / TEXT), tiny_checkpoint)


def test_they_replace_those_of_a_checkpoint(
    tiny_checkpoint: TinyCheckpoint, others: Others, tmp_path: Path
) -> None:
    path = save(tmp_path / "sd.safetensors", random_file(CHECKPOINT))
    base = load_base(path, architecture=TINY, **others)
    same(base.vae, AutoencoderKL.from_pretrained(others["vae"]))
    same(base.text_encoder, CLIPTextModel.from_pretrained(others["text_encoder"]))


@pytest.mark.parametrize("prefix", ["first_stage_model.", ""])
@pytest.mark.parametrize("suffix", ["safetensors", "ckpt"])
def test_an_autoencoder_under_ldm_s_names(
    tiny_checkpoint: TinyCheckpoint, tmp_path: Path, prefix: str, suffix: str
) -> None:
    """As vae-ft-mse-840000-ema-pruned is published, and inside a whole checkpoint."""
    entries = [
        Entry(prefix + e.file.removeprefix("first_stage_model."), e.model, e.shape)
        for e in tiny_ldm.VAE
    ]
    tensors = random_file(entries)
    extra = {"loss.logvar": torch.zeros(1), "model_ema.decay": torch.ones(1)}
    extra |= {"model.diffusion_model.x": torch.ones(1)} if prefix else {}
    path = save(tmp_path / f"vae.{suffix}", {**tensors, **(extra if not prefix else {})})
    base = load_base(tiny_checkpoint.base, architecture=TINY, vae=path)
    assert_holds(base.vae, entries, tensors)


@pytest.mark.parametrize("prefix", ["cond_stage_model.transformer.", "text_model.", ""])
def test_a_text_encoder_in_a_file(
    tiny_checkpoint: TinyCheckpoint, tmp_path: Path, prefix: str
) -> None:
    """Of a checkpoint, of transformers before and after 5.6, and beside CLIP's other parts."""
    start = "cond_stage_model.transformer.text_model."
    rename = "text_model." if prefix.startswith("cond") else ""
    entries = [
        Entry(prefix + rename + e.file.removeprefix(start), e.model, e.shape)
        for e in tiny_ldm.TEXT_ENCODER
    ]
    tensors = random_file(entries)
    beside = (
        {}
        if prefix.startswith("cond")
        else {"logit_scale": torch.ones(1), "text_projection.weight": torch.ones(2, 2)}
    )
    path = save(tmp_path / "clip_l.safetensors", {**tensors, **beside})
    base = load_base(tiny_checkpoint.base, architecture=TINY, text_encoder=path)
    assert_holds(base.text_encoder, entries, tensors)


def test_the_text_encoder_of_a_whole_clip(tiny_checkpoint: TinyCheckpoint, tmp_path: Path) -> None:
    folder = tiny_checkpoint.base / "text_encoder"
    text = json.loads((folder / "config.json").read_text())
    vision = {
        "hidden_size": 8,
        "intermediate_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
        "image_size": 4,
        "patch_size": 2,
    }
    CLIPModel(CLIPConfig(text_config=text, vision_config=vision)).save_pretrained(tmp_path / "clip")
    loaded = load_base(tiny_checkpoint.base, text_encoder=tmp_path / "clip").text_encoder
    same(loaded, CLIPTextModel.from_pretrained(tmp_path / "clip"))


def test_what_is_none_of_them(tiny_checkpoint: TinyCheckpoint, tmp_path: Path) -> None:
    base = tiny_checkpoint.base
    for name, tensors, option, message in (
        ("lora", {"lora_unet_x.alpha": 1}, "vae", "isn't an autoencoder: no key begins with"),
        ("sd2", {"cond_stage_model.model.x": 1}, "text_encoder", "a Stable Diffusion 2.x check"),
        ("vae", {"encoder.x": 1}, "text_encoder", "isn't CLIP's text encoder: it has no token_"),
    ):
        path = tmp_path / f"{name}.safetensors"
        save_file({key: torch.ones(value) for key, value in tensors.items()}, path)
        options: dict[str, Any] = {option: path}
        with pytest.raises(ExportError, match=message):
            load_base(base, **options)
    (tmp_path / "model.gguf").write_bytes(b"GGUF" + bytes(60))
    with pytest.raises(ExportError, match="is a GGUF file, whose weights are quantised"):
        load_base(tmp_path / "model.gguf")
    shutil.copytree(base / "text_encoder", tmp_path / "masked")
    edit(tmp_path / "masked/config.json", use_attention_mask=True)
    with pytest.raises(ExportError, match="masks its padding"):
        load_base(base, text_encoder=tmp_path / "masked")


def test_a_distilled_unet_in_one_file_is_refused_by_name(
    tiny_checkpoint: TinyCheckpoint, tmp_path: Path
) -> None:
    entries = [e for e in CHECKPOINT if ".middle_block." not in e.file]
    path = save(tmp_path / "tiny.safetensors", random_file(entries))
    with pytest.raises(ExportError, match=r"has no middle block, as distilled .* diffusers folder"):
        load_base(path, tiny_checkpoint.base / "tokenizer", TINY)
