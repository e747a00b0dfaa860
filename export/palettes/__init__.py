"""Palettes: the classes of a map, their colours, and every word of a prompt that means them.

Four are built in: `coco-stuff`, `cityscapes` and `celebamask` as FG-DM paints its maps, and
`ade20k` as public segmentation ControlNets expect it. Any other is a JSON file; see `read_palette`.
"""

from .built_in import BUILT_IN
from .mappings import mapping
from .reading import PaletteSource, read_palette

__all__ = ["BUILT_IN", "PaletteSource", "mapping", "read_palette"]
