"""The losses are the paper's, an interrupted run ends where an uninterrupted one does, and the
whole recipe runs."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from fgdm.train.__main__ import main
from fgdm.train.autoencoder import _normalise_latents, encode, encode_once
from fgdm.train.dataset import SceneSet
from fgdm.train.diffusion import NoisingProcess
from fgdm.train.distill import attention_distillation_loss, record_attention
from fgdm.train.figures import main as figures_main
from fgdm.train.figures import mean_iou, table_row
from fgdm.train.loop import LoopOptions, mixed_precision, train_stage
from fgdm.train.models import (
    build_autoencoder,
    build_controlnet,
    build_scheduler,
    build_unet,
)
from fgdm.train.painter import area_weights
from fgdm.train.presets import SMOKE, StageBudget
from fgdm.train.recipe import Recipe
from fgdm.train.render import colorize
from torch import Tensor, nn

SCENES = Path(__file__).parents[2] / "bundles" / "scenes"
CPU = torch.device("cpu")


def test_distillation_is_zero_for_equal_maps_and_grows_with_difference() -> None:
    torch.manual_seed(0)
    teacher = {
        "down.attn1": torch.rand(2, 64, 64).softmax(-1),
        "down.attn2": torch.rand(2, 256, 7).softmax(-1),
    }
    assert attention_distillation_loss(teacher, teacher).item() == pytest.approx(0, abs=1e-6)
    near = {k: (v + 0.01 * torch.rand_like(v)) for k, v in teacher.items()}
    far = {k: torch.rand_like(v).pow(6).softmax(-1) for k, v in teacher.items()}
    losses = [attention_distillation_loss(teacher, other).item() for other in (near, far)]
    assert 0 < losses[0] < losses[1]


def test_distillation_equals_equation_7_written_out() -> None:
    """One cross-attention layer at the common size: a plain KL per patch."""
    torch.manual_seed(1)
    p, q = torch.rand(1, 256, 5).softmax(-1), torch.rand(1, 256, 5).softmax(-1)
    self_map = torch.full((1, 64, 64), 1 / 64)
    loss = attention_distillation_loss(
        {"attn1": self_map, "attn2": p}, {"attn1": self_map, "attn2": q}
    )
    expected = (p.double() * (p.double() / q.double()).log()).sum(-1).mean()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-4)


def test_recording_does_not_change_the_network() -> None:
    torch.manual_seed(2)
    unet = build_unet(SMOKE)
    inputs = torch.randn(2, 4, 16, 16), torch.tensor([10, 700]), torch.randn(2, 9, SMOKE.text_width)
    with torch.no_grad():
        plain = unet(*inputs).sample
        recorded, maps = record_attention(unet, lambda: unet(*inputs).sample)
    assert torch.allclose(plain, recorded, atol=1e-5)
    assert {tuple(m.shape[1:]) for name, m in maps.items() if "attn2" in name} >= {(256, 9)}
    for attention in maps.values():
        assert torch.allclose(attention.sum(-1), torch.ones(()), atol=1e-4)


def test_noising_matches_diffusers() -> None:
    scheduler = build_scheduler()
    process = NoisingProcess(scheduler, CPU)
    clean = torch.randn(8, 4, 4, 4)
    noisy, noise, timesteps = process.draw(clean, np.random.default_rng(0))
    assert torch.allclose(noisy, scheduler.add_noise(clean, noise, timesteps), atol=1e-5)
    assert process.loss(noise, noise, timesteps).item() == 0
    assert len(set((timesteps // 125).tolist())) == 8  # stratified


def test_each_class_weighs_by_the_root_of_its_area() -> None:
    labels = np.zeros((2, 8, 8), np.uint8)
    labels[0, :2, :2] = 5  # a sixteenth of the first scene; the second has one class
    weights = area_weights(labels, 4)
    assert weights.shape == (2, 4, 4)
    assert torch.allclose(weights.mean((1, 2)), torch.ones(2))
    assert torch.allclose(weights[0, 0, 0] / weights[0, 3, 3], torch.tensor((60 / 4) ** 0.5))
    assert torch.equal(weights[1], torch.ones(4, 4))


def test_weights_decide_where_an_error_counts() -> None:
    process = NoisingProcess(build_scheduler(), CPU)
    noise, timesteps = torch.zeros(2, 4, 4, 4), torch.tensor([10, 700])
    predicted = torch.zeros(2, 4, 4, 4)
    predicted[:, :, 0, 0] = 1
    weights = torch.ones(2, 4, 4)
    plain = process.loss(predicted, noise, timesteps)
    assert torch.allclose(process.loss(predicted, noise, timesteps, weights), plain)
    weights[:, 0, 0] = 3
    assert torch.allclose(process.loss(predicted, noise, timesteps, weights), 3 * plain)


def test_normalised_latents_have_unit_variance_and_decode_the_same() -> None:
    torch.manual_seed(3)
    vae = build_autoencoder(SMOKE).eval()
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (16, 32, 32, 3), dtype=np.uint8)
    labels = rng.integers(0, 20, (16, 32, 32), dtype=np.uint8)
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1
    with torch.no_grad():
        before = vae.decode(vae.encode(pixels).latent_dist.mean).sample
        _normalise_latents(vae, SceneSet(images, labels, [[""]] * 16), CPU)
        after = vae.decode(vae.encode(pixels).latent_dist.mean).sample
    assert torch.allclose(before, after, atol=1e-4)
    both = torch.cat([encode(vae, images, CPU), encode(vae, colorize(labels), CPU)]).float()
    assert torch.allclose(both.std((0, 2, 3)), torch.ones(4), atol=0.05)
    assert torch.allclose(both.mean((0, 2, 3)), torch.zeros(4), atol=0.05)


@pytest.mark.parametrize("able", ["amx_bf16", "avx512_bf16", "avx512_f"])
def test_bfloat16_is_taken_where_the_processor_multiplies_in_it(
    able: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {able: True})
    with mixed_precision(CPU):
        assert torch.is_autocast_enabled("cpu") == able.endswith("bf16")
    assert not torch.is_autocast_enabled("cpu")


class _Interrupted(Exception):
    pass


def test_an_interrupted_run_ends_where_an_uninterrupted_one_does(tmp_path: Path) -> None:
    budget = StageBudget(steps=12, batch=4, learning_rate=1e-2, warmup=2)

    def run(folder: Path, stop_at: int | None, seed: int = 0) -> Tensor:
        torch.manual_seed(0)
        model = nn.Linear(3, 1)

        def loss(step: int, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
            if step == stop_at:
                raise _Interrupted
            assert sys.float_info.min / 2 == 0, "denormal numbers, which are slow, are zero"
            x = torch.from_numpy(rng.standard_normal((4, 3), dtype=np.float32))
            return (model(x) - x.sum(1, keepdim=True)).pow(2).mean(), {}

        folder.mkdir(exist_ok=True)
        options = LoopOptions(CPU, seed, save_every=0.0)
        train_stage("fit", nn.ModuleDict({"model": model}), loss, budget, folder, options)
        return model.weight.detach().clone()

    whole = run(tmp_path / "whole", None)
    with pytest.raises(_Interrupted):
        run(tmp_path / "parts", 7)
    assert torch.equal(run(tmp_path / "parts", None), whole)
    assert not torch.equal(run(tmp_path / "other", None, seed=1), whole)
    assert sys.float_info.min / 2 > 0, "they are back for whoever else is in the process"


def test_interrupted_encoding_goes_on_with_the_part_it_was_at(tmp_path: Path) -> None:
    torch.manual_seed(0)
    vae = build_autoencoder(SMOKE).eval()
    images = np.random.default_rng(0).integers(0, 256, (1100, 16, 16, 3), dtype=np.uint8)
    asked: list[int] = []

    def encoded(stop_at: int | None) -> Tensor:
        def pictures(part: slice) -> np.ndarray:
            if part.start == stop_at:
                raise _Interrupted
            asked.append(part.start)
            return images[part]

        return encode_once(tmp_path / "latents", lambda: vae, len(images), pictures, CPU)

    with pytest.raises(_Interrupted):
        encoded(1000)
    assert torch.equal(encoded(None), encode(vae, images, CPU))
    encoded(None)
    assert asked == [0, 500, 1000], "each once"


def test_table_rows_are_the_papers_statistics() -> None:
    recalls = np.array([[0.5, 1.0, 0.0], [1.0, 1.0, 1.0]])
    row = table_row(recalls, 3)
    assert row["min"] == 0.5 and row["max"] == 1.0 and row["mean"] == 0.75
    assert row["median"] == 0.75
    assert row["maps_at_0.5"] == 2.5
    assert table_row(recalls, 1)["max"] == 0.75
    labels = np.array([[0, 0], [1, 1]], np.uint8)
    assert mean_iou(labels, labels) == 1
    assert mean_iou(labels, np.zeros_like(labels)) == pytest.approx(0.25)


def test_a_bundles_maps_beside_its_own(tmp_path: Path) -> None:
    output = tmp_path / "beside.json"
    arguments = [str(SCENES), "--beside", str(SCENES), "--every", "100", "--steps", "2"]
    arguments += ["--prompts", str(SCENES.parents[1] / "benchmarks" / "prompts.json")]
    assert figures_main([*arguments, "--threads", "1", "--output", str(output)]) == 0
    found = json.loads(output.read_text())
    assert found["prompts"] == 2
    nothing = {"estimate": 0, "low": 0, "high": 0}
    assert found["more"] == {"one": nothing, "N=5": nothing, "N=10": nothing}
    assert 0.2 < found["time"] < 5


@pytest.mark.slow
def test_the_recipe_runs_and_resumes(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    command = ["scenes", "--output", str(tmp_path), "--preset", "smoke", "--workers", "1"]
    assert main(command) == 0
    for name in ("unet", "vae", "text_encoder", "tokenizer", "controlnet", "adapter"):
        assert (tmp_path / name).is_dir(), name
    assert (tmp_path / "adapter_plain" / "diffusion_pytorch_model.safetensors").exists()
    assert (tmp_path / "segmenter" / "model.safetensors").exists()
    assert (tmp_path / "curves.png").stat().st_size > 1000
    capfd.readouterr()
    assert main(command) == 0  # finished stages are read back
    assert "adapter 1/" not in capfd.readouterr().out


def test_a_run_begins_at_the_weights_of_another(tmp_path: Path) -> None:
    """`--start`, from a run's folder and from a bundle, whose ControlNet has another name."""
    for name in ("controlnet", "controlnet_segmentation"):
        first, second = tmp_path / name / "first", tmp_path / name / "second"
        torch.manual_seed(1)
        unet = build_unet(SMOKE)
        unet.save_pretrained(first / "unet")
        build_controlnet(SMOKE, unet).save_pretrained(first / name)
        recipe = Recipe(SMOKE, second, CPU, 1, start=first)
        torch.manual_seed(2)
        other = build_unet(SMOKE)
        assert not torch.equal(other.conv_in.weight, unet.conv_in.weight)
        recipe._begin(other, "unet")
        assert torch.equal(other.conv_in.weight, unet.conv_in.weight)
        controlnet = build_controlnet(SMOKE, build_unet(SMOKE))
        recipe._begin_controlnet(controlnet)
        assert torch.equal(controlnet.conv_in.weight, unet.conv_in.weight)
