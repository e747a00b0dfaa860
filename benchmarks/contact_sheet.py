"""What a bundle paints: maps and pictures of held-out prompts, as one sheet.

python -m benchmarks.contact_sheet bundles/scenes --every 17 --output docs/figures/contact-sheet.png

No picture is picked: they are every K-th prompt's, with the prompt's number as seed.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from fgdm import Engine, Result, drawing
from fgdm.train.figures import MIN_AREA, label_recall
from fgdm.train.segmenter import Segmenter, load_segmenter, segment
from PIL import Image

from benchmarks.cards import GAP, MARGIN, card_size, draw_card, save
from benchmarks.command import (
    add_prompts,
    add_segmenter,
    chosen_prompts,
    engine_options,
    make_parser,
)

_SIDE = 192  # pixels: of a map and of a picture


def contact_sheet(results: list[Result], captions: list[str], columns: int) -> Image.Image:
    """A card for each result: its map and its picture side by side, over its caption."""
    size = 2 * _SIDE, _SIDE
    width, height = card_size(*size)
    rows = -(-len(results) // columns)
    sheet = Image.new(
        "RGB",
        (
            2 * MARGIN + columns * (width + GAP) - GAP,
            2 * MARGIN + rows * (height + GAP) - GAP,
        ),
        drawing.PAGE,
    )
    for number, (result, caption) in enumerate(zip(results, captions, strict=True)):
        pair = Image.new("RGB", size)
        for place, part in enumerate((result.map, result.image)):
            assert part is not None
            pair.paste(part.convert("RGB").resize((_SIDE, _SIDE)), (place * _SIDE, 0))
        row, column = divmod(number, columns)
        corner = MARGIN + column * (width + GAP), MARGIN + row * (height + GAP)
        draw_card(sheet, corner, pair, size, caption)
    return sheet


def seen_recall(result: Result, things: list[str], segmenter: Segmenter) -> float:
    """The share of the things that the segmenter finds in the picture."""
    (seen,) = segment(segmenter, np.asarray(result.image)[None], torch.device("cpu"))
    return label_recall(seen, things)


def main(arguments: list[str] | None = None) -> int:
    parser = make_parser(__doc__)
    add_prompts(parser)
    add_segmenter(parser)
    parser.add_argument("--columns", type=int, default=3)
    given = parser.parse_args(arguments)
    output: Path | None = given.output
    if output is None:
        parser.error("--output FILE.png is where the sheet goes")
    segmenter = load_segmenter(given.segmenter)
    results, captions, all_found = [], [], 0
    with Engine(given.bundle, **engine_options(given)) as engine:
        for number, one in enumerate(chosen_prompts(given)):
            result = engine.generate(one.prompt, objects=one.things, min_area=MIN_AREA, seed=number)
            recall = seen_recall(result, one.things, segmenter)
            all_found += recall == 1.0
            results.append(result)
            captions.append(f"{recall:.0%} of “{one.prompt}”")
    save(contact_sheet(results, captions, given.columns), output)
    print(f"{output}: everything found in {all_found} of {len(results)} pictures")
    return 0


if __name__ == "__main__":
    sys.exit(main())
