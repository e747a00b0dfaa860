"""What a command line forbids is forbidden, or the command doesn't begin."""

from __future__ import annotations

import argparse
from typing import Any

import pytest
from fgdm.cli.arguments import filters


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("person", ["person"]),
        ("person, bus,", ["person", "bus"]),
        ('["person"]', ["person"]),
        (' [{"classes": ["a", "b"], "min_area": 0.1}]', [{"classes": ["a", "b"], "min_area": 0.1}]),
    ],
)
def test_filters(text: str, expected: list[Any]) -> None:
    assert filters(text) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "names no class"),
        (" , ", "names no class"),
        ("[]", "names no class"),
        ("[1", "isn't a JSON list"),
        ('{"classes": ["person"]}', "isn't a JSON list"),
        ('[{"classes": ["person"], "classes": ["bus"]}]', "says something twice"),
    ],
)
def test_what_would_forbid_nothing_or_something_else(text: str, words: str) -> None:
    """Such as ``--forbid "$UNSET"``."""
    with pytest.raises(argparse.ArgumentTypeError, match=words):
        filters(text)
