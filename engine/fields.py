"""Typed reading of parsed JSON: every accessor names the place in its error."""

from __future__ import annotations

import json
import re
from typing import NoReturn

from fgdm.errors import BundleError

JsonObject = dict[str, object]

#: How deep brackets may be nested, here and in the core; nothing of ours has ten.
DEEPEST = 64

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_STRING = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"?', re.DOTALL)
_NOT_BRACKETS = re.compile(r"[^][{}]+")


def parse_object(content: bytes, source: str) -> JsonObject:
    """One JSON object from UTF-8 bytes; anything else, or a key twice, is a BundleError.

    A byte order mark, zero bytes, brackets nested deeper than DEEPEST and halves of surrogate pairs
    are refused as the core refuses them.
    """
    try:
        text = content.decode("utf-8")
        _check_text(text)
        value: object = json.loads(
            text, object_pairs_hook=_no_duplicates, parse_constant=_no_constant
        )
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except ValueError as error:
        raise BundleError(
            f"{source} isn't valid JSON ({error!s:.200}); export the bundle again"
        ) from None
    if not isinstance(value, dict):
        raise BundleError(
            f"{source} must hold a JSON object, got {_kind(value)}; export the bundle again"
        )
    return value


def is_plain(text: str) -> bool:
    """Whether a text has no control characters, line breaks or changes of direction.

    Terminals would follow those in place of showing them; the core has the same rule.
    """
    return _CONTROL.search(text) is None


class Fields:
    """A JSON object (`value`) and where it stands; its accessors raise BundleError."""

    def __init__(self, value: object, place: str) -> None:
        self.place = place
        if not isinstance(value, dict):
            self._fail(f"must be an object, got {_kind(value)}")
        self.value: JsonObject = value

    def names(self) -> list[str]:
        """The object's keys, each one printable text."""
        for key in self.value:
            if not key or not is_plain(key):
                self._fail(f"has the key {key!a:.60}, which isn't printable text")
        return list(self.value)

    def text(self, key: str) -> str:
        """A text that can be shown as it is (is_plain)."""
        value = self._get(key)
        if not isinstance(value, str) or not is_plain(value):
            self._fail(f"{key} must be printable text, got {_kind(value)}")
        return value

    def choice(self, key: str, allowed: tuple[str, ...]) -> str:
        """One of the allowed texts."""
        value = self.text(key)
        if value not in allowed:
            expected = f"{', '.join(allowed[:-1])} or {allowed[-1]}"
            self._fail(f"{key} must be {expected}, got {value!a:.60}")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """An array of texts that can be shown as they are."""
        values = self.items(key)
        for value in values:
            if not isinstance(value, str) or not is_plain(value):
                self._fail(f"{key} must list printable texts, got {_kind(value)}")
        return tuple(str(value) for value in values)

    def whole(self, key: str, low: int, high: int) -> int:
        """A whole number from `low` to `high`."""
        value = self._get(key)
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            self._fail(f"{key} must be a whole number from {low} to {high}, got {_kind(value)}")
        return value

    def number(self, key: str) -> float:
        """A finite number."""
        value = self._get(key)
        if not isinstance(value, (int, float)) or isinstance(value, bool) or abs(value) > 1e300:
            self._fail(f"{key} must be a finite number, got {_kind(value)}")
        return float(value)

    def items(self, key: str) -> list[object]:
        """An array."""
        value = self._get(key)
        if not isinstance(value, list):
            self._fail(f"{key} must be an array, got {_kind(value)}")
        return value

    def fields(self, key: str) -> Fields:
        """An object."""
        return Fields(self._get(key), f"{self.place}, {key}")

    def _get(self, key: str) -> object:
        if key not in self.value:
            self._fail(f"lacks {key}")
        return self.value[key]

    def _fail(self, problem: str) -> NoReturn:
        raise BundleError(f"{self.place}: {problem}; export the bundle again")


def _check_text(text: str) -> None:
    if text.startswith("\ufeff"):
        raise ValueError("it begins with a byte order mark; save it as UTF-8 without one")
    if "\0" in text:
        raise ValueError(f"it has a zero byte at character {text.index(chr(0))}")
    depth = 0
    for bracket in _NOT_BRACKETS.sub("", _STRING.sub("", text)):
        depth += 1 if bracket in "[{" else -1
        if depth > DEEPEST:
            raise ValueError(f"its brackets are nested deeper than {DEEPEST}")


def _no_duplicates(pairs: list[tuple[str, object]]) -> JsonObject:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("an object has the same key twice")
    return value


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} isn't a JSON number")


def _kind(value: object) -> str:
    """A JSON value in a few words, safe to print."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, int):
        return str(value) if value.bit_length() <= 64 else "a huge number"
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "an array"
    return f"{value!a:.60}"
