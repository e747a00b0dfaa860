"""Diffusers folders as a base: old and new files, other families, and what may be wrong in them."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from fgdm.export.errors import ExportError
from fgdm.export.graphs import backbone_graph
from fgdm.export.sources import Base, load_base
from fgdm.export.sources.places import DIFFUSERS_WEIGHTS
from huggingface_hub import constants
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import CLIPTextModel

from tests.export.sources.test_tensors import Malicious
from tests.export.sources.tiny_ldm import everything
from tests.tiny_models import TinyCheckpoint

UNET = "unet/diffusion_pytorch_model.safetensors"
VAE = "vae/diffusion_pytorch_model.safetensors"
TEXT = "text_encoder/model.safetensors"


@pytest.fixture
def folder(tiny_checkpoint: TinyCheckpoint, tmp_path: Path) -> Path:
    """A copy of the tiny base that may be spoilt."""
    shutil.copytree(tiny_checkpoint.base, tmp_path / "base")
    return tmp_path / "base"


def same(given: nn.Module, expected: nn.Module) -> None:
    state, reference = given.state_dict(), expected.state_dict()
    assert state.keys() == reference.keys()
    assert all(torch.equal(state[key], value) for key, value in reference.items())


def is_whole(base: Base, checkpoint: TinyCheckpoint) -> None:
    """The base is what the libraries' own from_pretrained reads."""
    same(base.unet, UNet2DConditionModel.from_pretrained(checkpoint.base / "unet"))
    same(base.vae, AutoencoderKL.from_pretrained(checkpoint.base / "vae"))
    same(base.text_encoder, CLIPTextModel.from_pretrained(checkpoint.base / "text_encoder"))
    models = (base.unet, base.vae, base.text_encoder)
    assert not any(value.is_meta for value in everything(*models))
    assert not any(model.training for model in models)


def edit(path: Path, **changes: Any) -> None:
    content = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**content, **changes}))


def test_a_folder_is_read_as_the_libraries_read_it(tiny_checkpoint: TinyCheckpoint) -> None:
    base = load_base(tiny_checkpoint.base)
    is_whole(base, tiny_checkpoint)
    reference = CLIPTextModel.from_pretrained(tiny_checkpoint.base / "text_encoder").eval()
    ids = torch.randint(50, (2, 9))
    with torch.no_grad():
        given, expected = base.text_encoder(ids), reference(ids)
    assert torch.equal(given.last_hidden_state, expected.last_hidden_state)


def test_an_id_is_read_through_the_cache(
    tiny_checkpoint: TinyCheckpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    root = tmp_path / "models--owner--tiny"
    shutil.copytree(tiny_checkpoint.base, root / "snapshots/abc")
    (root / "refs").mkdir()
    (root / "refs/main").write_text("abc")
    is_whole(load_base("owner/tiny"), tiny_checkpoint)


def test_only_half_precision_weights(folder: Path) -> None:
    path = folder / UNET
    state = {key: value.half() for key, value in load_file(path).items()}
    save_file(state, path.with_name("diffusion_pytorch_model.fp16.safetensors"))
    path.unlink()
    loaded = load_base(folder).unet.state_dict()
    assert all(torch.equal(loaded[key], value.float()) for key, value in state.items())


def test_pickled_weights(folder: Path, tiny_checkpoint: TinyCheckpoint) -> None:
    for name, old in ((UNET, "diffusion_pytorch_model.bin"), (TEXT, "pytorch_model.bin")):
        torch.save(load_file(folder / name), (folder / name).with_name(old))
        (folder / name).unlink()
    is_whole(load_base(folder), tiny_checkpoint)


def test_sharded_weights(folder: Path, tiny_checkpoint: TinyCheckpoint) -> None:
    (folder / UNET).unlink()
    unet = UNet2DConditionModel.from_pretrained(tiny_checkpoint.base / "unet")
    unet.save_pretrained(folder / "unet", max_shard_size="200KB")
    assert len(list((folder / "unet").glob("*-of-*.safetensors"))) > 1
    is_whole(load_base(folder), tiny_checkpoint)


@pytest.mark.parametrize("name", DIFFUSERS_WEIGHTS)
def test_every_name_of_weights(folder: Path, tiny_checkpoint: TinyCheckpoint, name: str) -> None:
    state = load_file(folder / VAE)
    (folder / VAE).unlink()
    write = torch.save if ".bin" in name else save_file
    if name.endswith(".json"):
        shards = [f"{i}-{name.partition('.')[2].partition('.index')[0]}" for i in (1, 2)]
        for i, shard in enumerate(shards):
            write({k: state[k].clone() for k in list(state)[i::2]}, folder / "vae" / shard)
        weight_map = {key: shards[i % 2] for i, key in enumerate(state)}
        (folder / "vae" / name).write_text(json.dumps({"weight_map": weight_map}))
    else:
        write(state, folder / "vae" / name)
    is_whole(load_base(folder), tiny_checkpoint)


def test_variants_as_the_libraries_shard_them(
    folder: Path, tiny_checkpoint: TinyCheckpoint
) -> None:
    for part, kind in (("unet", UNet2DConditionModel), ("text_encoder", CLIPTextModel)):
        model = kind.from_pretrained(tiny_checkpoint.base / part).half()
        shutil.rmtree(folder / part)
        model.save_pretrained(folder / part, variant="fp16", max_shard_size="20KB")
        assert len(list((folder / part).glob("*-of-*.safetensors"))) > 1
        expected = kind.from_pretrained(folder / part, variant="fp16").float()
        loaded = load_base(folder)
        same(loaded.unet if part == "unet" else loaded.text_encoder, expected)


def test_a_clip_skip_in_the_configuration(folder: Path) -> None:
    """The file has more layers than the configuration asks for, as published models have it."""
    edit(folder / "text_encoder/config.json", num_hidden_layers=1)
    expected = CLIPTextModel.from_pretrained(folder / "text_encoder")
    same(load_base(folder).text_encoder, expected)
    edit(folder / "text_encoder/config.json", num_hidden_layers=3)
    with pytest.raises(ExportError, match=r"16 of \d+ tensors are missing: .*layers\.2\."):
        load_base(folder)


@pytest.mark.parametrize("middle", [None, "UNetMidBlock2D"])
def test_a_unet_with_less_of_a_middle_block(folder: Path, middle: str | None) -> None:
    """BK-SDM's and Segmind's small and tiny models have none."""
    config = json.loads((folder / "unet/config.json").read_text())
    torch.manual_seed(2)
    unet = UNet2DConditionModel.from_config({**config, "mid_block_type": middle}).eval()
    shutil.rmtree(folder / "unet")
    unet.save_pretrained(folder / "unet")
    loaded = load_base(folder).unet
    same(loaded, unet)
    graph = backbone_graph(loaded, 32)
    inputs = graph.random_inputs(1, 8, 8, seed=4)
    inputs["attn_scale"] = torch.ones(1)
    sample, timestep, context, *_ = inputs.values()
    intrablock, down, middle_residual = (
        [value for name, value in inputs.items() if name.startswith(start)]
        for start in ("intrablock", "down_", "mid_")
    )
    with torch.no_grad():
        given = graph.module(*inputs.values())
        expected = unet(
            sample,
            timestep,
            context,
            down_block_additional_residuals=tuple(down),
            mid_block_additional_residual=middle_residual[0],
            down_intrablock_additional_residuals=intrablock,
        ).sample
    torch.testing.assert_close(given, expected, rtol=1e-4, atol=1e-4)


def test_names_that_old_versions_wrote(folder: Path, tiny_checkpoint: TinyCheckpoint) -> None:
    """Published autoencoders have older attention names; text encoders have position ids."""
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    state = load_file(folder / VAE)
    for new, name in old.items():
        for key in [key for key in state if f".{new}." in key]:
            state[key.replace(new, name)] = state.pop(key)
    assert "decoder.mid_block.attentions.0.proj_attn.weight" in state
    save_file(state, folder / VAE)
    state = {
        f"text_model.{k.removeprefix('text_model.')}": v
        for k, v in load_file(folder / TEXT).items()
    }
    save_file(state | {"text_model.embeddings.position_ids": torch.arange(32)[None]}, folder / TEXT)
    is_whole(load_base(folder), tiny_checkpoint)


def test_what_a_pipeline_holds_besides_is_ignored(
    folder: Path, tiny_checkpoint: TinyCheckpoint
) -> None:
    edit(folder / "model_index.json", _class_name="StableDiffusionPipeline")
    for name in ("safety_checker", "feature_extractor"):
        (folder / name).mkdir()
        (folder / name / "config.json").write_text("{broken")
    is_whole(load_base(folder), tiny_checkpoint)


def test_another_tokenizer(folder: Path, tiny_checkpoint: TinyCheckpoint) -> None:
    shutil.rmtree(folder / "tokenizer")
    with pytest.raises(ExportError, match=r"base has no tokenizer; give one with --tokenizer"):
        load_base(folder)
    base = load_base(folder, tiny_checkpoint.base / "tokenizer")
    assert base.tokenizer == load_base(tiny_checkpoint.base).tokenizer


def spoil_code(folder: Path) -> None:
    (folder / UNET).unlink()
    path = folder / "unet/diffusion_pytorch_model.bin"
    torch.save({"conv_in.weight": Malicious(os.mkdir, str(folder / "it-was-run"))}, path)


def drop_tensor(folder: Path) -> None:
    state = load_file(folder / TEXT)
    del state[next(key for key in state if "layers.1.mlp.fc1.weight" in key)]
    save_file(state, folder / TEXT)


def truncate(folder: Path) -> None:
    (folder / VAE).write_bytes((folder / VAE).read_bytes()[:-8])


SPOILERS: list[tuple[Callable[[Path], object], str]] = [
    (lambda f: shutil.rmtree(f / "unet"), "base has no folder unet"),
    (lambda f: shutil.rmtree(f / "vae"), "base has no autoencoder; give one with --vae SOURCE"),
    (lambda f: shutil.rmtree(f / "text_encoder"), "has no text encoder; give one with --text-enc"),
    (lambda f: (f / UNET).unlink(), r"unet has no weights; expected diffusion_pytorch_model.safe"),
    (lambda f: (f / "unet/config.json").unlink(), r"can't read .*unet/config.json"),
    (lambda f: (f / "unet/config.json").write_text("[]"), "holds a list; expected an object"),
    (lambda f: shutil.rmtree(f / "scheduler"), r"can't read .*scheduler_config.json"),
    (spoil_code, "asks to run code"),
    (drop_tensor, r"1 of \d+ tensors are missing: .*encoder.layers.1.mlp.fc1.weight"),
    (truncate, "vae/diffusion_pytorch_model.safetensors is truncated"),
    (
        lambda f: edit(f / "unet/config.json", block_out_channels=[32, 64, 32]),
        r"tensors have another shape: .* is 64.* instead of 32",
    ),
    (lambda f: edit(f / "unet/config.json", norm_num_groups=7), "no model that can be made"),
    (lambda f: edit(f / "vae/config.json", _class_name="AutoencoderTiny"), "holds a AutoencoderT"),
    (lambda f: edit(f / "text_encoder/config.json", model_type="t5"), "is a t5; expected CLIP's"),
]


@pytest.mark.parametrize(("spoil", "message"), SPOILERS)
def test_a_spoilt_folder_is_an_error(
    folder: Path, spoil: Callable[[Path], object], message: str
) -> None:
    spoil(folder)
    with pytest.raises(ExportError, match=message):
        load_base(folder)
    assert not (folder / "it-was-run").exists()


@pytest.mark.parametrize(
    ("file", "changes", "family"),
    [
        ("model_index.json", {"_class_name": "StableDiffusionXLPipeline"}, "StableDiffusionXLPi"),
        ("model_index.json", {"_class_name": "StableDiffusion3Pipeline"}, "StableDiffusion3Pipe"),
        ("model_index.json", {"_class_name": "FluxPipeline"}, "FluxPipeline"),
        ("unet/config.json", {"cross_attention_dim": 1024}, "Stable Diffusion 2.x"),
        ("unet/config.json", {"cross_attention_dim": 2048}, "Stable Diffusion XL"),
        ("unet/config.json", {"addition_embed_type": "text_time"}, "Stable Diffusion XL"),
        ("unet/config.json", {"in_channels": 9}, "inpainting model"),
        ("unet/config.json", {"in_channels": 6}, "6 input channels and 4 out"),
        ("unet/config.json", {"time_cond_proj_dim": 256}, "latent consistency model"),
        ("unet/config.json", {"num_class_embeds": 1000}, "class-conditioned"),
        ("unet/config.json", {"attention_type": "gated"}, "GLIGEN"),
        ("unet/config.json", {"center_input_sample": True}, "shifts its latents"),
        ("unet/config.json", {"time_embedding_act_fn": "silu"}, "activation after its timestep"),
        ("unet/config.json", {"time_embedding_type": "fourier"}, "a fourier timestep embedding"),
        ("unet/config.json", {"mid_block_type": "UNetMidBlock2DSimpleCrossAttn"}, "SimpleCross"),
        ("unet/config.json", {"down_block_types": ["KDownBlock2D"]}, "a KDownBlock2D among its"),
        ("text_encoder/config.json", {"hidden_size": 1024}, "Stable Diffusion 2.x"),
        ("scheduler/scheduler_config.json", {"variance_type": "learned"}, "a variance"),
    ],
)
def test_another_family_is_refused_by_name(
    folder: Path, file: str, changes: dict[str, Any], family: str
) -> None:
    edit(folder / file, **changes)
    with pytest.raises(ExportError, match=family) as error:
        load_base(folder)
    assert "supported is Stable Diffusion 1.x" in str(error.value)


def test_a_transformer_is_refused_by_name(folder: Path) -> None:
    (folder / "transformer").mkdir()
    with pytest.raises(ExportError, match="Stable Diffusion 3 or Flux"):
        load_base(folder)
