"""The palettes and recolouring tables that come with fgdm, as JSON files beside this one."""

from __future__ import annotations

from pathlib import Path

_FOLDER = Path(__file__).parent

#: Built-in palettes by name. Each file's `about` says where its classes and colours come from.
BUILT_IN = {
    "ade20k": _FOLDER / "ade20k.json",
    "celebamask": _FOLDER / "celebamask.json",
    "cityscapes": _FOLDER / "cityscapes.json",
    "coco-stuff": _FOLDER / "coco_stuff.json",
}

#: By two palettes' names: the file that gives the class of the second for each class of the first.
TABLES = {("coco-stuff", "ade20k"): _FOLDER / "coco_stuff_to_ade20k.json"}
