"""Several networks in one image factor, and previews: a bundle with two ControlNets, a T2I-Adapter
and a tiny decoder, painted by the engine and by diffusers' own models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderTiny, ControlNetModel, T2IAdapter, UNet2DConditionModel
from fgdm.errors import RequestError
from fgdm.export.bundle import export_bundle
from fgdm.export.errors import ExportError
from fgdm.export.image_networks import NetworkSource
from fgdm.statistics import psnr
from numpy.typing import NDArray
from PIL import Image

from tests.export.chain import Settings, load_pipeline
from tests.tiny_models import CHANNELS, IMAGE_SIZE, PALETTE, TinyCheckpoint

pytest.importorskip("fgdm._core", reason="the compiled core isn't built")

SETTINGS = Settings(IMAGE_SIZE, downscale=4)
SCALES = (0.7, 0.4, 0.5)  # two ControlNets, then the T2I-Adapter
STEPS = 3

#: The ControlNets' palette: the map's classes in other colours, one of them missing.
OTHER_PALETTE: dict[str, Any] = {
    "name": "other",
    "classes": [
        {**entry, "color": [255 - channel for channel in entry["color"]]}
        for entry in PALETTE["classes"]
        if entry["name"] != "grass"
    ],
}


@pytest.fixture(scope="module")
def bundle(tiny_checkpoint: TinyCheckpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("networks")
    torch.manual_seed(3)
    T2IAdapter(channels=list(CHANNELS), downscale_factor=4).save_pretrained(folder / "t2i")
    AutoencoderTiny(
        decoder_block_out_channels=(8, 8, 8), num_decoder_blocks=(1, 1, 1)
    ).save_pretrained(folder / "tiny")
    return export_bundle(
        tiny_checkpoint.base,
        {"segmentation": tiny_checkpoint.adapter},
        [tiny_checkpoint.controlnet, NetworkSource(tiny_checkpoint.controlnet, "edges", 0.4)],
        tiny_checkpoint.palette,
        folder / "bundle",
        name="several",
        t2i_adapters=[NetworkSource(folder / "t2i", "edges", 0.5)],
        hint_palette=OTHER_PALETTE,
        tiny_decoder=folder / "tiny",
    )


@pytest.fixture(scope="module")
def edges() -> NDArray[np.uint8]:
    rng = np.random.default_rng(8)
    return rng.integers(0, 256, (IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)


def generate(bundle: Path, **options: Any) -> Any:
    from fgdm.engine import Engine  # noqa: PLC0415 (needs the compiled core)

    with Engine(bundle, backend="cpu") as engine:
        return engine.generate(
            SETTINGS.prompt,
            objects=["dog"],
            candidates=1,
            condition_steps=2,
            num_inference_steps=STEPS,
            guidance="cfg",
            guidance_scale=4.0,
            latents=SETTINGS.latents["image"],
            **options,
        )


def recolored(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The map in the other palette's colours; what it lacks is black."""
    colors = {entry["name"]: entry["color"] for entry in OTHER_PALETTE["classes"]}
    table = np.array([colors.get(entry["name"], [0, 0, 0]) for entry in PALETTE["classes"]])
    return table[labels].astype(np.uint8)


def test_several_networks_paint_what_diffusers_paints(
    bundle: Path, edges: NDArray[np.uint8]
) -> None:
    """Both ControlNets' residuals and the T2I-Adapter's features at once, each with its scale; the
    map is recoloured for the ControlNet that sees it."""
    result = generate(bundle, control_images={"edges": Image.fromarray(edges)})
    assert result.parameters["controlnet_conditioning_scale"] == [1.0, 0.4, 0.5]
    result = generate(
        bundle, control_images={"edges": edges}, controlnet_conditioning_scale=list(SCALES)
    )
    colors = {tuple(entry["color"]): i for i, entry in enumerate(PALETTE["classes"])}
    labels = np.array([[colors[tuple(p)] for p in row] for row in np.asarray(result.map)], np.uint8)

    def hint(picture: NDArray[np.uint8]) -> torch.Tensor:
        return torch.from_numpy(picture).permute(2, 0, 1)[None] / 255

    pictures = [hint(recolored(labels).repeat(2, 0).repeat(2, 1)), hint(edges)]
    networks = [
        ControlNetModel.from_pretrained(bundle / name).eval()
        for name in ("controlnet_segmentation", "controlnet_edges")
    ]
    t2i = T2IAdapter.from_pretrained(bundle / "t2i_adapter_edges").eval()
    tiny = load_tiny_pipeline(bundle)
    unet: UNet2DConditionModel = tiny.unet
    tiny.scheduler.watch()
    tiny.scheduler.set_timesteps(STEPS)
    with torch.no_grad():
        positive, negative = tiny.encode_prompt(SETTINGS.prompt, "cpu", 1, True, negative_prompt="")
        features = [SCALES[2] * feature for feature in t2i(pictures[1])]
        sample = torch.from_numpy(SETTINGS.latents["image"])
        for timestep in tiny.scheduler.timesteps:
            noise = []
            for context in (positive, negative):
                outputs = [
                    network(sample, timestep, context, picture, scale, return_dict=False)
                    for network, picture, scale in zip(networks, pictures, SCALES, strict=False)
                ]
                noise.append(
                    unet(
                        sample,
                        timestep,
                        context,
                        down_block_additional_residuals=[
                            a + b for a, b in zip(outputs[0][0], outputs[1][0], strict=True)
                        ],
                        mid_block_additional_residual=outputs[0][1] + outputs[1][1],
                        down_intrablock_additional_residuals=[f.clone() for f in features],
                    ).sample
                )
            guided = noise[1] + 4.0 * (noise[0] - noise[1])
            sample = tiny.scheduler.step(guided, timestep, sample).prev_sample
        decoded = tiny.vae.decode(sample / tiny.vae.config.scaling_factor).sample[0]
    expected = ((decoded / 2 + 0.5).clamp(0, 1) * 255).permute(1, 2, 0).numpy()
    # 59 dB is rounding to whole numbers; scales of two networks in each other's place leave 46.
    assert psnr(np.asarray(result.image), expected) >= 55


def load_tiny_pipeline(bundle: Path) -> Any:
    """The bundle's parts in diffusers' hands; its networks are loaded by the test."""
    return load_pipeline(bundle, controlnets=["controlnet_segmentation"])


def test_previews_come_from_the_tiny_decoder(bundle: Path, edges: NDArray[np.uint8]) -> None:
    tiny = AutoencoderTiny.from_pretrained(bundle / "preview_decoder").eval()
    seen: list[tuple[NDArray[np.uint8], NDArray[np.float32]]] = []
    generate(
        bundle,
        control_images={"edges": edges},
        step_callback=lambda info: seen.append((info.preview(), info.predicted_x0())),
    )
    assert len(seen) == 2 + STEPS
    for preview, latents in seen:
        with torch.no_grad():
            decoded = tiny.decode(torch.from_numpy(latents)).sample[0].clamp(-1, 1)
        expected = ((decoded / 2 + 0.5) * 255).permute(1, 2, 0).numpy()
        assert np.abs(preview - expected).max() <= 1


def test_a_request_brings_what_no_factor_makes(bundle: Path, edges: NDArray[np.uint8]) -> None:
    with pytest.raises(RequestError, match='control_images lacks "edges"'):
        generate(bundle)
    with pytest.raises(RequestError, match="expected the image's size"):
        generate(bundle, control_images={"edges": edges[:32]})
    with pytest.raises(RequestError, match="no network of this bundle takes"):
        generate(bundle, control_images={"edges": edges, "depth": edges})
    with pytest.raises(RequestError, match="expected 1 or 3"):
        generate(bundle, control_images={"edges": edges}, controlnet_conditioning_scale=[1.0, 2.0])


def test_the_manifest_says_what_each_network_sees(bundle: Path) -> None:
    networks = json.loads((bundle / "manifest.json").read_text())["factors"][-1]["conditionings"]
    assert [(n["graph"], n["condition"], n["scale"]) for n in networks] == [
        ("controlnet_segmentation", "segmentation", 1.0),
        ("controlnet_edges", "edges", 0.4),
        ("t2i_adapter_edges", "edges", 0.5),
    ]
    assert [n["hint_palette"] for n in networks] == ["hint_palette.json", None, None]
    assert "grass" not in networks[0]["recolor"]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (NetworkSource("x", scale=11.0), "expected 0 to 10"),
        (NetworkSource("x", condition="Depth Map"), "lower-case"),
    ],
)
def test_networks_that_cannot_be_named(
    tiny_checkpoint: TinyCheckpoint, tmp_path: Path, source: NetworkSource, message: str
) -> None:
    entry = NetworkSource(tiny_checkpoint.controlnet, source.condition, source.scale)
    with pytest.raises(ExportError, match=message):
        export_bundle(
            tiny_checkpoint.base,
            {"segmentation": tiny_checkpoint.adapter},
            entry,
            tiny_checkpoint.palette,
            tmp_path / "b",
            name="b",
        )
    assert not list(tmp_path.iterdir())
