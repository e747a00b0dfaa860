"""Words learned by textual inversion (Gal et al. 2022): tokens, and their vectors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import CLIPTextModel

from ..errors import ExportError
from .assemble import listed
from .places import Component, Source, locate
from .tensors import read_nested
from .tokenizers import Tokenizer

_WEIGHTS = ("learned_embeds.safetensors", "learned_embeds.bin")
#: What stands for the word where a file's own name says it, in A1111's files.
_NAMELESS = ("*", "emb_params")
_OTHERS = {
    768: "Stable Diffusion 1.x",
    1024: "Stable Diffusion 2.x",
    1280: "Stable Diffusion XL",
}


@dataclass(frozen=True)
class TextualInversion:
    """A file with a learned word; `token` replaces the word that the file says, if it says one."""

    source: Source
    token: str | None = None


def add_word(
    tokenizer: Tokenizer, text_encoder: CLIPTextModel, inversion: TextualInversion
) -> Tokenizer:
    """Teach both a learned word; returns the tokenizer that knows it.

    A word of several vectors becomes the tokens ``word``, ``word_1``, …, as in diffusers; in a
    prompt ``word`` stands for all of them. Known are diffusers' files (the word and its vectors),
    those of A1111's web UI (``string_to_param`` with a ``name``, or ``emb_params``), those of the
    original code, and a tensor alone.

    Raises:
        ExportError: the file is unreadable or of another kind, says no word and none was given, its
            vectors are for another text encoder, or the word is one of the tokenizer's already.
    """
    path = _file(inversion.source)
    word, vectors = _word_and_vectors(read_nested(path), str(path))
    word = inversion.token or word
    if not word:
        raise ExportError(
            f"{path} doesn't say which word it holds; give it with --textual-inversion FILE=TOKEN"
        )
    try:
        word.encode()
    except UnicodeEncodeError:
        raise ExportError(
            f"{path}: its word {word!a} isn't valid Unicode; give another with "
            "--textual-inversion FILE=TOKEN"
        ) from None
    vectors = vectors.float().reshape(-1, vectors.shape[-1])
    embeddings = text_encoder.get_input_embeddings()
    width = embeddings.weight.shape[1]
    if vectors.shape[1] != width or not len(vectors):
        family = _OTHERS.get(vectors.shape[1])
        raise ExportError(
            f"{path} holds vectors of {vectors.shape[1]} numbers"
            f"{f', as for {family}' if family else ''}; the text encoder's have {width}"
        )
    words = [word, *(f"{word}_{i}" for i in range(1, len(vectors)))]
    known = [entry for entry in words if tokenizer.knows(entry)]
    if known:
        raise ExportError(
            f"{path}: the tokenizer knows {listed(known)} already; choose another word with "
            "--textual-inversion FILE=TOKEN"
        )
    first = tokenizer.largest_id + 1
    rows = embeddings.weight.data
    missing = max(0, first + len(words) - len(rows))
    # A new tensor: the old one may be the mapped file.
    table = torch.cat([rows, rows.new_zeros(missing, width)])
    table[first : first + len(words)] = vectors
    embeddings.weight = nn.Parameter(table, requires_grad=embeddings.weight.requires_grad)
    embeddings.num_embeddings = len(table)
    text_encoder.config.vocab_size = len(table)
    return tokenizer.with_words(words)


def _file(source: Source) -> Path:
    path = locate(source, "the textual inversion", (Component("", _WEIGHTS),))
    if path.is_file():
        return path
    found = next((path / name for name in _WEIGHTS if (path / name).is_file()), None)
    if found is None:
        raise ExportError(
            f"the textual inversion: {path} has no {_WEIGHTS[0]}; give the file itself"
        )
    return found


def _word_and_vectors(content: Any, origin: str) -> tuple[str | None, Tensor]:
    """What a file says; the word is None if it says none."""
    if isinstance(content, Mapping) and "string_to_param" in content:
        parameters, name = content["string_to_param"], content.get("name")
        content = dict(parameters) if isinstance(parameters, Mapping) else None
        if content is not None and len(content) == 1 and isinstance(name, str):
            content = dict(zip([name], content.values(), strict=True))
    if isinstance(content, Mapping):
        if {"clip_l", "clip_g"} & content.keys():
            raise ExportError(f"{origin} is a textual inversion for Stable Diffusion XL")
        tensors = {key: value for key, value in content.items() if isinstance(value, Tensor)}
        if len(tensors) != 1:
            raise ExportError(
                f"{origin} holds {len(tensors)} tensors ({listed(map(str, tensors)) or 'none'}); "
                "expected one learned word, as diffusers or A1111's web UI save it"
            )
        ((word, vectors),) = tensors.items()
        named = None if word in _NAMELESS else str(word)
    else:
        named, vectors = None, content
    if (
        not isinstance(vectors, Tensor)
        or vectors.layout != torch.strided
        or vectors.ndim not in (1, 2)
    ):
        raise ExportError(f"{origin} isn't a textual inversion: it holds no rows of vectors")
    return named, vectors.detach()
