"""One prompt through all factors of a bundle, as one picture: every map, and the image.

python -m benchmarks.factor_strip bundles/scenes --output docs/figures/factors.png
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from fgdm import Engine, Result, drawing
from PIL import Image, ImageDraw

from benchmarks.cards import GAP, MARGIN, TITLE, card_size, draw_card, save
from benchmarks.factor_chains import factor_names

_PROMPT = "a person and two dogs beside a house under a tree with a kite"
_SIDE = 192  # pixels: the least side of a map


def strip(result: Result) -> Image.Image:
    """The prompt over a card for each map in the chain's order and for the image, with captions.

    All are as high and wide as the first map is shown. Of a label map the caption says what it
    holds of what is looked for.
    """
    shown = {name: drawing.enlarge(factor.map, _SIDE) for name, factor in result.factors.items()}
    width, height = next(iter(shown.values())).size
    shown["image"] = result.image.convert("RGB")
    captions = [_caption(result, name) for name in shown]
    wide, high = card_size(width, height)
    top = MARGIN + TITLE + GAP
    size = 2 * MARGIN + len(shown) * (wide + GAP) - GAP, top + high + MARGIN
    picture = Image.new("RGB", size, drawing.PAGE)
    prompt = drawing.ellipsize(f"“{result.prompt}”", TITLE, size[0] - 2 * MARGIN)
    ImageDraw.Draw(picture).text(
        (MARGIN, MARGIN), prompt, font=drawing.font(TITLE), fill=drawing.TEXT
    )
    for number, (part, caption) in enumerate(zip(shown.values(), captions, strict=True)):
        left = MARGIN + number * (wide + GAP)
        draw_card(picture, (left, top), part, (width, height), caption)
    return picture


def _caption(result: Result, name: str) -> str:
    factor = result.factors.get(name)
    if factor is None or not factor.labels.size:
        return name
    chosen = factor.candidates[factor.chosen]
    return f"{name}, {len(chosen.found)} of {len(chosen.found) + len(chosen.missing)}"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--prompt", default=_PROMPT)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--candidates", type=int, default=10, help="of each label map")
    parser.add_argument("--steps", type=int, help="of maps and image; default: the bundle's")
    parser.add_argument("--threads", type=int, default=0, help="default: the runtime's choice")
    parser.add_argument("--output", type=Path, required=True, help="PNG file")
    given = parser.parse_args(arguments)
    with Engine(given.bundle, threads=given.threads) as engine:
        result = engine.generate(
            given.prompt,
            seed=given.seed,
            candidates=given.candidates,
            condition_steps=given.steps,
            num_inference_steps=given.steps,
            factors={name: {} for name in factor_names(engine.manifest)},
        )
    save(strip(result), given.output)
    print(f"{given.output}: {', '.join([*result.factors, 'image'])}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
