"""What an evaluation compares: settings, each a name and the options of a request."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fgdm.errors import RequestError
from fgdm.request import checked

#: What a run decides for every prompt.
_OF_THE_RUN = ("seed", "objects", "priority", "deadline")


@dataclass(frozen=True)
class Setting:
    """A name for tables, and arguments of ``Engine.generate`` that JSON can hold."""

    name: str
    options: Mapping[str, Any]

    def __post_init__(self) -> None:
        if not self.name:
            raise RequestError("a setting has no name; give it one, such as cfg={...}")
        taken = [name for name in _OF_THE_RUN if name in self.options]
        if taken:
            raise RequestError(
                f"setting {self.name!r} says {taken[0]}, which a run decides for every prompt; "
                "leave it out"
            )
        try:
            checked(self.options)
        except TypeError as error:
            raise RequestError(f"setting {self.name!r}: {error}") from None


def setting_from_text(text: str) -> tuple[str, dict[str, Any]]:
    """``cfg={"guidance": "cfg"}``: a name, and a JSON object of options. ValueError otherwise."""
    name, _, value = text.partition("=")
    options = _parsed(value)
    if not name or not isinstance(options, dict):
        raise ValueError(f'{text!r:.200} isn\'t NAME=OBJECT, e.g. \'cfg={{"guidance": "cfg"}}\'')
    return name, options


def option_from_text(text: str) -> tuple[str, Any]:
    """``stop_at_recall=0``: an option and its value, JSON or plain text. ValueError otherwise."""
    name, separator, value = text.partition("=")
    if not name or not separator:
        raise ValueError(f"{text!r:.200} isn't OPTION=VALUE, e.g. stop_at_recall=0")
    return name, _value(value)


def sweep_from_text(text: str) -> tuple[str, list[Any]]:
    """``segfree_scale=0,5,10``: an option and the values it takes. ValueError otherwise."""
    name, separator, values = text.partition("=")
    if not name or not separator or not values:
        raise ValueError(f"{text!r:.200} isn't OPTION=VALUE,VALUE, e.g. segfree_scale=0,5,10")
    return name, [_value(value) for value in values.split(",")]


def make_settings(
    named: Sequence[tuple[str, Mapping[str, Any]]],
    sweeps: Sequence[tuple[str, Sequence[Any]]],
    common: Mapping[str, Any],
) -> list[Setting]:
    """The settings of a run, each over the common options.

    named: as they are. sweeps: one setting for each combination of their values, after the named
    ones (segmentation-free guidance, section 5.1, varies a, its start and w like this). Without
    either there is one, "defaults". The first is the one that the others are compared with.

    Raises RequestError for two of one name.
    """
    settings = [Setting(name, {**common, **options}) for name, options in named]
    if sweeps:
        names = [name for name, _ in sweeps]
        for values in itertools.product(*(values for _, values in sweeps)):
            varied = dict(zip(names, values, strict=True))
            name = ", ".join(f"{option}={_shown(value)}" for option, value in varied.items())
            settings.append(Setting(name, {**common, **varied}))
    if not settings:
        settings.append(Setting("defaults", dict(common)))
    seen: set[str] = set()
    for setting in settings:
        if setting.name in seen:
            raise RequestError(f"two settings are called {setting.name!r}; name one differently")
        seen.add(setting.name)
    return settings


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _value(text: str) -> Any:
    """JSON, or the text itself: names of samplers need no quotes."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _shown(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
