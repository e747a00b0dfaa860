"""LoRA files: merged as the libraries merge them, and refused where they don't fit."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from diffusers import DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from fgdm.export.errors import ExportError
from fgdm.export.sources import Base, Lora, load_base, merge_lora
from safetensors.torch import save_file
from torch import Tensor, nn

from tests.tiny_models import TinyCheckpoint

RANK = 2
LINEAR = "down_blocks.0.attentions.0.transformer_blocks.0"
UNET_LAYERS = (
    f"{LINEAR}.attn1.to_q",
    f"{LINEAR}.attn2.to_v",
    f"{LINEAR}.attn2.to_out.0",
    "up_blocks.1.attentions.1.transformer_blocks.0.attn1.to_k",
)
FEED_FORWARD = (f"{LINEAR}.ff.net.0.proj", f"{LINEAR}.ff.net.2", "mid_block.attentions.0.proj_in")
CONVOLUTIONS = ("conv_in", "down_blocks.0.resnets.0.conv1", "down_blocks.0.downsamplers.0.conv")
TEXT_LAYERS = ("encoder.layers.0.self_attn.q_proj", "encoder.layers.1.self_attn.out_proj")
TEXT_MLP = ("encoder.layers.1.mlp.fc1",)


@pytest.fixture
def base(tiny_checkpoint: TinyCheckpoint) -> Base:
    torch.manual_seed(5)
    return load_base(tiny_checkpoint.base)


def text_module(base: Base) -> nn.Module:
    """Where layers have the names above, whatever the version of transformers."""
    module: nn.Module = getattr(base.text_encoder, "text_model", base.text_encoder)
    return module


def pair(layer: nn.Module, rank: int = RANK) -> tuple[Tensor, Tensor]:
    """Random down and up matrices for a layer."""
    weight: Any = layer.weight
    down = 0.3 * torch.randn(rank, *weight.shape[1:])
    up = 0.3 * torch.randn(weight.shape[0], rank, *(1 for _ in weight.shape[2:]))
    return down, up


def pairs(
    base: Base, unet: tuple[str, ...], text: tuple[str, ...]
) -> dict[str, tuple[Tensor, Tensor]]:
    """By the layer's name behind ``unet.`` or ``text_encoder.text_model.``."""
    return {
        **{f"unet.{name}": pair(base.unet.get_submodule(name)) for name in unet},
        **{
            f"text_encoder.text_model.{name}": pair(text_module(base).get_submodule(name))
            for name in text
        },
    }


def kohya(updates: dict[str, tuple[Tensor, Tensor]], *alphas: float) -> dict[str, Tensor]:
    """kohya's names, with the alphas in turn; none for no alphas."""
    tensors: dict[str, Tensor] = {}
    for number, (name, (down, up)) in enumerate(updates.items()):
        model, _, layer = name.partition(".")
        prefix = {"unet": "lora_unet_", "text_encoder": "lora_te_"}[model]
        key = prefix + layer.replace(".", "_")
        tensors |= {f"{key}.lora_down.weight": down, f"{key}.lora_up.weight": up}
        if alphas:
            tensors[f"{key}.alpha"] = torch.tensor(alphas[number % len(alphas)])
    return tensors


def peft(updates: dict[str, tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
    """peft's names, in diffusers' files of today."""
    tensors: dict[str, Tensor] = {}
    for name, (down, up) in updates.items():
        tensors |= {f"{name}.lora_A.weight": down, f"{name}.lora_B.weight": up}
    return tensors


def processors(updates: dict[str, tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
    """The names of diffusers' first files, in which a LoRA was an attention processor."""
    tensors: dict[str, Tensor] = {}
    for name, (down, up) in updates.items():
        layer, _, last = name.removesuffix(".0").rpartition(".")
        key = (
            f"{layer}.processor.{last}_lora"
            if name.startswith("unet.")
            else f"{name}.lora_linear_layer"
        )
        tensors |= {f"{key}.down.weight": down, f"{key}.up.weight": up}
    return tensors


def merged_by_the_library(base: Base, file: Path, scale: float) -> tuple[nn.Module, nn.Module]:
    """The models after diffusers' own loading and fusing, which peft does."""
    pipeline = StableDiffusionPipeline(
        vae=None,
        text_encoder=deepcopy(base.text_encoder),
        tokenizer=None,
        unet=deepcopy(base.unet),
        scheduler=DDIMScheduler(steps_offset=1, clip_sample=False),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.load_lora_weights(str(file.parent), weight_name=file.name)
    pipeline.fuse_lora(lora_scale=scale)
    pipeline.unload_lora_weights()
    return pipeline.unet, pipeline.text_encoder


def assert_merged(base: Base, file: Path, scale: float, changed: int) -> None:
    """Merging changes as many tensors as expected, each into what the library makes of it."""
    references = merged_by_the_library(base, file, scale)
    models = (base.unet, base.text_encoder)
    before = [{key: value.clone() for key, value in model.state_dict().items()} for model in models]
    merge_lora(*models, Lora(file, scale))
    count = 0
    for model, reference, old in zip(models, references, before, strict=True):
        state, expected = model.state_dict(), reference.state_dict()
        assert state.keys() == expected.keys() == old.keys()
        for key, value in state.items():
            torch.testing.assert_close(value, expected[key], rtol=1e-5, atol=1e-6)
            count += not torch.equal(value, old[key])
    assert count == changed


def test_kohya_names_with_one_alpha(base: Base, tmp_path: Path) -> None:
    updates = pairs(base, UNET_LAYERS + FEED_FORWARD, TEXT_LAYERS + TEXT_MLP)
    save_file(kohya(updates, 1.0), tmp_path / "lora.safetensors")
    assert_merged(base, tmp_path / "lora.safetensors", 0.7, len(updates))


def test_peft_names(base: Base, tmp_path: Path) -> None:
    updates = pairs(base, UNET_LAYERS + FEED_FORWARD + CONVOLUTIONS, TEXT_LAYERS + TEXT_MLP)
    save_file(peft(updates), tmp_path / "lora.safetensors")
    assert_merged(base, tmp_path / "lora.safetensors", 1.0, len(updates))


def test_peft_names_with_alphas_in_the_header(base: Base, tmp_path: Path) -> None:
    updates = pairs(base, UNET_LAYERS + FEED_FORWARD, TEXT_LAYERS)
    settings = {
        "unet.r": RANK,
        "unet.lora_alpha": 5,
        "unet.alpha_pattern": {"attn1.to_q": 1},
        "unet.target_modules": [*UNET_LAYERS, *FEED_FORWARD],
        "text_encoder.r": RANK,
        "text_encoder.lora_alpha": 3,
        "text_encoder.use_rslora": True,
        "text_encoder.target_modules": TEXT_LAYERS,
    }
    metadata = {"lora_adapter_metadata": json.dumps(settings)}
    save_file(peft(updates), tmp_path / "lora.safetensors", metadata)
    assert_merged(base, tmp_path / "lora.safetensors", 0.5, len(updates))


def test_the_names_of_attention_processors(base: Base, tmp_path: Path) -> None:
    updates = pairs(base, UNET_LAYERS, TEXT_LAYERS)
    save_file(processors(updates), tmp_path / "lora.safetensors")
    assert_merged(base, tmp_path / "lora.safetensors", 1.5, len(updates))


@pytest.mark.parametrize("form", [peft, processors])
def test_names_that_do_not_say_which_model(base: Base, tmp_path: Path, form: Any) -> None:
    """The oldest files are of the UNet alone. Today's diffusers skips them in silence."""
    tensors = form(pairs(base, UNET_LAYERS, ()))
    bare = {key.removeprefix("unet."): value for key, value in tensors.items()}
    save_file(bare, tmp_path / "bare.safetensors")
    save_file(tensors, tmp_path / "named.safetensors")
    other = deepcopy(base.unet)
    merge_lora(base.unet, base.text_encoder, Lora(tmp_path / "bare.safetensors"))
    merge_lora(other, base.text_encoder, Lora(tmp_path / "named.safetensors"))
    name = UNET_LAYERS[0] + ".weight"
    assert torch.equal(base.unet.state_dict()[name], other.state_dict()[name])


@pytest.mark.parametrize("name", UNET_LAYERS[:1] + CONVOLUTIONS)
def test_a_merged_layer_computes_the_layer_plus_the_two_matrices(
    base: Base, tmp_path: Path, name: str
) -> None:
    """The definition, with alpha and scale, in float64; each layer has its own alpha."""
    updates = pairs(base, (UNET_LAYERS[1], name), ())
    torch.save(kohya(updates, 3.0, 0.5), tmp_path / "lora.pt")
    layer = deepcopy(base.unet.get_submodule(name)).double()
    down, up = (tensor.double() for tensor in updates[f"unet.{name}"])
    merge_lora(base.unet, base.text_encoder, Lora(tmp_path / "lora.pt", 0.8))
    weight = base.unet.get_submodule(name).weight.double()
    if isinstance(layer, nn.Conv2d):
        x = torch.randn(1, weight.shape[1], 8, 8, dtype=torch.float64)
        given = F.conv2d(x, weight, layer.bias, layer.stride, layer.padding)
        added = F.conv2d(F.conv2d(x, down, None, layer.stride, layer.padding), up)
    else:
        x = torch.randn(3, weight.shape[1], dtype=torch.float64)
        given, added = F.linear(x, weight, layer.bias), x @ down.T @ up.T
    expected = layer(x) + 0.8 * (0.5 / RANK) * added
    torch.testing.assert_close(given, expected, rtol=1e-5, atol=1e-5)


def test_every_layer_of_the_text_encoder_has_its_own_alpha(base: Base, tmp_path: Path) -> None:
    updates = pairs(base, (), TEXT_LAYERS + TEXT_MLP)
    alphas = (1.0, 3.0, 0.5)
    save_file(kohya(updates, *alphas), tmp_path / "lora.safetensors")
    before = deepcopy(text_module(base).state_dict())
    merge_lora(base.unet, base.text_encoder, Lora(tmp_path / "lora.safetensors", 0.8))
    after = text_module(base).state_dict()
    layers = zip(TEXT_LAYERS + TEXT_MLP, alphas, updates.values(), strict=True)
    for name, alpha, (down, up) in layers:
        expected = before[f"{name}.weight"] + 0.8 * alpha / RANK * (up @ down)
        torch.testing.assert_close(after[f"{name}.weight"], expected)


def test_trailing_ones_make_no_difference(base: Base, tmp_path: Path) -> None:
    """Of a linear layer written as a 1x1 convolution, and the other way round."""
    names = ("down_blocks.0.attentions.0.proj_in", UNET_LAYERS[0])
    tensors = kohya(pairs(base, names, ()))
    other = {
        key: value.flatten(1) if value.ndim == 4 else value[..., None, None]
        for key, value in tensors.items()
    }
    second = deepcopy(base.unet)
    for unet, content in ((base.unet, tensors), (second, other)):
        save_file(content, tmp_path / "lora.safetensors")
        merge_lora(unet, base.text_encoder, Lora(tmp_path / "lora.safetensors"))
    for name in names:
        given, expected = (unet.get_submodule(name).weight for unet in (second, base.unet))
        assert torch.equal(given, expected)


def test_two_loras_add_up(base: Base, tmp_path: Path) -> None:
    updates = pairs(base, UNET_LAYERS[:1], ())
    save_file(kohya(updates), tmp_path / "lora.safetensors")
    before = base.unet.get_submodule(UNET_LAYERS[0]).weight.clone()
    for scale in (0.75, -0.75):
        merge_lora(base.unet, base.text_encoder, Lora(str(tmp_path / "lora.safetensors"), scale))
    torch.testing.assert_close(base.unet.get_submodule(UNET_LAYERS[0]).weight, before)


def test_the_base_s_file_stays_as_it_is(
    tiny_checkpoint: TinyCheckpoint, base: Base, tmp_path: Path
) -> None:
    path = tiny_checkpoint.base / "unet/diffusion_pytorch_model.safetensors"
    before = path.read_bytes()
    save_file(kohya(pairs(base, UNET_LAYERS, ())), tmp_path / "lora.safetensors")
    merge_lora(base.unet, base.text_encoder, Lora(tmp_path / "lora.safetensors"))
    assert path.read_bytes() == before


Q = "lora_unet_" + UNET_LAYERS[0].replace(".", "_")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"lora_unet_nowhere.lora_down.weight": 1},
            "1 of 3 tensors match no layer .*: lora_unet_n",
        ),
        ({f"{Q}.dora_scale": 1}, rf"{Q}.dora_scale, .* of shapes .* don't fit unet.down_blocks"),
        ({f"{Q}.oft_blocks": 1}, r"is OFT or BOFT, which turns weights .* not supported"),
        ({f"{Q}.a1.weight": 1}, r"is GLoRA .* not supported; LoRA, LoCon, LoHa, LoKr and DoRA are"),
        ({f"{Q}.on_input": 1}, r"is \(IA\)³"),
        ({f"{Q}.lora_mid.weight": 1}, f"{Q}.lora_mid.weight"),
        ({f"{Q}.hada_w1_a": 1}, f"{Q}.hada_w1_a"),
        ({"lora_te2_text_model_x.lora_up.weight": 1}, "lora_te2_text_model_x"),
        ({"text_encoder_2.x.lora_A.weight": 1}, "text_encoder_2.x.lora_A.weight"),
        ({"base_model.model.conv_in.lora_A.weight": 1}, "put that file beside it, or give the fol"),
        ({f"{Q}.lora_up.weight": None}, "1 of 1 tensors match no layer"),
        ({f"{Q}.lora_up.weight": 7}, r"don't fit unet.down_blocks.*; the LoRA is for another mod"),
        ({f"{Q}.lora_down.weight": 32}, r"of shapes \(32, 2\) and \(32, 2\) don't fit unet"),
        ({f"{Q}.alpha": 2}, "don't fit unet.down_blocks"),
        ({f"{Q}.lora_up.weight": None, f"{Q}.lora_down.weight": None}, "the file is empty"),
    ],
)
def test_a_tensor_that_matches_nothing_is_an_error_and_changes_nothing(
    base: Base, tmp_path: Path, changes: dict[str, int | None], message: str
) -> None:
    tensors: dict[str, Any] = kohya(pairs(base, UNET_LAYERS[:1], ()))
    tensors |= {
        key: None if rows is None else torch.ones(rows, RANK) for key, rows in changes.items()
    }
    path = tmp_path / "lora.safetensors"
    save_file({key: value for key, value in tensors.items() if value is not None}, path)
    before = base.unet.get_submodule(UNET_LAYERS[0]).weight.clone()
    with pytest.raises(ExportError, match=message):
        merge_lora(base.unet, base.text_encoder, Lora(path))
    assert torch.equal(base.unet.get_submodule(UNET_LAYERS[0]).weight, before)


def test_a_lora_of_another_family_lists_the_first_twenty(base: Base, tmp_path: Path) -> None:
    tensors = {f"lora_unet_x_{i:02}.lora_up.weight": torch.ones(1, 1) for i in range(50)}
    save_file(tensors, tmp_path / "lora.safetensors")
    with pytest.raises(ExportError, match=r"lora_unet_x_19.lora_up.weight and 30 more\."):
        merge_lora(base.unet, base.text_encoder, Lora(tmp_path / "lora.safetensors"))


def test_a_folder_with_diffusers_file(base: Base, tmp_path: Path) -> None:
    assert isinstance(base.unet, UNet2DConditionModel)
    with pytest.raises(
        ExportError, match=r"has no pytorch_lora_weights\.safetensors and no adapter_mod"
    ):
        merge_lora(base.unet, base.text_encoder, Lora(tmp_path))
    updates = pairs(base, UNET_LAYERS[:1], ())
    save_file(peft(updates), tmp_path / "pytorch_lora_weights.safetensors")
    before = base.unet.get_submodule(UNET_LAYERS[0]).weight.clone()
    merge_lora(base.unet, base.text_encoder, Lora(tmp_path))
    assert not torch.equal(base.unet.get_submodule(UNET_LAYERS[0]).weight, before)
