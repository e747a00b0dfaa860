"""Runs of the procedural world as `fgdm.train` leaves them, of models that have learnt nothing."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import torch
from fgdm.cli.command import main as fgdm_command
from fgdm.train.classes import palette_json
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
from fgdm.train.truth import MAP_KINDS

_MODEL_CARD = Path(__file__).parents[1] / "docs" / "model-card.md"
_CAPTIONS = ["two dogs and a house", "a person under a tree on the grass"]


def build_scenes(folder: Path) -> None:
    """What ``python -m fgdm.train scenes --preset smoke`` writes, but for the segmenter."""
    torch.manual_seed(0)
    tokenizer = train_tokenizer(_CAPTIONS, folder / "tokenizer", SMOKE.max_tokens)
    unet = build_unet(SMOKE)
    unet.save_pretrained(folder / "unet")
    build_text_encoder(
        SMOKE, len(tokenizer), tokenizer.bos_token_id, tokenizer.eos_token_id
    ).save_pretrained(folder / "text_encoder")
    build_autoencoder(SMOKE).save_pretrained(folder / "vae")
    build_scheduler().save_pretrained(folder / "scheduler")
    build_adapter(SMOKE).save_pretrained(folder / "adapter")
    build_controlnet(SMOKE, unet).save_pretrained(folder / "controlnet")
    (folder / "palette.json").write_text(json.dumps(palette_json()))


def build_factors(folder: Path) -> None:
    """What ``decoder`` and ``factor`` write for all four kinds."""
    torch.manual_seed(1)
    build_autoencoder(SMOKE).save_pretrained(folder / "vae")
    for kind in MAP_KINDS:
        build_adapter(SMOKE).save_pretrained(folder / f"adapter_{kind}")


def build_bundle(folder: Path) -> None:
    """``runs/scenes``, ``runs/factors``, and ``bundles/scenes``, made of them by the command that
    the model card has."""
    build_scenes(folder / "runs" / "scenes")
    build_factors(folder / "runs" / "factors")
    text = _MODEL_CARD.read_text(encoding="utf-8").replace("\\\n", " ")
    (command,) = re.findall(r"^fgdm (export .*adapter_pose.*)$", text, re.MULTILINE)
    below = re.sub(r"\b(runs|bundles)/", lambda match: f"{folder}/{match[0]}", command)
    assert fgdm_command(shlex.split(below)) == 0
