"""Joint fine-tuning: what learns, what reaches it, and that a run is resumed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import ControlNetModel
from fgdm.export.adapter import TimestepAdapter
from fgdm.train.__main__ import main
from fgdm.train.diffusion import CaptionTokens, NoisingProcess
from fgdm.train.joint import JointData, JointModels, joint_losses
from fgdm.train.models import (
    build_adapter,
    build_autoencoder,
    build_controlnet,
    build_scheduler,
    build_text_encoder,
    build_unet,
)
from fgdm.train.presets import SMOKE
from fgdm.train.tokens import train_tokenizer
from torch import nn

from tests.untrained import build_scenes

CPU = torch.device("cpu")


def test_predicted_noise_gives_the_clean_latents_back() -> None:
    process = NoisingProcess(build_scheduler(), CPU)
    clean = torch.randn(4, 4, 8, 8)
    noisy, noise, timesteps = process.draw(clean, np.random.default_rng(0))
    assert torch.allclose(process.clean(noisy, noise, timesteps), clean, atol=1e-4)
    other, _ = process.noised(clean, timesteps, np.random.default_rng(1))
    assert other.shape == clean.shape
    assert not torch.equal(other, noisy)


def _untrained(folder: Path) -> tuple[JointModels, CaptionTokens]:
    torch.manual_seed(0)
    tokenizer = train_tokenizer(["two dogs and a house"], folder, SMOKE.max_tokens)
    ids = len(tokenizer), tokenizer.bos_token_id, tokenizer.eos_token_id
    unet = build_unet(SMOKE)
    models = JointModels(
        build_adapter(SMOKE),
        build_controlnet(SMOKE, unet),
        unet,
        build_text_encoder(SMOKE, *ids),
        build_autoencoder(SMOKE),
    )
    for parameter in models.controlnet.parameters():  # its outputs are zero until it has learnt
        if not parameter.any():
            nn.init.normal_(parameter, std=0.1)
    return models, CaptionTokens(tokenizer, CPU)


def test_the_pictures_error_reaches_hint_block_and_adapter_alone(tmp_path: Path) -> None:
    models, tokens = _untrained(tmp_path)
    learning = models.prepare()
    size = SMOKE.latent_size
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 23, (2, SMOKE.map_size, SMOKE.map_size), dtype=np.uint8)
    data = JointData(
        torch.randn(2, 4, 2 * size, 2 * size),
        torch.randn(2, 4, size, size),
        labels,
        [["two dogs"], ["a house"]],
    )
    process = NoisingProcess(build_scheduler(), CPU)
    _, of_picture = joint_losses(models, tokens, process, data, np.arange(2), rng, CPU)
    of_picture.backward()
    for name in ("adapter", "hint"):
        gradients = [p.grad for p in learning[name].parameters() if p.grad is not None]
        assert any(bool(gradient.any()) for gradient in gradients), name
    others = {id(p) for p in learning.parameters()}
    for model in (models.controlnet, models.unet, models.text_encoder, models.vae):
        assert all(p.grad is None for p in model.parameters() if id(p) not in others)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers
@pytest.mark.parametrize("suffix", ["", "_segmentation"])
def test_the_stage_runs_and_is_read_back(
    suffix: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """From a run's folder, and from a bundle, whose factors have other names."""
    start, output = tmp_path / "start", tmp_path / "joint"
    build_scenes(start)
    for name in ("adapter", "controlnet"):
        (start / name).rename(start / f"{name}{suffix}")
    command = ["joint", "--output", str(output), "--start", str(start), "--preset", "smoke"]
    command += ["--workers", "1"]
    assert main(command) == 0
    for kind, name, learns in (
        (TimestepAdapter, "adapter", ""),
        (ControlNetModel, "controlnet", "controlnet_cond_embedding."),
    ):
        before = kind.from_pretrained(start / f"{name}{suffix}").state_dict()
        after = kind.from_pretrained(output / name).state_dict()
        changed = {key for key in before if not torch.equal(before[key], after[key])}
        assert changed
        assert all(key.startswith(learns) for key in changed)
    capfd.readouterr()
    assert main(command) == 0
    assert "joint 2/" not in capfd.readouterr().out
    # Interrupted between the two folders, it trains what is missing and keeps what is there.
    (output / "adapter").rename(tmp_path / "away")
    assert main(command) == 0
    assert (output / "adapter").is_dir()


def test_the_image_factor_goes_on_alone(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    start, output = tmp_path / "start", tmp_path / "painter"
    build_scenes(start)
    options = ["--output", str(output), "--start", str(start), "--preset", "smoke"]
    command = ["controlnet", *options, "--device", "cpu", "--workers", "1"]
    assert main(command) == 0
    before = ControlNetModel.from_pretrained(start / "controlnet").state_dict()
    after = ControlNetModel.from_pretrained(output / "controlnet").state_dict()
    assert any(not torch.equal(before[key], after[key]) for key in before)
    capfd.readouterr()
    assert main(command) == 0
    assert "controlnet 2/" not in capfd.readouterr().out
