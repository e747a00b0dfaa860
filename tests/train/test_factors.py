"""Scores are what they are called, and a factor's stages run, resume and are measured."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from fgdm.export.adapter import TimestepAdapter
from fgdm.train import factor_figures
from fgdm.train.__main__ import main
from fgdm.train.condition import adapted_noise
from fgdm.train.diffusion import CaptionTokens, NoisingProcess
from fgdm.train.factor import PROMPT_PREFIXES, FactorData, train_factor
from fgdm.train.guided import train_guided
from fgdm.train.loop import LoopOptions
from fgdm.train.map_scores import depth_scores, normal_scores, pose_scores, sketch_scores
from fgdm.train.models import build_adapter, build_scheduler, build_text_encoder, build_unet
from fgdm.train.presets import SMOKE, StageBudget
from fgdm.train.tokens import train_tokenizer
from fgdm.train.truth import MAP_KINDS, Skeleton

from tests.untrained import build_scenes

CPU = torch.device("cpu")


def test_depth_scores_by_hand() -> None:
    truth = np.array([[[0.4, 0.4, 0.4, 1.0]]], np.float32)
    seen = np.array([[[0.4, 0.52, 0.31, 0.9]]], np.float32)
    figures = depth_scores(truth, seen)
    assert figures["delta_1.25"].tolist() == [0.5]
    assert figures["abs_rel"][0] == pytest.approx((0.12 / 0.4 + 0.09 / 0.4 + 0.1) / 4)
    assert np.isfinite(depth_scores(truth, np.zeros_like(truth))["delta_1.25"]).all()


def test_normal_scores_are_degrees() -> None:
    up, front = [0.0, -1.0, 0.0], [0.0, 0.0, 1.0]
    figures = normal_scores(
        np.array([[[up, front]]], np.float32), np.array([[[up, up]]], np.float32)
    )
    assert figures["mean_angle"][0] == pytest.approx(45)


def test_a_line_may_be_one_pixel_off_but_not_two() -> None:
    truth = np.zeros((4, 9, 9), np.float32)
    truth[:, 4] = 1
    seen = np.stack([np.roll(truth[0], shift, axis=0) for shift in (0, 1, 2, 3)])
    seen[3] = 0
    assert sketch_scores(truth, seen)["f1"].tolist() == [1, 1, 0, 0]
    both = np.maximum(truth[:1], np.roll(truth[:1], 4, axis=1))
    assert sketch_scores(truth[:1], both)["precision"][0] == pytest.approx(0.5)
    assert sketch_scores(truth[:1], both)["recall"][0] == 1


def test_joints_count_within_a_tenth_of_the_box() -> None:
    joints = np.zeros((18, 3), np.float32)
    joints[:4] = [[0.5, 0.2 * i + 0.1, 1] for i in range(4)]
    truth = [[Skeleton(joints, 0.5)]]
    near, half, far = joints.copy(), joints.copy(), joints.copy()
    near[:, 0] += 0.04
    half[:2, 0] += 0.06
    far[:, 0] += 0.06
    for person, expected in ((near, 1.0), (half, 0.5), (far, 0.0)):
        assert pose_scores(truth, [[person]])["pck_0.1"].tolist() == [expected]
    hidden = joints.copy()
    hidden[0, 2] = 0
    assert pose_scores(truth, [[far, hidden]])["pck_0.1"].tolist() == [0.75]
    assert pose_scores(truth, [[far, hidden]])["extra_persons"].tolist() == [1]
    assert pose_scores(truth, [[]])["pck_0.1"].tolist() == [0]


def test_an_adapter_sees_what_it_is_given() -> None:
    torch.manual_seed(0)
    unet, adapter = build_unet(SMOKE), build_adapter(SMOKE)
    noisy, other = torch.randn(2, 1, 4, 16, 16).unbind()
    context, time = torch.randn(1, 7, SMOKE.text_width), torch.tensor([500])
    with torch.no_grad():
        own = adapted_noise(unet, adapter, noisy, time, context)
        assert torch.equal(own, adapted_noise(unet, adapter, noisy, time, context, noisy))
        assert not torch.equal(own, adapted_noise(unet, adapter, noisy, time, context, other))


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base that has learnt nothing."""
    folder = tmp_path_factory.mktemp("start")
    build_scenes(folder)
    return folder


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers
def test_factors_are_trained_resumed_and_measured(
    start: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    common = ["--output", str(tmp_path), "--preset", "smoke", "--workers", "1"]
    common += ["--start", str(start)]
    assert main(["decoder", *common]) == 0
    assert main(["factor", "depth", "pose", *common]) == 0
    adapter = TimestepAdapter.from_pretrained(tmp_path / "adapter_depth")
    assert adapter.config["in_channels"] == 4
    assert (tmp_path / "adapter_pose").is_dir()
    capfd.readouterr()
    assert main(["factor", "depth", *common]) == 0  # what is finished is read back
    assert "depth 1/" not in capfd.readouterr().out

    figures = tmp_path / "figures.json"
    arguments = [str(tmp_path), "--start", str(start), "--scenes", "3", "--steps", "2"]
    arguments += ["--guidance-scale", "2", "--output", str(figures)]
    assert factor_figures.main(arguments) == 0
    assert "| depth | delta_1.25 | ≥ 0.85 |" in capfd.readouterr().out
    kinds = json.loads(figures.read_text())["kinds"]
    assert set(kinds["depth"]) == {"autoencoder", "factor", "factor without segmentation"}
    assert set(kinds["sketch"]) == {"autoencoder"}  # of an adapter that isn't there, the ceiling
    for rows in kinds.values():
        for values in rows.values():
            assert np.isfinite(list(values.values())).all()


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers
def test_an_adapter_goes_on_with_the_weights_of_another(
    start: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(start, tmp_path / "start")
    torch.manual_seed(99)
    trained = build_adapter(SMOKE)
    trained.save_pretrained(tmp_path / "start" / "adapter_depth")
    own = TimestepAdapter.from_pretrained(start / "adapter")  # the segmentation's, in a run
    for way, kind, before in (
        (["factor", "depth", "--go-on"], "depth", trained),
        (["guided", "segmentation"], "segmentation", own),
    ):
        command = [*way, "--steps", "1", "--preset", "smoke", "--workers", "1"]
        command += ["--start", str(tmp_path / "start"), "--output", str(tmp_path / way[0])]
        assert main(command) == 0
        assert f"{kind} 1/1 " in capfd.readouterr().out
        folder = tmp_path / way[0] / f"adapter_{kind}"
        more = TimestepAdapter.from_pretrained(folder).state_dict()
        for name, values in before.state_dict().items():
            assert torch.allclose(more[name], values, atol=2 * SMOKE.factor.learning_rate), name


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers
def test_adapters_for_another_order(start: Path, tmp_path: Path) -> None:
    """Depth without a map before it, and a segmentation that sees depth."""
    common = ["--output", str(tmp_path), "--preset", "smoke", "--workers", "1"]
    command = ["factor", "depth", "segmentation", "--sees", "depth", *common]
    assert main([*command, "--start", str(start)]) == 0
    for name in ("adapter_depth_depth", "adapter_segmentation_depth"):
        assert TimestepAdapter.from_pretrained(tmp_path / name).config["in_channels"] == 4


def test_the_adapter_sees_what_it_is_trained_with(tmp_path: Path) -> None:
    """The map of another factor, or its own noisy latent: the adapters learn otherwise."""
    torch.manual_seed(0)
    tokenizer = train_tokenizer(["two dogs and a house"], tmp_path / "words", SMOKE.max_tokens)
    ids = len(tokenizer), tokenizer.bos_token_id, tokenizer.eos_token_id
    unet, text_encoder = build_unet(SMOKE), build_text_encoder(SMOKE, *ids)
    maps, other = torch.randn(2, 4, 4, 16, 16).unbind()
    found = []
    for number, seen in enumerate((None, other, other, maps)):
        torch.manual_seed(1)
        adapter = build_adapter(SMOKE)
        folder = tmp_path / str(number)
        folder.mkdir()
        train_factor(
            "depth",
            "depth",
            adapter,
            unet,
            text_encoder,
            CaptionTokens(tokenizer, CPU),
            NoisingProcess(build_scheduler(), CPU),
            FactorData(maps, seen, [["two dogs"]] * 4),
            SMOKE.factor,
            folder,
            LoopOptions(CPU),
        )
        found.append(adapter.conv_in.weight.detach().clone())
    own, first, again, clean = found
    assert torch.equal(first, again)
    assert not torch.equal(own, first)
    assert not torch.equal(own, clean)


def test_an_adapter_learns_guidance(tmp_path: Path) -> None:
    """A scale of 1 asks for what it gives already; one of 4 is learnt."""
    torch.manual_seed(0)
    tokenizer = train_tokenizer(["two dogs and a house"], tmp_path / "words", SMOKE.max_tokens)
    ids = len(tokenizer), tokenizer.bos_token_id, tokenizer.eos_token_id
    unet, text_encoder = build_unet(SMOKE), build_text_encoder(SMOKE, *ids)

    def losses(scale: float, steps: int, seen: torch.Tensor | None) -> dict[str, float]:
        torch.manual_seed(1)
        folder = tmp_path / f"{scale}-{steps}-{seen is None}"
        folder.mkdir()
        train_guided(
            "guided",
            "depth",
            build_adapter(SMOKE),
            unet,
            text_encoder,
            CaptionTokens(tokenizer, CPU),
            NoisingProcess(build_scheduler(), CPU),
            FactorData(torch.randn(4, 4, 16, 16), seen, [["two dogs"]] * 4),
            scale,
            StageBudget(steps, 16, 3e-3, 1),
            folder,
            LoopOptions(CPU),
        )
        last: dict[str, float] = json.loads((folder / "guided.jsonl").read_text().splitlines()[-1])
        return last

    for seen in (None, torch.randn(4, 4, 16, 16)):
        nothing = losses(1, 1, seen)
        assert nothing["loss"] == nothing["before"] == 0
        learnt = losses(4, 40, seen)
        assert 0 < learnt["loss"] < 0.9 * learnt["before"]


def test_the_decoder_learns_and_the_encoder_stays(start: Path, tmp_path: Path) -> None:
    common = ["--output", str(tmp_path), "--preset", "smoke", "--workers", "1"]
    assert main(["decoder", *common, "--start", str(start)]) == 0
    before = AutoencoderKL.from_pretrained(start / "vae").state_dict()
    after = AutoencoderKL.from_pretrained(tmp_path / "vae").state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert all(name.startswith(("decoder.", "post_quant_conv.")) for name in changed)


@pytest.mark.slow
def test_the_model_cards_command_makes_a_bundle_of_all_factors(untrained: Path) -> None:
    manifest = untrained / "bundles" / "scenes" / "manifest.json"
    factors = json.loads(manifest.read_text())["factors"]
    assert [entry["name"] for entry in factors[:-1]] == ["segmentation", *MAP_KINDS]
    for entry in factors[1:-1]:
        assert entry["prompt_prefix"] == PROMPT_PREFIXES[entry["name"]]
        assert entry["conditionings"][0]["latents"] == ["segmentation"]
