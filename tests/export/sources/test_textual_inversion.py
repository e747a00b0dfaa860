"""Learned words, against diffusers' `load_textual_inversion`: the same context for a prompt."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline
from fgdm.export.cli_forms import word_source
from fgdm.export.errors import ExportError
from fgdm.export.sources import (
    Base,
    TextualInversion,
    Tokenizer,
    add_word,
    load_base,
    load_models,
)
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

from tests.export.sources.test_tensors import Malicious
from tests.tiny_models import MAX_LENGTH, TEXT_WIDTH, TinyCheckpoint

_core = pytest.importorskip("fgdm._core", reason="the compiled core isn't built")

WORD = "<cat-toy>"
PROMPT = f"a {WORD} on the grass, {WORD}'s dog"


@pytest.fixture
def base(tiny_checkpoint: TinyCheckpoint) -> Base:
    torch.manual_seed(6)
    return load_base(tiny_checkpoint.base)


def vectors(count: int) -> Tensor:
    return torch.randn(count, TEXT_WIDTH)


def by_diffusers(checkpoint: TinyCheckpoint, path: Path, token: str | None, prompt: str) -> Tensor:
    """The prompt's context in a pipeline that has learned the word."""
    pipeline = StableDiffusionPipeline(
        vae=None,
        text_encoder=CLIPTextModel.from_pretrained(checkpoint.base / "text_encoder"),
        tokenizer=CLIPTokenizer.from_pretrained(checkpoint.base / "tokenizer"),
        unet=None,
        scheduler=DDIMScheduler(steps_offset=1, clip_sample=False),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.load_textual_inversion(str(path), token=token)
    with torch.no_grad():
        context: Tensor = pipeline.encode_prompt(prompt, "cpu", 1, False)[0]
    return context


def context_of(encoder: CLIPTextModel, tokenizer: Tokenizer, folder: Path, prompt: str) -> Tensor:
    """The same by the engine's tokenizer and the encoder that a bundle's graph is made of."""
    tokenizer.save(folder)
    ids = torch.tensor([_core.Tokenizer(str(folder), MAX_LENGTH).encode(prompt)])
    with torch.no_grad():
        context: Tensor = encoder(ids).last_hidden_state
    return context


FORMS: dict[str, tuple[Callable[[Tensor], Any], str | None]] = {
    "learned_embeds.bin": (lambda v: {WORD: v}, None),
    "learned_embeds.safetensors": (lambda v: {WORD: v}, None),
    "renamed.bin": (lambda v: {"<other>": v}, WORD),
    "a1111.pt": (
        lambda v: {
            "string_to_token": {"*": 265},
            "string_to_param": {"*": v},
            "name": WORD,
            "step": 500,
            "sd_checkpoint": None,
        },
        None,
    ),
    "a1111.safetensors": (lambda v: {"emb_params": v}, WORD),
    "tensor.pt": (lambda v: v, WORD),
}


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("name", FORMS)
def test_a_learned_word_gives_the_context_that_diffusers_gives(
    tiny_checkpoint: TinyCheckpoint, base: Base, tmp_path: Path, name: str, count: int
) -> None:
    make, token = FORMS[name]
    path = tmp_path / name
    (save_file if path.suffix == ".safetensors" else torch.save)(make(vectors(count)), path)
    expected = by_diffusers(tiny_checkpoint, path, token, PROMPT)
    words = add_word(base.tokenizer, base.text_encoder, TextualInversion(path, token))
    given = context_of(base.text_encoder, words, tmp_path / "words", PROMPT)
    torch.testing.assert_close(given, expected, rtol=1e-5, atol=1e-5)
    plain = context_of(base.text_encoder, base.tokenizer, tmp_path / "plain", PROMPT)
    assert (plain - expected).abs().max() > 0.01, "the word makes a difference"


def test_one_vector_without_a_row(
    tiny_checkpoint: TinyCheckpoint, base: Base, tmp_path: Path
) -> None:
    """As diffusers' own example of training saves it."""
    path = tmp_path / "learned_embeds.bin"
    torch.save({WORD: vectors(1)[0]}, path)
    expected = by_diffusers(tiny_checkpoint, path, None, PROMPT)
    words = add_word(base.tokenizer, base.text_encoder, TextualInversion(tmp_path))
    given = context_of(base.text_encoder, words, tmp_path / "words", PROMPT)
    torch.testing.assert_close(given, expected, rtol=1e-5, atol=1e-5)


def test_the_original_code_s_file(base: Base, tmp_path: Path) -> None:
    """Its parameters are in PyTorch's own dictionary of parameters, of today's or an old form."""
    table = vectors(2)
    content = {"string_to_token": {WORD: torch.tensor(265)}}
    new = nn.ParameterDict({WORD: nn.Parameter(table)})
    torch.save({**content, "string_to_param": new}, tmp_path / "embeddings.pt")
    inversion = TextualInversion(tmp_path / "embeddings.pt")
    words = add_word(base.tokenizer, base.text_encoder, inversion)
    rows = base.text_encoder.get_input_embeddings().weight[-2:]
    assert torch.equal(rows, table)
    assert words.knows(WORD)
    assert words.knows(f"{WORD}_1")


def test_two_words_and_the_models_of_a_bundle(
    tiny_checkpoint: TinyCheckpoint, tmp_path: Path
) -> None:
    before = load_base(tiny_checkpoint.base)
    size = before.text_encoder.config.vocab_size
    for name, count in (("one", 1), ("two", 2)):
        torch.save({f"<{name}>": vectors(count)}, tmp_path / f"{name}.bin")
    models = load_models(
        tiny_checkpoint.base,
        [tiny_checkpoint.adapter],
        [tiny_checkpoint.controlnet],
        textual_inversions=[TextualInversion(tmp_path / f"{n}.bin") for n in ("one", "two")],
    )
    assert models.text_encoder.config.vocab_size == size + 3
    assert models.tokenizer.largest_id == size + 2
    added = [token.content for _, token in sorted(models.tokenizer.added.items())][-3:]
    assert added == ["<one>", "<two>", "<two>_1"]


def test_what_is_refused(base: Base, tmp_path: Path) -> None:
    before = deepcopy(base.text_encoder.state_dict())
    for name, content, token, message in (
        ("nameless", {"string_to_param": {"*": vectors(1)}}, None, "doesn't say which word"),
        ("emb", {"emb_params": vectors(1)}, None, "give it with --textual-inversion FILE=TOKEN"),
        ("xl", {"clip_l": vectors(1), "clip_g": vectors(1)}, None, "for Stable Diffusion XL"),
        ("sd2", {WORD: torch.ones(1, 1024)}, None, "as for Stable Diffusion 2.x; the text enc"),
        ("many", {"a": vectors(1), "b": vectors(1)}, None, r"holds 2 tensors \(a, b\); expected"),
        ("none", {"step": 5}, None, r"holds 0 tensors \(none\)"),
        ("deep", {WORD: torch.ones(1, 2, TEXT_WIDTH)}, None, "holds no rows of vectors"),
        ("no rows", {WORD: torch.ones(0, TEXT_WIDTH)}, None, "the text encoder's have"),
        ("known", {WORD: vectors(1)}, "dog</w>", "the tokenizer knows dog</w> already"),
        ("code", {WORD: Malicious(print, "run")}, None, "asks to run code"),
    ):
        torch.save(content, tmp_path / f"{name}.pt")
        inversion = TextualInversion(tmp_path / f"{name}.pt", token)
        with pytest.raises(ExportError, match=message):
            add_word(base.tokenizer, base.text_encoder, inversion)
    (tmp_path / "folder").mkdir()
    with pytest.raises(ExportError, match=r"has no learned_embeds\.safetensors; give the file"):
        add_word(base.tokenizer, base.text_encoder, TextualInversion(tmp_path / "folder"))
    assert all(torch.equal(before[k], v) for k, v in base.text_encoder.state_dict().items())


def test_the_option(tmp_path: Path) -> None:
    """A path may have an equals sign of its own."""
    assert word_source("owner/name") == ("owner/name", None)
    assert word_source("learned_embeds.bin=<cat-toy>") == ("learned_embeds.bin", "<cat-toy>")
    assert word_source("runs/lr=1e-5/a.bin") == ("runs/lr=1e-5/a.bin", None)
    assert word_source("runs/lr=1e-5/a.bin=<toy>") == ("runs/lr=1e-5/a.bin", "<toy>")
    (tmp_path / "a=b.bin").touch()
    assert word_source(str(tmp_path / "a=b.bin")) == (str(tmp_path / "a=b.bin"), None)
    for bad in ("=<toy>", "a.bin="):
        with pytest.raises(Exception, match=r"isn't SOURCE or SOURCE=TOKEN"):
            word_source(bad)
