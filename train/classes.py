"""The classes of the procedural world: what a scene may hold and how a map colours it.

Palette colours are corners of the 3-level cube {0, 128, 255}³, so any two lie at least 127 apart
(L∞), and every thing differs in two channels from the grounds it usually stands on.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class WorldClass:
    """One class: name, plural, palette colour (RGB, 0..255), words that also mean it."""

    name: str
    plural: str
    color: tuple[int, int, int]
    thing: bool
    synonyms: tuple[str, ...] = ()


def _thing(name: str, plural: str, color: tuple[int, int, int], *synonyms: str) -> WorldClass:
    return WorldClass(name, plural, color, True, synonyms)


def _background(name: str, color: tuple[int, int, int], *synonyms: str) -> WorldClass:
    return WorldClass(name, name, color, False, synonyms)


CLASSES: tuple[WorldClass, ...] = (
    _thing("person", "people", (255, 0, 0), "man", "woman", "child", "human"),
    _thing("dog", "dogs", (128, 0, 0), "puppy"),
    _thing("cat", "cats", (255, 0, 255), "kitten"),
    _thing("bird", "birds", (255, 128, 128), "seagull"),
    _thing("car", "cars", (255, 128, 0), "automobile"),
    _thing("bus", "buses", (128, 0, 255), "coach"),
    _thing("boat", "boats", (255, 128, 255), "ship", "sailboat"),
    _thing("house", "houses", (128, 0, 128), "home", "cottage"),
    _thing("tree", "trees", (0, 128, 255), "oak"),
    _thing("bench", "benches", (255, 0, 128), "park bench"),
    _thing("ball", "balls", (0, 0, 255), "beach ball"),
    _thing("umbrella", "umbrellas", (128, 255, 0), "parasol"),
    _thing("kite", "kites", (0, 255, 0)),
    _thing("sun", "suns", (255, 255, 0), "sunshine"),
    _thing("cloud", "clouds", (0, 128, 128)),
    _thing("flower", "flowers", (128, 128, 255), "tulip", "rose"),
    _background("sky", (128, 255, 255)),
    _background("grass", (0, 128, 0), "lawn", "meadow"),
    _background("sand", (255, 255, 128), "beach"),
    _background("sea", (0, 0, 128), "ocean", "water"),
    _background("road", (128, 128, 128), "street"),
    _background("mountain", (128, 128, 0), "hill"),
    _background("snow", (255, 255, 255)),
)

#: Just under half the distance of the nearest two colours: no pixel is near to both.
TOLERANCE = 63

INDEX: dict[str, int] = {entry.name: i for i, entry in enumerate(CLASSES)}
THINGS: tuple[str, ...] = tuple(entry.name for entry in CLASSES if entry.thing)
BACKGROUNDS: tuple[str, ...] = tuple(entry.name for entry in CLASSES if not entry.thing)


def palette_json() -> dict[str, object]:
    """The palette as a bundle stores it (``palette.json``)."""
    return {
        "name": "scenes",
        "tolerance": TOLERANCE,
        "classes": [
            {
                "index": i,
                "name": entry.name,
                "color": list(entry.color),
                "kind": "thing" if entry.thing else "background",
                "synonyms": list(entry.synonyms),
            }
            for i, entry in enumerate(CLASSES)
        ],
    }
