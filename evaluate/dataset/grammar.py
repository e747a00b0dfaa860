"""Prompts from templates: "{count} {thing} {relation} a {thing}"."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fgdm.errors import RequestError
from fgdm.files import read_regular

#: What `{count}` becomes; after the second and later ones a thing stands in the plural.
COUNTS = ("a", "two", "three")
#: What `{relation}` becomes: places that the engine reads and checks (docs/compliance.md).
RELATIONS = (
    *("beside", "to the left of", "to the right of", "above", "below", "on", "under"),
    *("in front of", "behind"),
)
#: The slots that need no rule.
SLOTS = ("thing", "background", "count", "relation")
#: The rule that a prompt begins with.
START = "prompt"

_SLOT = re.compile(r"\{([^{}]*)\}")
_DEEPEST = 16


@dataclass(frozen=True)
class Word:
    """A class as prompts name it."""

    singular: str
    plural: str


@dataclass(frozen=True)
class Words:
    """What templates can name: a palette's things and its backgrounds, in its order."""

    things: tuple[Word, ...]
    backgrounds: tuple[Word, ...]

    @classmethod
    def of_palette(cls, palette: Mapping[str, Any] | None, things: Sequence[str] = ()) -> Words:
        """A palette's words. things: the names of those that are drawn; () takes all.

        Raises RequestError without a palette, and for a name that is no thing of it.
        """
        if palette is None:
            raise RequestError(
                "this bundle has no palette whose classes templates could name; give --prompts FILE"
            )
        kinds: dict[str, dict[str, Word]] = {"thing": {}, "background": {}}
        for entry in palette["classes"]:
            kinds[entry.get("kind", "thing")][entry["name"]] = _word(entry)
        known = kinds["thing"]
        unknown = [name for name in things if name not in known]
        if unknown:
            raise RequestError(
                f"{unknown[0]!r} is no thing of this palette, which has {', '.join(known)}"
            )
        chosen = tuple(known[name] for name in things) or tuple(known.values())
        return cls(chosen, tuple(kinds["background"].values()))


@dataclass(frozen=True)
class Grammar:
    """Rules by name, each a list of alternatives, whose slots are rules or one of SLOTS."""

    rules: Mapping[str, tuple[str, ...]]
    words: Words

    def __post_init__(self) -> None:
        """Raises RequestError for slots that don't exist and for rules that never end."""
        if not self.rules.get(START):
            raise RequestError(f"the grammar has no rule {START!r}; give it a list of templates")
        for name, alternatives in self.rules.items():
            if name in SLOTS:
                raise RequestError(f"the grammar's rule {name!r} is a slot of its own; rename it")
            for text in alternatives:
                self._check(text)
        self._check_ends(START, ())

    def expand(self, seed: int) -> str:
        """The prompt of a seed: the same on every machine."""
        return _Expansion(self, random.Random(seed)).text()

    def _check(self, text: str) -> None:
        for slot in _SLOT.findall(text):
            if slot not in self.rules and slot not in SLOTS:
                raise RequestError(
                    f"the template {text!r:.100} has the slot {{{slot}}}; there are "
                    f"{', '.join([*SLOTS, *self.rules])}"
                )
            if slot == "thing" and not self.words.things:
                raise RequestError(f"{text!r:.100} asks for a thing; the palette has none")
            if slot == "background" and not self.words.backgrounds:
                raise RequestError(f"{text!r:.100} asks for a background; the palette has none")
        if "{" in _SLOT.sub("", text) or "}" in _SLOT.sub("", text):
            raise RequestError(f"the template {text!r:.100} has a brace without its other one")

    def _check_ends(self, name: str, within: tuple[str, ...]) -> None:
        if name in within or len(within) > _DEEPEST:
            raise RequestError(
                f"the grammar's rule {name!r} leads back to itself, or lies deeper than {_DEEPEST}"
            )
        for text in self.rules[name]:
            for slot in _SLOT.findall(text):
                if slot in self.rules:
                    self._check_ends(slot, (*within, name))


class _Expansion:
    """One prompt on its way."""

    def __init__(self, grammar: Grammar, drawn: random.Random) -> None:
        self._grammar, self._drawn = grammar, drawn
        self._unused = list(grammar.words.things)
        self._many = False
        self._text = ""

    def text(self) -> str:
        self._rule(START)
        return " ".join(self._text.split())

    def _rule(self, name: str) -> None:
        template = self._drawn.choice(self._grammar.rules[name])
        for i, part in enumerate(_SLOT.split(template)):
            if i % 2 == 0:
                self._text += part
            elif part in self._grammar.rules:
                self._rule(part)
            else:
                self._add(self._slot(part))

    def _slot(self, name: str) -> str:
        if name == "relation":
            return self._drawn.choice(RELATIONS)
        if name == "background":
            return self._drawn.choice(self._grammar.words.backgrounds).singular
        if name == "count":
            count = self._drawn.choice(COUNTS)
            self._many = count != COUNTS[0]
            return count
        if not self._unused:  # all have been named
            self._unused = list(self._grammar.words.things)
        word = self._unused.pop(self._drawn.randrange(len(self._unused)))
        many, self._many = self._many, False
        return word.plural if many else word.singular

    def _add(self, word: str) -> None:
        if word[:1] in "aeiou" and re.search(r"\b[Aa] $", self._text):
            self._text = self._text[:-1] + "n "
        self._text += word


def read_rules(path: Path) -> dict[str, tuple[str, ...]]:
    """A text file's lines as templates, or of a .json file {"prompt": [TEMPLATE, ...], ...}.

    Raises RequestError for a file that can't be read or holds anything else.
    """
    try:
        text = read_regular(path).decode("utf-8")
        if path.suffix != ".json":
            return {START: tuple(line.strip() for line in text.splitlines() if line.strip())}
        content = json.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        raise RequestError(f"can't read the grammar in {path}: {error}") from None
    sound = isinstance(content, dict) and all(
        isinstance(rule, list) and rule and all(isinstance(text, str) for text in rule)
        for rule in content.values()
    )
    if not sound:
        raise RequestError(
            f"{path} must be a JSON object of rules such as "
            '{"prompt": ["{thing} {place}"], "place": ["on the grass", "in the snow"]}'
        )
    return {name: tuple(rule) for name, rule in content.items()}


def _word(entry: Mapping[str, Any]) -> Word:
    """A class by its name and its plural: the forms of a palette are the names, then their plurals.

    One that has no other form, as "sheep", is its own plural.
    """
    names = {entry["name"], *entry.get("synonyms", ())}
    forms = entry.get("forms") or [entry["name"]]
    plurals = [form for form in forms if form not in names]
    return Word(entry["name"], plurals[0] if plurals else entry["name"])
