"""Trains the dual encoder in two stages: its eye on what the world knows of every picture, then
both towers on pictures and captions. What is finished is read back."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from fgdm import _core
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from .captions import caption
from .classes import CLASSES, THINGS
from .dataset import SceneSet, made_once, scene_set
from .dual_encoder import (
    CELLS,
    EMBEDDING,
    LONGEST,
    MEAN,
    SIDE,
    STD,
    DualEncoder,
    Eye,
    Sight,
    load_dual_encoder,
    summary,
)
from .dual_encoder_files import TOKENIZER, WEIGHTS
from .dual_encoder_onnx import write_graphs
from .loop import LoopOptions, train_stage
from .presets import Preset
from .shapes import PAINTS
from .world import Scene, sample_scene
from .wrong_captions import CHANGES, mirrored

#: The first scene's seed, far from those of other sets.
DUAL_ENCODER_SEED = 4_000_000
#: Wordings of a scene that training may meet.
_WORDINGS = 1000
#: The kinds of wrong captions that are about relations, and how often they come first.
_RELATIONS, _RELATIONS_FIRST = ("side", "place"), 0.75
_BATCH = 64
_PAINTS = list(PAINTS)


class DualEncoderRecipe:
    """One run in one folder, which ends up with ``dual_encoder.safetensors`` (float16),
    ``image_encoder.onnx``, ``text_encoder.onnx`` and ``tokenizer``; `work` holds what only training
    needs.

    tokenizer: a folder of CLIP's files, such as a bundle's. seed: of what steps draw; it doesn't
    change the scenes. Raises BundleError for a tokenizer that can't be read.
    """

    def __init__(
        self,
        preset: Preset,
        folder: Path,
        tokenizer: Path,
        device: torch.device,
        workers: int,
        seed: int = 0,
    ) -> None:
        self.preset, self.folder, self.device, self.workers = preset, folder, device, workers
        self.work = folder / "work"
        self.work.mkdir(parents=True, exist_ok=True)
        self.options = LoopOptions(device, seed)
        self.tokenizer = _copied(tokenizer, folder / TOKENIZER)

    def run(self) -> DualEncoder:
        """Both stages, and the graphs of what they made."""
        path = self.folder / WEIGHTS
        if not path.exists():
            save_dual_encoder(self._trained(), path)
        model = load_dual_encoder(path)
        write_graphs(model, self.folder)
        return model

    def _trained(self) -> DualEncoder:
        texts = Texts(self.tokenizer)
        torch.manual_seed(10)
        model = DualEncoder(texts.vocabulary, texts.end).to(self.device)
        scenes = self._scenes()
        drawn = [sample_scene(DUAL_ENCODER_SEED + i) for i in range(len(scenes))]
        self._train_eye(model.image.eye, scenes, drawn)
        self._train_towers(model, scenes, drawn, texts)
        return model

    def _scenes(self) -> SceneSet:
        count, folder = self.preset.pair_scenes, self.work / "data"
        return scene_set(folder, DUAL_ENCODER_SEED, count, SIDE, SIDE, self.workers)

    def _train_eye(self, eye: Eye, scenes: SceneSet, drawn: Sequence[Scene]) -> None:
        path = self.work / "eye.pt"
        if path.exists():
            eye.load_state_dict(torch.load(path, map_location=self.device, weights_only=True))
            return

        def loss(step: int, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
            index = np.sort(rng.choice(len(scenes), self.preset.eye.batch, replace=False))
            mirror = bool(rng.random() < 0.5)
            seen = eye(pictures_of(scenes.images[index], mirror, self.device, rng))
            truth = truths(scenes.labels[index], [drawn[i] for i in index], mirror, self.device)
            parts = eye_losses(seen, truth)
            return torch.stack(list(parts.values())).sum(), {
                name: float(value.detach()) for name, value in parts.items()
            }

        modules = nn.ModuleDict({"eye": eye})
        train_stage("eye", modules, loss, self.preset.eye, self.work, self.options)
        partial = path.with_suffix(".partial")
        torch.save(eye.state_dict(), partial)
        partial.replace(path)

    def _train_towers(
        self, model: DualEncoder, scenes: SceneSet, drawn: Sequence[Scene], texts: Texts
    ) -> None:
        """Symmetric InfoNCE. The eye stays as it is, so that its summaries are made once: of each
        scene's picture, and of its mirrored picture, made a little worse.

        A linear reader learns to tell from an embedding, of a picture as of a text, where things
        are. Without it neither tower has a reason to say what the other doesn't look at yet, and
        left and right aren't learnt.
        """
        eye = model.image.eye.requires_grad_(False).eval()

        def view(name: str, mirror: bool) -> Tensor:
            def make() -> NDArray[np.float32]:
                return summaries(eye, scenes.images, mirror, self.device)

            return torch.from_numpy(made_once(self.work / f"summaries-{name}.npy", make))

        views = view("plain", mirror=False), view("mirrored", mirror=True)
        budget = self.preset.towers
        known, there = whereabouts(drawn)
        reader = nn.Linear(EMBEDDING, known[0].numel()).to(self.device)

        def loss(step: int, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
            index = rng.choice(len(drawn), budget.batch, replace=False)
            mirror = bool(rng.random() < 0.5)
            right, wrong = [], []
            for i in index:
                text = related_caption(drawn[i], rng)
                right.append(mirrored(text) if mirror else text)
                wrong.append(wrong_caption(right[-1], rng))
            images = model.image.of_summary(views[mirror][index].to(self.device))
            found = model.text(texts(right + [text for _, text in wrong]).to(self.device))
            value, share = contrast(images, found, model.scale)
            place = known[index] * (torch.tensor([-1.0, 1, 1, 1]) if mirror else 1.0)
            there_now = there[index].to(self.device)
            of_images = reading_loss(reader, images, place.to(self.device), there_now)
            of_texts = reading_loss(reader, found[: len(right)], place.to(self.device), there_now)
            told = ((found[: len(right)] - found[len(right) :]) * images).sum(1).detach() > 0
            shares = {"found": share, "scale": float(model.scale.detach())}
            shares |= {"read": float(of_images.detach()), "read_in_texts": float(of_texts.detach())}
            for kind in CHANGES:
                rows = [row for row, (own, _) in enumerate(wrong) if own == kind]
                if rows:
                    shares[kind] = float(told[rows].float().mean())
            return value + (of_images + of_texts) / 2, shares

        learning = nn.ModuleDict({"model": model, "reader": reader})
        train_stage("towers", learning, loss, budget, self.work, self.options)


class Texts:
    """Token ids of texts, by a folder of CLIP's files: (n, longest) int64, cut at 77 tokens."""

    def __init__(self, tokenizer: Path) -> None:
        self._tokenizer = _core.Tokenizer(str(tokenizer), LONGEST)
        self.vocabulary = len(json.loads((tokenizer / "vocab.json").read_text()))
        self.end = self._tokenizer.encode("")[-1]

    def __call__(self, texts: Sequence[str]) -> Tensor:
        ids = torch.tensor([self._tokenizer.encode(text) for text in texts])
        longest = int((ids != self.end).sum(1).max()) + 1
        return ids[:, :longest]


@dataclass(frozen=True)
class Truth:
    """What the eye should see. areas: (B, classes, 16, 16), each cell's share of each class;
    centres: (B, things, 16, 16), 0 or 1; where: rows (picture, row, column) of the things' cells,
    (n, 3); boxes: (n, 4) and paints: (n,) of these, as in `Sight`."""

    areas: Tensor
    centres: Tensor
    where: Tensor
    boxes: Tensor
    paints: Tensor


def pictures_of(
    images: NDArray[np.uint8],
    mirror: bool,
    device: torch.device,
    rng: np.random.Generator | None = None,
) -> Tensor:
    """(B, 3, 128, 128) as the image tower takes them, from (B, 128, 128, 3) uint8. With a
    generator they become a little worse: brighter or darker, noisy, perhaps blurred, as what an
    autoencoder paints."""
    pictures = torch.from_numpy(np.array(images)).permute(0, 3, 1, 2) / 255.0
    if mirror:
        pictures = pictures.flip(3)
    if rng is not None:
        noise = torch.from_numpy(rng.standard_normal(pictures.shape, dtype=np.float32))
        pictures = pictures * float(rng.uniform(0.85, 1.1)) + noise * float(rng.uniform(0, 0.06))
        if rng.random() < 0.5:
            pictures = functional.avg_pool2d(pictures, 3, stride=1, padding=1)
    mean, std = (torch.tensor(one)[:, None, None] for one in (MEAN, STD))
    return ((pictures - mean) / std).contiguous().to(device)


def truths(
    labels: NDArray[np.uint8], scenes: Sequence[Scene], mirror: bool, device: torch.device
) -> Truth:
    """Of (B, 128, 128) labels and the scenes behind them, mirrored or not."""
    every_other = torch.from_numpy(labels[:, ::2, ::2].astype(np.int64))
    areas = functional.one_hot(every_other, len(CLASSES)).permute(0, 3, 1, 2).float()
    areas = functional.avg_pool2d(areas, areas.shape[-1] // CELLS)
    centres = torch.zeros(len(scenes), len(THINGS), CELLS, CELLS)
    where, boxes, paints = [], [], []
    for picture, scene in enumerate(scenes):
        for item in scene.instances:
            x = 1 - item.x if mirror else item.x
            row, column = (min(max(int(at * CELLS), 0), CELLS - 1) for at in (item.y, x))
            centres[picture, THINGS.index(item.name), row, column] = 1.0
            where.append((picture, row, column))
            offsets = (x * CELLS - column - 0.5, item.y * CELLS - row - 0.5)
            boxes.append((*offsets, item.width, item.height))
            paints.append(_PAINTS.index(item.paint) if item.paint else len(_PAINTS))
    return Truth(
        (areas.flip(3) if mirror else areas).to(device),
        centres.to(device),
        torch.tensor(where, device=device),
        torch.tensor(boxes, device=device),
        torch.tensor(paints, device=device),
    )


def eye_losses(seen: Sight, truth: Truth) -> dict[str, Tensor]:
    """Cross-entropies of labels, centres (of all cells of a thing together, so that they add up to
    its number) and paints, and the distance of boxes: scalars."""
    picture, row, column = truth.where.unbind(1)
    of_centres = functional.binary_cross_entropy_with_logits(
        seen.centres, truth.centres, reduction="sum"
    )
    return {
        "labels": functional.cross_entropy(seen.labels, truth.areas),
        "centres": of_centres / len(truth.where),
        "paints": 0.5
        * functional.cross_entropy(seen.paints[picture, :, row, column], truth.paints),
        "boxes": functional.l1_loss(seen.boxes[picture, :, row, column], truth.boxes),
    }


@torch.no_grad()
def summaries(
    eye: Eye, images: NDArray[np.uint8], mirror: bool, device: torch.device
) -> NDArray[np.float32]:
    """(n, SUMMARY) of (n, 128, 128, 3) pictures; those that are mirrored are made a little worse,
    too."""
    rng = np.random.default_rng(11) if mirror else None
    found = []
    for start in range(0, len(images), _BATCH):
        pictures = pictures_of(images[start : start + _BATCH], mirror, device, rng)
        found.append(summary(eye(pictures)).cpu().numpy())
    return np.concatenate(found)


def whereabouts(scenes: Sequence[Scene]) -> tuple[Tensor, Tensor]:
    """Of each thing in each scene the means of x, y and its lower edge, in quarters of the picture
    from the middle, and its number in threes, (n, things, 4); and whether it is there, (n, things).
    """
    found = torch.zeros(len(scenes), len(THINGS), 4)
    for row, scene in enumerate(scenes):
        for column, name in enumerate(THINGS):
            items = [item for item in scene.instances if item.name == name]
            if items:
                means = np.mean([(item.x, item.y, item.base) for item in items], 0)
                found[row, column, :3] = torch.from_numpy((means - 0.5) / 0.25)
            found[row, column, 3] = len(items) / 3
    return found, found[..., 3] > 0


def reading_loss(reader: nn.Linear, embeddings: Tensor, known: Tensor, there: Tensor) -> Tensor:
    """The squared error of what is read in (B, 256) embeddings: of places where things are there,
    and of numbers, a scalar. known, there: as `whereabouts` gives them."""
    read = reader(embeddings * EMBEDDING**0.5).reshape(known.shape)
    errors = (read - known).pow(2)
    error: Tensor = errors[..., :3][there].mean() + errors[..., 3].mean()
    return error


def related_caption(scene: Scene, rng: np.random.Generator) -> str:
    """A caption; of three wordings, which may all be the last, the first that relates things."""
    for _ in range(3):
        text = caption(scene, int(rng.integers(_WORDINGS)))
        if any(CHANGES[kind](text, rng) is not None for kind in _RELATIONS):
            break
    return text


def wrong_caption(text: str, rng: np.random.Generator) -> tuple[str, str]:
    """The kind of change, and the caption with one thing wrong. Relations, which are rarer and
    harder, come first in three of four captions that have some."""
    kinds = [str(kind) for kind in rng.permutation(list(CHANGES))]
    if rng.random() < _RELATIONS_FIRST:
        kinds.sort(key=lambda kind: kind not in _RELATIONS)
    for kind in kinds:
        changed = CHANGES[kind](text, rng)
        if changed is not None:
            return kind, changed
    raise ValueError(f"{text!r} names no thing")


def contrast(images: Tensor, texts: Tensor, scale: Tensor) -> tuple[Tensor, float]:
    """Symmetric InfoNCE, a scalar, and the share of pictures whose caption is the nearest text.

    images: (B, d). texts: (2 B, d), the captions and then as many that are nearly right: a picture
    must tell its caption from all of them, a caption its picture from the others.
    """
    logits = scale * images @ texts.T
    own = torch.arange(len(images), device=images.device)
    of_images = functional.cross_entropy(logits, own)
    of_texts = functional.cross_entropy(logits[:, : len(images)].T, own)
    share = (logits.detach().argmax(1) == own).float().mean()
    return (of_images + of_texts) / 2, float(share)


def save_dual_encoder(model: DualEncoder, path: Path) -> None:
    """Weights in float16, and the number of the token that ends a text."""
    weights = {name: weight.half().contiguous() for name, weight in model.state_dict().items()}
    weights["text.end"] = torch.tensor(model.text.end)
    partial = path.with_suffix(".partial")
    save_file(weights, partial)
    partial.replace(path)


def _copied(tokenizer: Path, folder: Path) -> Path:
    """A tokenizer's two files, copied once."""
    _core.Tokenizer(str(tokenizer), LONGEST)  # raises for what is none
    if not folder.exists():
        partial = folder.with_name(f"{TOKENIZER}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        for name in ("vocab.json", "merges.txt"):
            shutil.copyfile(tokenizer / name, partial / name)
        partial.replace(folder)
    return folder
