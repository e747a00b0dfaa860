"""Every graph of the tiny bundle against diffusers' and transformers' own forward passes.

The models are read from the bundle's subfolders, so these tests also show that they load there.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from diffusers import AutoencoderKL, ControlNetModel, UNet2DConditionModel
from fgdm.export.adapter import TimestepAdapter, timestep_embedding
from fgdm.export.check import open_session, relative_error, run_session
from numpy.typing import NDArray
from torch import Tensor
from transformers import CLIPTextModel

from tests.export.paper_attention import use_paper_attention
from tests.tiny_models import CHANNELS, MAX_LENGTH, TEXT_WIDTH

TOLERANCE = 1e-5


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    torch.manual_seed(21)
    with torch.no_grad():
        yield


@pytest.fixture(scope="module")
def unet(tiny_bundle: Path) -> UNet2DConditionModel:
    return UNet2DConditionModel.from_pretrained(tiny_bundle / "unet").eval()


@cache
def session(path: Path) -> onnxruntime.InferenceSession:
    return open_session(path)


def run(bundle: Path, name: str, **inputs: Tensor) -> dict[str, NDArray[np.float32]]:
    return run_session(session(bundle / f"{name}.onnx"), inputs)


def close(actual: NDArray[np.float32], expected: Tensor) -> None:
    assert relative_error(actual, expected.numpy()) <= TOLERANCE


def latent_inputs(batch: int, height: int, width: int) -> dict[str, Tensor]:
    return {
        "sample": torch.randn(batch, 4, height, width),
        "timestep": torch.randint(1000, (batch,)).float(),
        "encoder_hidden_states": torch.randn(batch, MAX_LENGTH, TEXT_WIDTH),
    }


def backbone_inputs(batch: int, height: int, width: int) -> dict[str, Tensor]:
    def features(channels: int, stride: int) -> Tensor:
        return torch.randn(batch, channels, height // stride, width // stride)

    first, second, third = CHANNELS
    down = [(first, 1), (first, 1), (first, 2), (second, 2), (second, 4), (third, 4)]
    mask = torch.ones(batch, MAX_LENGTH, dtype=torch.bool)
    mask[:, 0] = False
    return {
        **latent_inputs(batch, height, width),
        "attn_scale": torch.ones(batch),
        "argmax_mask": mask,
        **{f"intrablock_residual_{i}": features(c, 2**i) for i, c in enumerate(CHANNELS)},
        **{f"down_residual_{i}": features(*entry) for i, entry in enumerate(down)},
        "mid_residual": features(third, 4),
    }


def unet_reference(unet: UNet2DConditionModel, inputs: dict[str, Tensor]) -> Tensor:
    """diffusers' forward; the residuals are cloned, since it adds to them in place."""

    def residuals(prefix: str) -> list[Tensor]:
        return [value.clone() for name, value in inputs.items() if name.startswith(prefix)]

    noise: Tensor = unet(
        inputs["sample"],
        inputs["timestep"],
        inputs["encoder_hidden_states"],
        down_intrablock_additional_residuals=residuals("intrablock"),
        down_block_additional_residuals=tuple(residuals("down")),
        mid_block_additional_residual=inputs["mid_residual"],
    ).sample
    return noise


@pytest.mark.parametrize(("batch", "height", "width"), [(1, 8, 8), (3, 16, 8), (5, 4, 12)])
def test_backbone_with_both_residual_sets(
    tiny_bundle: Path, unet: UNet2DConditionModel, batch: int, height: int, width: int
) -> None:
    inputs = backbone_inputs(batch, height, width)
    close(run(tiny_bundle, "backbone", **inputs)["noise_pred"], unet_reference(unet, inputs))


@pytest.mark.parametrize("level", [1, 2])
def test_a_shallow_backbone_over_fresh_features_is_the_backbone(
    tiny_bundle: Path, level: int
) -> None:
    inputs = backbone_inputs(3, 16, 8)
    inputs["attn_scale"] = torch.tensor([-10.0, 0.0, 1.0])
    whole = run(tiny_bundle, "backbone", **inputs)
    name = f"deep_features_{level}"
    taken = {i.name for i in session(tiny_bundle / f"backbone_shallow_{level}.onnx").get_inputs()}
    assert {"intrablock_residual_0", f"down_residual_{2 * level - 1}"} <= taken
    assert not {f"intrablock_residual_{level}", f"down_residual_{2 * level}"} & taken
    inputs[name] = torch.from_numpy(whole[name])
    outer = run(tiny_bundle, f"backbone_shallow_{level}", **{i: inputs[i] for i in taken})
    assert relative_error(outer["noise_pred"], whole["noise_pred"]) <= TOLERANCE


def test_zero_residuals_are_absent_ones(tiny_bundle: Path, unet: UNet2DConditionModel) -> None:
    inputs = backbone_inputs(2, 8, 8)
    for name in inputs:
        if "residual" in name:
            inputs[name] = torch.zeros_like(inputs[name])
    plain = unet(inputs["sample"], inputs["timestep"], inputs["encoder_hidden_states"]).sample
    close(run(tiny_bundle, "backbone", **inputs)["noise_pred"], plain)


def test_backbone_is_the_papers_segfree_branch(tiny_bundle: Path) -> None:
    unet = UNet2DConditionModel.from_pretrained(tiny_bundle / "unet").eval()
    scales = [-10.0, 1.0, 0.0, -10.0]
    inputs = backbone_inputs(4, 8, 8)
    inputs["attn_scale"] = torch.tensor(scales)
    use_paper_attention(unet, scales)
    actual = run(tiny_bundle, "backbone", **inputs)["noise_pred"]
    close(actual, unet_reference(unet, inputs))
    inputs["attn_scale"] = torch.ones(4)
    plain = run(tiny_bundle, "backbone", **inputs)["noise_pred"]
    assert np.array_equal(actual[1], plain[1])
    assert relative_error(actual[0], plain[0]) > 0.01


def test_rows_do_not_see_each_other(tiny_bundle: Path) -> None:
    inputs = backbone_inputs(3, 8, 8)
    together = run(tiny_bundle, "backbone", **inputs)["noise_pred"]
    for row in range(3):
        one = {name: value[row : row + 1] for name, value in inputs.items()}
        alone = run(tiny_bundle, "backbone", **one)["noise_pred"]
        assert relative_error(together[row : row + 1], alone) <= TOLERANCE


def test_adapter(tiny_bundle: Path, unet: UNet2DConditionModel) -> None:
    adapter = TimestepAdapter.from_pretrained(tiny_bundle / "adapter_segmentation").eval()
    inputs = latent_inputs(3, 12, 8)
    del inputs["encoder_hidden_states"]
    expected = adapter(
        inputs["sample"], timestep_embedding(unet, inputs["timestep"], torch.float32)
    )
    outputs = run(tiny_bundle, "adapter_segmentation", **inputs)
    assert list(outputs) == [f"intrablock_residual_{i}" for i in range(len(CHANNELS))]
    for actual, reference in zip(outputs.values(), expected, strict=True):
        close(actual, reference)


def test_controlnet_with_its_hint_apart(tiny_bundle: Path) -> None:
    folder = tiny_bundle / "controlnet_segmentation"
    controlnet = ControlNetModel.from_pretrained(folder).eval()
    inputs = latent_inputs(2, 8, 12)
    picture = torch.rand(2, 3, 32, 48)
    hint = run(tiny_bundle, "controlnet_segmentation_hint", controlnet_cond=picture)["hint"]
    scales = [0.5, 1.25]
    outputs = run(
        tiny_bundle,
        "controlnet_segmentation",
        **inputs,
        hint=torch.from_numpy(hint),
        conditioning_scale=torch.tensor(scales),
    )
    down = [f"down_residual_{i}" for i in range(6)]
    assert list(outputs) == [*down, "mid_residual"]
    for row, scale in enumerate(scales):
        one = {name: value[row : row + 1] for name, value in inputs.items()}
        expected = controlnet(
            **one, controlnet_cond=picture[row : row + 1], conditioning_scale=scale
        )
        references = [*expected.down_block_res_samples, expected.mid_block_res_sample]
        for actual, reference in zip(outputs.values(), references, strict=True):
            close(actual[row : row + 1], reference)


def test_text_encoder(tiny_bundle: Path) -> None:
    model = CLIPTextModel.from_pretrained(tiny_bundle / "text_encoder").float().eval()
    ids = torch.randint(model.config.vocab_size, (3, MAX_LENGTH))
    outputs = run(tiny_bundle, "text_encoder", input_ids=ids)
    close(outputs["encoder_hidden_states"], model(ids).last_hidden_state)


def test_autoencoder(tiny_bundle: Path) -> None:
    vae = AutoencoderKL.from_pretrained(tiny_bundle / "vae").eval()
    factor = vae.config.scaling_factor
    image = 2 * torch.rand(2, 3, 32, 24) - 1
    latents = run(tiny_bundle, "vae_encoder", image=image)["latents"]
    assert latents.shape == (2, 4, 8, 6)
    close(latents, vae.encode(image).latent_dist.mean * factor)
    given = 3 * torch.randn(3, 4, 6, 10)
    decoded = run(tiny_bundle, "vae_decoder", latents=given)["image"]
    assert decoded.shape == (3, 3, 24, 40)
    close(decoded, vae.decode(given / factor).sample)


def test_graphs_avoid_what_others_get_wrong(tiny_bundle: Path) -> None:
    """docs/surprises.md: GroupNormalization cancels, resizing takes neighbours, onnxslim makes
    doubles of value_float."""
    resizes = functions = 0
    for path in sorted(tiny_bundle.glob("*.onnx")):
        model = onnx.load(path, load_external_data=False)
        assert not {node.op_type for node in model.graph.node} & {"GroupNormalization", "Attention"}
        domains = [imported.domain for imported in model.opset_import]
        assert len(set(domains)) == len(domains), "each domain once"
        functions += len(model.functions)
        bodies = [node for function in model.functions for node in function.node]
        for node in (*model.graph.node, *bodies):
            assert not {item.name for item in node.attribute} & {"value_float", "value_floats"}
        for value in model.graph.input:
            if value.name == "timestep":  # an int64 one would lose its fraction in OpenVINO
                assert value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
        weights = {tensor.name: tensor for tensor in model.graph.initializer}
        parts = {node.output[0]: node.input for node in model.graph.node}
        for node in model.graph.node:
            if node.op_type == "Resize":
                values = [weights[name] for name in parts[node.input[2]]]  # one Concat of constants
                scales = np.concatenate([onnx.numpy_helper.to_array(value) for value in values])
                assert scales.tolist() == [1, 1, 2, 2], path.name
                resizes += 1
    assert resizes > 0 and functions > 0
