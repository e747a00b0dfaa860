"""peft's own folders, merged as peft merges them, and LyCORIS's kinds against their definitions in
float64."""

from __future__ import annotations

import json
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import torch.nn.functional as F
from fgdm.export.errors import ExportError
from fgdm.export.sources import Base, Lora, load_base, merge_lora
from safetensors.torch import save_file
from torch import Tensor, nn

from tests.tiny_models import TinyCheckpoint

LINEAR = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
WIDE = "down_blocks.0.attentions.0.transformer_blocks.0.ff.net.2"
CONVOLUTION = "down_blocks.1.resnets.0.conv1"
NORM = "down_blocks.0.resnets.0.norm1"
TARGETS = ["to_q", "ff.net.2", "conv1"]


pytestmark = pytest.mark.filterwarnings(
    # peft asks transformers 5 for what it gives up in version 6, and takes a bias for a shard.
    "ignore:`is_gradient_checkpointing` is deprecated:FutureWarning",
    "ignore:Adapter 'default'. .* have invalid shape. .*lora_B.bias",
)


@pytest.fixture
def base(tiny_checkpoint: TinyCheckpoint) -> Base:
    torch.manual_seed(5)
    return load_base(tiny_checkpoint.base)


def saved(model: nn.Module, config: Any, folder: Path) -> dict[str, Tensor]:
    """Train (at random) and save an adapter with peft; returns the weights that peft merges."""
    wrapped = peft.get_peft_model(deepcopy(model), config)
    for name, parameter in wrapped.named_parameters():
        if parameter.requires_grad:
            parameter.data += 0.05 * torch.randn_like(parameter)
            assert "magnitude" in name or parameter.any(), name
    wrapped.save_pretrained(folder)
    merged: dict[str, Tensor] = wrapped.merge_and_unload().state_dict()
    return merged


def assert_merged(model: nn.Module, expected: Mapping[str, Tensor], before: nn.Module) -> None:
    old, changed = before.state_dict(), 0
    for key, value in model.state_dict().items():
        torch.testing.assert_close(value, expected[key], rtol=1e-5, atol=1e-5, msg=key)
        changed += not torch.equal(value, old[key])
    assert changed >= len(TARGETS)


CONFIGS: dict[str, Any] = {
    "alpha": {"lora_alpha": 6},
    "patterns": {
        "lora_alpha": 6,
        "rank_pattern": {"to_q": 3, "conv1": 1},
        "alpha_pattern": {"ff.net.2": 1, "^mid_block.*conv1": 9, "resnets.0.conv1|to_q": 5},
    },
    "rslora": {"lora_alpha": 3, "use_rslora": True},
    "dora": {"lora_alpha": 3, "use_dora": True},
    "all biases": {"bias": "all"},
    "biases of its layers": {"bias": "lora_only"},
    "a bias of its own": {"lora_bias": True, "lora_alpha": 5, "target_modules": ["conv1"]},
    "whole modules": {"modules_to_save": ["conv_in", "time_emb_proj"]},
}


@pytest.mark.parametrize("changes", CONFIGS.values(), ids=CONFIGS)
def test_peft_s_own_folder(base: Base, tmp_path: Path, changes: dict[str, Any]) -> None:
    options = {"r": 2, "target_modules": TARGETS, "init_lora_weights": False, **changes}
    expected = saved(base.unet, peft.LoraConfig(**options), tmp_path / "style")
    before = deepcopy(base.unet)
    merge_lora(base.unet, base.text_encoder, Lora(tmp_path / "style"))
    assert_merged(base.unet, expected, before)


@pytest.mark.parametrize(
    "config",
    [
        peft.LoHaConfig(r=2, alpha=5, target_modules=TARGETS, init_weights=False),
        peft.LoHaConfig(r=2, target_modules=TARGETS, use_effective_conv2d=True, init_weights=False),
        peft.LoKrConfig(r=2, alpha=5, target_modules=TARGETS, init_weights=False),
        peft.LoKrConfig(
            r=2,
            alpha=5,
            target_modules=TARGETS,
            use_effective_conv2d=True,
            decompose_both=True,
            init_weights=False,
        ),
        peft.LoKrConfig(r=64, alpha=5, target_modules=TARGETS, init_weights=False),
    ],
)
def test_peft_s_loha_and_lokr(base: Base, tmp_path: Path, config: Any) -> None:
    expected = saved(base.unet, config, tmp_path / "style")
    before = deepcopy(base.unet)
    merge_lora(base.unet, base.text_encoder, Lora(tmp_path / "style/adapter_model.safetensors"))
    assert_merged(base.unet, expected, before)


def test_peft_s_folders_of_both_models(base: Base, tmp_path: Path) -> None:
    """As peft's examples save them; of the text encoder an embedding too."""
    unet = peft.LoraConfig(r=2, target_modules=TARGETS, init_lora_weights=False)
    words = peft.LoraConfig(
        r=2,
        lora_alpha=3,
        target_modules=["q_proj", "k_proj", "token_embedding"],
        init_lora_weights=False,
    )
    expected_unet = saved(base.unet, unet, tmp_path / "both/unet")
    expected_text = saved(base.text_encoder, words, tmp_path / "both/text_encoder")
    before = deepcopy(base.unet), deepcopy(base.text_encoder)
    merge_lora(base.unet, base.text_encoder, Lora(tmp_path / "both"))
    assert_merged(base.unet, expected_unet, before[0])
    assert_merged(base.text_encoder, expected_text, before[1])


def test_peft_s_file_needs_its_configuration(base: Base, tmp_path: Path) -> None:
    config = peft.LoraConfig(r=2, target_modules=TARGETS, init_lora_weights=False)
    saved(base.unet, config, tmp_path / "style")
    path = tmp_path / "style/adapter_config.json"
    content = json.loads(path.read_text())
    for changes, message in (
        ({"peft_type": "VERA"}, "peft_type is 'VERA'; supported are LORA, LOHA, LOKR"),
        ({"init_lora_weights": "pissa_niter_4"}, "'pissa_niter_4', which changes the base's"),
        ({"alpha_pattern": {"(": 1}}, "malformed settings of its scales"),
    ):
        path.write_text(json.dumps({**content, **changes}))
        with pytest.raises(ExportError, match=message):
            merge_lora(base.unet, base.text_encoder, Lora(tmp_path / "style"))
    path.unlink()
    with pytest.raises(ExportError, match=r"scales are in adapter_config\.json; put that file"):
        merge_lora(base.unet, base.text_encoder, Lora(tmp_path / "style"))


# LyCORIS's kinds, under kohya's names, in float64.


def random(*shape: int) -> Tensor:
    return 0.3 * torch.randn(*shape)


def merged(base: Base, path: Path, name: str, tensors: dict[str, Tensor], scale: float) -> Tensor:
    key = "lora_unet_" + name.replace(".", "_")
    save_file({f"{key}.{role}": value for role, value in tensors.items()}, path / "l.safetensors")
    merge_lora(base.unet, base.text_encoder, Lora(path / "l.safetensors", scale))
    return weight_of(base, name)


def weight_of(base: Base, name: str) -> Tensor:
    weight: Tensor = base.unet.get_parameter(f"{name}.weight")
    return weight.detach().double().clone()


def test_a_convolution_in_tucker_s_form(base: Base, tmp_path: Path) -> None:
    """LoCon: three convolutions one after another, of 1x1, 3x3 and 1x1."""
    before = weight_of(base, CONVOLUTION)
    rows, columns = before.shape[:2]
    down, middle, up = random(3, columns, 1, 1), random(3, 3, 3, 3), random(rows, 3, 1, 1)
    tensors = {"lora_down.weight": down, "lora_mid.weight": middle, "lora_up.weight": up}
    after = merged(base, tmp_path, CONVOLUTION, {**tensors, "alpha": torch.tensor(2.0)}, 0.5)
    x = torch.randn(1, columns, 8, 8, dtype=torch.float64)
    d, m, u = (tensor.double() for tensor in (down, middle, up))
    added = F.conv2d(F.conv2d(F.conv2d(x, d), m, padding=1), u)
    expected = F.conv2d(x, before, padding=1) + 0.5 * (2.0 / 3) * added
    torch.testing.assert_close(F.conv2d(x, after, padding=1), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", [WIDE, CONVOLUTION])
def test_loha(base: Base, tmp_path: Path, name: str) -> None:
    """The product, element by element, of two low-rank matrices."""
    before = weight_of(base, name)
    rows, columns = before.flatten(1).shape
    tensors = {
        f"hada_w{i}_{half}": random(*shape)
        for i in (1, 2)
        for half, shape in (("a", (rows, 3)), ("b", (3, columns)))
    }
    after = merged(base, tmp_path, name, {**tensors, "alpha": torch.tensor(6.0)}, 0.5)
    t = {key: value.double() for key, value in tensors.items()}
    delta = torch.einsum("ik,kj,il,lj->ij", *(t[f"hada_w{i}_{h}"] for i in (1, 2) for h in "ab"))
    torch.testing.assert_close(
        after, before + (0.5 * 6 / 3 * delta).reshape(before.shape), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("name", [WIDE, CONVOLUTION])
@pytest.mark.parametrize("first_whole", [True, False])
@pytest.mark.parametrize("second_whole", [True, False])
def test_lokr(base: Base, tmp_path: Path, name: str, first_whole: bool, second_whole: bool) -> None:
    """Kronecker's product; where nothing is of low rank, alpha doesn't count."""
    before = weight_of(base, name)
    rows, columns, *kernel = before.shape
    tensors: dict[str, Tensor] = {}
    if first_whole:
        tensors["lokr_w1"] = random(4, 2)
    else:
        tensors |= {"lokr_w1_a": random(4, 3), "lokr_w1_b": random(3, 2)}
    inner = (rows // 4, columns // 2, *kernel)
    if second_whole:
        tensors["lokr_w2"] = random(*inner)
    else:
        size = inner[1] * (kernel[0] * kernel[1] if kernel else 1)
        tensors |= {"lokr_w2_a": random(inner[0], 3), "lokr_w2_b": random(3, size)}
    after = merged(base, tmp_path, name, {**tensors, "alpha": torch.tensor(6.0)}, 0.5)
    t = {key: value.double() for key, value in tensors.items()}
    first = t["lokr_w1"] if first_whole else t["lokr_w1_a"] @ t["lokr_w1_b"]
    second = t["lokr_w2"] if second_whole else t["lokr_w2_a"] @ t["lokr_w2_b"]
    delta = torch.einsum("ij,klm->ikjlm", first, second.reshape(inner[0], inner[1], -1))
    factor = 1.0 if first_whole and second_whole else 6.0 / 3
    expected = before + 0.5 * factor * delta.reshape(before.shape)
    torch.testing.assert_close(after, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", [WIDE, CONVOLUTION])
@pytest.mark.parametrize("over", ["inputs", "outputs"])
def test_dora_s_magnitudes(base: Base, tmp_path: Path, name: str, over: str) -> None:
    """The updated weight, each row (in LyCORIS's older files each column) of its own length."""
    before = weight_of(base, name)
    rows, columns, *kernel = before.shape
    down, up = random(3, columns, *kernel), random(rows, 3, *(1 for _ in kernel))
    count = rows if over == "inputs" else columns
    magnitude = 1 + torch.rand(count)
    ones = [1 for _ in kernel]
    shape = (rows, 1, *ones) if over == "inputs" else (1, columns, *ones)
    tensors = {
        "lora_down.weight": down,
        "lora_up.weight": up,
        "alpha": torch.tensor(2.0),
        "dora_scale": magnitude.reshape(shape),
    }
    after = merged(base, tmp_path, name, tensors, 1.0)
    delta = (up.double().flatten(1) @ down.double().flatten(1)).reshape(before.shape)
    direction = before + 2 / 3 * delta
    dims = [i for i in range(before.ndim) if i != (0 if over == "inputs" else 1)]
    lengths = direction.square().sum(dims).sqrt()
    expected = direction * (magnitude.double() / lengths).reshape(shape)
    torch.testing.assert_close(after, expected, rtol=1e-5, atol=1e-5)


def test_whole_differences(base: Base, tmp_path: Path) -> None:
    """LyCORIS's "full" and "norm"; OneTrainer's name of the text encoder."""
    layer: Any = base.unet.get_submodule(NORM)
    old = [value.detach().double() for value in (layer.weight, layer.bias)]
    rows = len(old[0])
    word = "encoder.layers.0.mlp.fc1"
    text: Any = getattr(base.text_encoder, "text_model", base.text_encoder).get_submodule(word)
    old_text = text.weight.detach().double()
    tensors = {
        f"lora_unet_{NORM.replace('.', '_')}.w_norm": random(rows),
        f"lora_unet_{NORM.replace('.', '_')}.b_norm": random(rows),
        f"lora_te1_text_model_{word.replace('.', '_')}.diff": random(*old_text.shape),
    }
    save_file(tensors, tmp_path / "full.safetensors")
    merge_lora(base.unet, base.text_encoder, Lora(tmp_path / "full.safetensors", 0.5))
    given = [layer.weight, layer.bias, text.weight]
    for value, before, added in zip(given, [*old, old_text], tensors.values(), strict=True):
        torch.testing.assert_close(value.detach().double(), before + 0.5 * added.double())


def test_one_of_a_pair_that_is_missing(base: Base, tmp_path: Path) -> None:
    key = "lora_unet_" + LINEAR.replace(".", "_")
    for roles in (["hada_w1_a"], ["lokr_w1"], ["lokr_w1", "lokr_w2_a"], ["dora_scale"]):
        tensors = {f"{key}.{role}": torch.ones(2, 2) for role in roles}
        save_file(tensors, tmp_path / "half.safetensors")
        with pytest.raises(ExportError, match=r"lack others beside them: lora_unet"):
            merge_lora(base.unet, base.text_encoder, Lora(tmp_path / "half.safetensors"))
