"""The forms of ``fgdm export``'s options: names, sources, scales and values by factor."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

from fgdm.manifest import LINES, OUTPUTS

_Value = TypeVar("_Value")
_NAME = re.compile(r"([a-z0-9_]+)=")


class OfFactor(NamedTuple, Generic[_Value]):
    """A value, and the factor that it is for; None for all condition factors."""

    factor: str | None
    value: _Value


def adapter(text: str) -> tuple[str, tuple[str, ...] | None, str]:
    """NAME[:SEEN,…]=SOURCE: the factor, the latents that are seen, and the network."""
    factor, separator, source = text.partition("=")
    name, colon, seen = factor.partition(":")
    latents = tuple(seen.split(","))
    if not (name and separator and source) or (colon and not all(latents)):
        raise argparse.ArgumentTypeError(
            f"{text!r} isn't NAME=SOURCE or NAME:SEEN,...=SOURCE, e.g. segmentation=adapter, or "
            "depth:segmentation,depth=adapter"
        )
    return name, latents if colon else None, source


def named_lora(text: str) -> tuple[str, tuple[str, ...], str]:
    """NAME[:FACTOR,…]=SOURCE: what requests call it, the factors that it changes, and the LoRA."""
    name, separator, source = text.partition("=")
    name, colon, factors = name.partition(":")
    changed = tuple(factors.split(",")) if colon else ("image",)
    if not (name and separator and source and all(changed)):
        raise argparse.ArgumentTypeError(
            f"{text!r} isn't NAME=SOURCE or NAME:FACTOR,...=SOURCE, e.g. style=style.safetensors, "
            "or style:segmentation,image=style.safetensors"
        )
    return name, changed, source


class OwnBackbone(NamedTuple):
    """A factor's own backbone: the factor, the latents that it sees, and the UNet."""

    factor: str
    latents: tuple[str, ...] | None
    source: str


def backbone(text: str) -> OwnBackbone:
    """NAME[:SEEN,…]=SOURCE."""
    return OwnBackbone(*adapter(text))


def output(text: str) -> tuple[str, str, str]:
    """NAME=OUTPUT: the factor, what it makes, and the colour of a sketch's lines."""
    name, _, made = text.partition("=")
    kind, colon, lines = made.partition(":")
    if not name or kind not in OUTPUTS or (colon and (kind != "sketch" or lines not in LINES)):
        raise argparse.ArgumentTypeError(
            f"{text!r} isn't NAME=OUTPUT, where OUTPUT is {', '.join(OUTPUTS)} or sketch:black"
        )
    return name, kind, lines or LINES[0]


def network(text: str) -> tuple[str, str | None, float]:
    """[CONDITION=]SOURCE[:SCALE]: the source, what it sees, and its scale."""
    condition, separator, source = text.partition("=")
    if not separator or "/" in condition or Path(text).exists():
        condition, separator, source = "", "", text  # all of it; paths may have an equals sign
    source, scale = scaled_source(source)
    if not source or (separator and not condition):
        raise argparse.ArgumentTypeError(
            f"{text!r} isn't [CONDITION=]SOURCE[:SCALE], e.g. depth=sd-controlnet-depth:0.5"
        )
    return source, condition or None, scale


def word_source(text: str) -> tuple[str, str | None]:
    """SOURCE[=TOKEN]. A path may have an equals sign too, as ``lr=1e-5/learned_embeds.bin``."""
    source, separator, token = text.rpartition("=")
    if not separator or "/" in token or Path(text).exists():
        return text, None
    if not source or not token.strip():
        raise argparse.ArgumentTypeError(
            f"{text!r} isn't SOURCE or SOURCE=TOKEN, e.g. learned_embeds.bin=<cat-toy>"
        )
    return source, token


def scaled_source(text: str) -> tuple[str, float]:
    """SOURCE[:SCALE]."""
    source, separator, number = text.rpartition(":")
    if not separator or "/" in number or "\\" in number:  # a path that happens to have a colon
        return text, 1.0
    try:
        scale = float(number)
    except ValueError:
        scale = math.nan
    if not source or not math.isfinite(scale):
        raise argparse.ArgumentTypeError(
            f"{text!r} isn't SOURCE or SOURCE:SCALE, e.g. style.safetensors:0.8"
        )
    return source, scale


def of_factor(value: Callable[[str], _Value], what: str) -> Callable[[str], OfFactor[_Value]]:
    """[NAME=]VALUE, where a value that begins like a name needs the name of its factor."""

    def parse(text: str) -> OfFactor[_Value]:
        match = _NAME.match(text)
        content = text[match.end() :] if match else text
        try:
            return OfFactor(match[1] if match else None, value(content))
        except ValueError:
            raise argparse.ArgumentTypeError(f"{content!r} isn't {what}") from None

    return parse
