"""The palettes of a bundle: that of its label maps, and that of the maps its networks know."""

from __future__ import annotations

import json
from collections.abc import Sequence

from .errors import ExportError
from .image_networks import HintPalette
from .manifest import HINT_PALETTE, PALETTE
from .palettes import PaletteSource, mapping, read_palette


def read_palettes(
    palette: PaletteSource | None,
    hint_palette: PaletteSource | None,
    label_factors: Sequence[str],
    files: tuple[str, str] = (PALETTE, HINT_PALETTE),
) -> tuple[dict[str, str], HintPalette | None]:
    """The text of every palette file of a bundle, by name, and how maps are recoloured.

    Args:
        label_factors: the factors whose maps have the palette's colours.
        files: what the two palettes are called in the bundle.

    Raises:
        ExportError: a palette can't be read, is missing, or has no maps to colour.
    """
    if not label_factors and (palette, hint_palette) != (None, None):
        raise ExportError("no factor makes labels, so that nothing has a palette; leave it out")
    if not label_factors:
        return {}, None
    if palette is None:
        raise ExportError(
            f"{', '.join(label_factors)} makes labels; give the palette with its classes, or say "
            "what else it makes"
        )
    own = read_palette(palette)
    texts = {files[0]: _text(own)}
    if hint_palette is None:
        return texts, None
    other = read_palette(hint_palette)
    table = mapping(own, other)
    recolor = {source: target for source, target in table.items() if target is not None}
    return texts | {files[1]: _text(other)}, HintPalette(files[1], recolor)


def _text(palette: object) -> str:
    return json.dumps(palette, indent=1) + "\n"
