"""``python -m fgdm.train.dual_encoder_figures``: how far a dual encoder of the world can be
trusted, by scenes whose things no training scene has together."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from fgdm.scorers import DualEncoderScorer
from fgdm.statistics import bootstrap
from numpy.typing import NDArray
from PIL import Image

from .captions import caption
from .dual_encoder import SIDE
from .dual_encoder_files import IMAGE_ENCODER, TEXT_ENCODER, open_scorer
from .render import render
from .world import sample_scene
from .wrong_captions import CHANGES

#: The first seed of the scenes, far from every training set.
PAIRS_SEED = 8_500_000
#: Pairs that a picture or a text is found among.
_AMONG = (100, 1000)

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Pair:
    """A picture, (128, 128, 3) uint8, and its caption."""

    image: NDArray[np.uint8]
    text: str


def held_out_pairs(count: int) -> list[Pair]:
    """Scenes whose combination of things training leaves out, no two with the same caption."""
    found: dict[str, Pair] = {}
    seed = PAIRS_SEED
    while len(found) < count:
        scene = sample_scene(seed, held_out=True)
        text = caption(scene)
        if text not in found:
            found[text] = Pair(render(scene, SIDE, geometry=False).image, text)
        seed += 1
    return list(found.values())


def retrieval(images: Floats, texts: Floats, among: int) -> dict[str, dict[str, float]]:
    """Of (n, d) embeddings of length 1 of pairs, in blocks of `among`: how often a picture's own
    text is the nearest of all, or one of the nearest five, and a text's own picture. What is
    equally near counts as nearer."""
    ranks: dict[str, list[NDArray[np.int64]]] = {"image_to_text": [], "text_to_image": []}
    for start in range(0, len(images) - among + 1, among):
        block = slice(start, start + among)
        cosines = images[block] @ texts[block].T
        for name, rows in (("image_to_text", cosines), ("text_to_image", cosines.T)):
            ranks[name].append((rows >= rows.diagonal()[:, None]).sum(1) - 1)
    return {
        name: {f"first_{most}": float((np.concatenate(found) < most).mean()) for most in (1, 5)}
        for name, found in ranks.items()
    }


def telling(images: Floats, texts: Floats, wrong: Floats) -> dict[str, Any]:
    """How often the right text is nearer to its picture than the wrong one, an equal distance
    counted half, with its interval, and by how much; embeddings (n, d) of length 1.

    words_alone: the same beside another scene's picture, about which neither text is right. What
    it differs from a half is what the words alone give away.
    """
    margins = ((texts - wrong) * images).sum(1)
    others = ((texts - wrong) * np.roll(images, 1, 0)).sum(1)
    won = _won(margins)
    share = bootstrap(lambda chosen: float(won[chosen].mean()), len(won))
    return {
        "captions": len(won),
        "right_is_nearer": share.to_json(),
        "words_alone": float(_won(others).mean()),
        "margin": float(margins.mean()),
    }


def measure(folder: Path, count: int = 1000) -> dict[str, Any]:
    """Every figure of a dual encoder's folder, by `count` pairs.

    cosines: means of pictures with their own captions and with those of a wrong class, and the
    cosine that tells these two apart best.
    """
    scorer = open_scorer(folder)
    pairs = held_out_pairs(count)
    images = np.stack([scorer.embed_image(Image.fromarray(pair.image)) for pair in pairs])
    texts = _embedded(scorer, [pair.text for pair in pairs])
    figures: dict[str, Any] = {
        "pairs": count,
        "bytes": sum((folder / name).stat().st_size for name in (IMAGE_ENCODER, TEXT_ENCODER)),
        "retrieval": {
            str(among): retrieval(images, texts, among) for among in _AMONG if among <= count
        },
        "telling": {},
    }
    for kind, change in CHANGES.items():
        rng = np.random.default_rng(12)
        changed = [change(pair.text, rng) for pair in pairs]
        rows = [i for i, text in enumerate(changed) if text is not None]
        wrong = _embedded(scorer, [text for text in changed if text is not None])
        figures["telling"][kind] = telling(images[rows], texts[rows], wrong)
        if kind == "class":
            own, other = ((images[rows] * one).sum(1) for one in (texts[rows], wrong))
            figures["cosines"] = _cosines(own, other)
    return figures


def _won(margins: Floats) -> NDArray[np.float64]:
    won: NDArray[np.float64] = (margins > 0) + 0.5 * (margins == 0)
    return won


def _cosines(own: Floats, other: Floats) -> dict[str, float]:
    bars = np.sort(np.concatenate([own, other]))
    shares = [((own >= bar).mean() + (other < bar).mean()) / 2 for bar in bars]
    best = int(np.argmax(shares))
    return {
        "right": float(own.mean()),
        "wrong_class": float(other.mean()),
        "bar": float(bars[best]),
        "told_by_the_bar": float(shares[best]),
    }


def _embedded(scorer: DualEncoderScorer, texts: Sequence[str]) -> Floats:
    return np.stack([scorer.embed_text(text) for text in texts])


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m fgdm.train.dual_encoder_figures",
        description="How far a dual encoder of the procedural world can be trusted.",
    )
    parser.add_argument("folder", type=Path, help="of a run, or benchmarks/dual_encoder")
    parser.add_argument("--pairs", type=int, default=1000, metavar="N", help="default: 1000")
    parser.add_argument("--output", type=Path, metavar="FILE", help="JSON of the figures")
    options = parser.parse_args(arguments)
    text = json.dumps(measure(options.folder, options.pairs), indent=1)
    if options.output is not None:
        options.output.write_text(text + "\n")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
