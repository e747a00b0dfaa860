"""Captions that are nearly right: of a scene's caption one class, one number or one relation is
changed. A dual encoder learns from them and is measured by them."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np

from .classes import CLASSES, INDEX, THINGS
from .shapes import PAINTS, SHAPES

#: The caption with one thing wrong, or None where it says nothing of the kind.
Change = Callable[[str, np.random.Generator], str | None]

_NUMBERS = {"a": 1, "an": 1, "the": 1, "two": 2, "three": 3}
_WORDS = {2: "two", 3: "three"}
_NOUNS = {
    noun: name
    for name in THINGS
    for noun in (name, CLASSES[INDEX[name]].plural, *CLASSES[INDEX[name]].synonyms)
}
_PHRASE = re.compile(
    rf"\b(?P<number>{'|'.join(_NUMBERS)}) (?:(?P<paint>{'|'.join(PAINTS)}) )?"
    rf"(?P<noun>{'|'.join(sorted(_NOUNS, key=len, reverse=True))})\b"
)
_SIDES = {"to the left of": "to the right of", "to the right of": "to the left of"}
_PLACES = {"above": "below", "over": "under", "in front of": "behind"}
_PLACES |= {second: first for first, second in _PLACES.items()}
_JOINERS = (*_SIDES, *_PLACES, "beside", "next to")


def other_class(text: str, rng: np.random.Generator) -> str | None:
    """One thing becomes a thing that the caption doesn't name, as many of them."""
    found = list(_PHRASE.finditer(text))
    if not found:
        return None
    chosen = found[int(rng.integers(len(found)))]
    named = {_NOUNS[one["noun"]] for one in found}
    name = str(rng.choice([thing for thing in THINGS if thing not in named]))
    return _replaced(text, chosen, name, _NUMBERS[chosen["number"]])


def other_count(text: str, rng: np.random.Generator) -> str | None:
    """Of one thing there are one, two or three, whichever is wrong. There is one sun. What stands
    in a relation stays as it is: captions relate single things only, so that "two dogs beside a
    cat" would give itself away."""
    found = [
        one
        for one in _PHRASE.finditer(text)
        if one["noun"] not in ("sun", "sunshine")
        and not text[: one.start()].rstrip().endswith(_JOINERS)
        and not text[one.end() :].lstrip().startswith(_JOINERS)
    ]
    if not found:
        return None
    chosen = found[int(rng.integers(len(found)))]
    own = _NUMBERS[chosen["number"]]
    count = int(rng.choice([other for other in (1, 2, 3) if other != own]))
    return _replaced(text, chosen, _NOUNS[chosen["noun"]], count)


def other_side(text: str, rng: np.random.Generator) -> str | None:
    """Left becomes right, or right left, once."""
    return _swapped(text, _SIDES, rng)


def other_place(text: str, rng: np.random.Generator) -> str | None:
    """Above becomes below, in front behind, or the other way round, once."""
    return _swapped(text, _PLACES, rng)


CHANGES: dict[str, Change] = {
    "class": other_class,
    "count": other_count,
    "side": other_side,
    "place": other_place,
}


def mirrored(text: str) -> str:
    """The caption of the mirrored picture: left is right."""
    return re.sub("|".join(_SIDES), lambda found: _SIDES[found[0]], text)


def _swapped(text: str, opposites: dict[str, str], rng: np.random.Generator) -> str | None:
    """With the opposite of one relation. "Under a blue sky" is none: no thing follows."""
    relation = rf"\b({'|'.join(opposites)})(?= {_PHRASE.pattern})"
    found = list(re.finditer(relation, text))
    if not found:
        return None
    chosen = found[int(rng.integers(len(found)))]
    return text[: chosen.start()] + opposites[chosen[1]] + text[chosen.end() :]


def _replaced(text: str, phrase: re.Match[str], name: str, count: int) -> str:
    """With another thing, or another number of it, in a phrase's place. A colour stays where the
    thing can have one."""
    entry = CLASSES[INDEX[name]]
    same = _NOUNS[phrase["noun"]] == name and (count > 1) == (phrase["noun"] == entry.plural)
    noun = phrase["noun"] if same else entry.plural if count > 1 else entry.name
    paint = f"{phrase['paint']} " if phrase["paint"] and SHAPES[name].paints else ""
    if count > 1:
        number = _WORDS[count]
    elif name == "sun" and not paint:
        number = "the"
    else:
        number = "an" if (paint or noun)[0] in "aeiou" else "a"
    return f"{text[: phrase.start()]}{number} {paint}{noun}{text[phrase.end() :]}"
