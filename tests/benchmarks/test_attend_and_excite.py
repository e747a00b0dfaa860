"""Attend-and-Excite is the paper's: loss, schedule and update by hand, and with no step it is the
base model as diffusers runs it."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from fgdm.train.prompts import load_prompts
from torch import Tensor
from transformers import CLIPTokenizer

from benchmarks.attend_and_excite import (
    ExciteSettings,
    attend_and_excite,
    excite_loss,
    refine,
    subject_attention,
    subject_tokens,
)
from benchmarks.rival import DiffusersChain

_ROOT = Path(__file__).parents[2]
#: The middle of a 3 × 3 Gaussian of σ = 0.5: neighbours weigh exp(-2).
_MIDDLE = (1 / (1 + 2 * math.exp(-2))) ** 2


def test_even_attention_leaves_each_token_its_share() -> None:
    """Of 8 tokens the first and the last don't count: each other one has a sixth everywhere."""
    attention = torch.full((4, 4, 8), 1 / 8)
    assert excite_loss(attention, [2, 3]).item() == pytest.approx(1 - 1 / 6)


def test_a_single_patch_counts_as_much_as_the_kernel_lets_it() -> None:
    attention = torch.zeros(5, 5, 8)
    attention[..., 1] = 1.0
    attention[2, 2] = torch.eye(8)[3]
    found = subject_attention(attention, [3, 1])
    assert found[0].item() == pytest.approx(_MIDDLE, abs=1e-6)
    assert found[1].item() == pytest.approx(1.0, abs=1e-6)  # everywhere but there


def test_the_loss_is_that_of_the_most_neglected_subject() -> None:
    attention = torch.zeros(5, 5, 8)
    attention[..., 1] = 1.0
    attention[2, 2] = torch.eye(8)[3]
    assert excite_loss(attention, [3, 1]).item() == pytest.approx(1 - _MIDDLE, abs=1e-6)
    assert excite_loss(attention, [3, 5]).item() == pytest.approx(1.0, abs=1e-6)


def test_the_schedule_is_the_papers_at_fifty_steps() -> None:
    settings = ExciteSettings()
    sizes = settings.step_sizes(50)
    assert sizes[0] == 20
    assert sizes[-1] == pytest.approx(20 * math.sqrt(0.5))
    assert settings.step_sizes(3)[1] == pytest.approx(20 * math.sqrt(0.75))
    assert settings.altered_steps(50) == 25
    assert settings.threshold_steps(50) == {0: 0.05, 10: 0.5, 20: 0.8}
    assert settings.threshold_steps(20) == {0: 0.05, 4: 0.5, 8: 0.8}


@pytest.mark.parametrize(
    ("threshold", "refinements", "expected"),
    [(None, 20, 0.7), (0.45, 20, 0.4), (0.45, 1, 0.6), (0.1, 20, 0.7)],
    ids=["one update", "until 0.5, then one", "one repetition at most", "already there"],
)
def test_an_update_by_hand(threshold: float | None, refinements: int, expected: float) -> None:
    """The loss is the latent itself, 0.8, so every update takes the step size, 0.1, from it."""

    def loss_of(latents: Tensor) -> Tensor:
        return latents.sum()

    found = refine(torch.tensor([0.8]), loss_of, 0.1, threshold, refinements)
    assert found.item() == pytest.approx(expected)
    assert not found.requires_grad


def test_subjects_of_every_held_out_prompt_are_found() -> None:
    """The word at the place found means the thing asked for, and none is cut off."""
    core = pytest.importorskip("fgdm._core", reason="the compiled core isn't built")
    bundle = _ROOT / "bundles/scenes"
    palette = (bundle / "palette.json").read_text()
    tokenizer = CLIPTokenizer.from_pretrained(bundle / "tokenizer")
    for prompt in load_prompts(_ROOT / "benchmarks/prompts.json"):
        places = subject_tokens(
            prompt.prompt,
            prompt.things,
            lambda word: tokenizer(word, add_special_tokens=False).input_ids,
            lambda word: core.find_objects(palette, word)[0],
        )
        ids = tokenizer(prompt.prompt, padding="max_length", truncation=True).input_ids
        for place, thing in zip(places, prompt.things, strict=True):
            word = tokenizer.decode([ids[place]]).strip()
            assert core.find_objects(palette, word)[0] == [thing], prompt.prompt


def test_a_thing_that_the_prompt_lacks_is_an_error() -> None:
    with pytest.raises(ValueError, match="doesn't name cat"):
        subject_tokens("a dog", ["cat"], lambda word: [1], lambda word: [word])


@pytest.fixture(scope="module")
def chain(tiny_bundle: Path) -> DiffusersChain:
    return DiffusersChain(tiny_bundle, json.loads((tiny_bundle / "manifest.json").read_text()))


def test_without_a_step_it_paints_what_diffusers_paints(chain: DiffusersChain) -> None:
    noise = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(4))
    prompt = "a dog and a ball on the grass"
    still = ExciteSettings(step_size=0.0, refinements=1)
    painted = attend_and_excite(chain, prompt, [2, 5], noise, 4, 5.0, still)
    (expected,) = chain.base_pictures(prompt, noise, 4, 5.0)
    assert np.abs(painted.astype(int) - expected).max() <= 1


def test_it_moves_attention_to_the_neglected_subject(chain: DiffusersChain) -> None:
    """With random weights too the picture changes, and the networks stay as they were."""
    noise = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(4))
    prompt = "a dog and a ball on the grass"
    before = chain.unet.attn_processors
    painted = attend_and_excite(chain, prompt, [2, 5], noise, 4, 5.0, ExciteSettings(refinements=2))
    (plain,) = chain.base_pictures(prompt, noise, 4, 5.0)
    assert np.abs(painted.astype(int) - plain).max() > 1
    assert chain.unet.attn_processors == before
    assert all(parameter.grad is None for parameter in chain.unet.parameters())
