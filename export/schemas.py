"""The JSON schemas of what is written: they say what may be in it, and nothing else here does."""

from __future__ import annotations

import json
from functools import cache
from importlib import resources
from typing import Any, Literal

from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match
from jsonschema.validators import extend

from .errors import ExportError

#: A bundle's manifest.json, and the .json beside a plan.
Form = Literal["manifest", "plan"]

Json = dict[str, Any]

#: For readers, as for us, 1.0 is no whole number.
_Validator: type[Draft202012Validator] = extend(  # type: ignore[no-untyped-call]
    Draft202012Validator,
    type_checker=Draft202012Validator.TYPE_CHECKER.redefine(
        "integer", lambda _, value: type(value) is int
    ),
)


def check_form(form: Form, document: Json) -> None:
    """Raises ExportError, which names the field, unless a document is what its readers take."""
    error = best_match(_validator(form).iter_errors(document))
    if error is not None:
        raise ExportError(
            f"the {form} can't be written, because no engine would take it: "
            f"{error.json_path.removeprefix('$.')}: {error.message:.200}"
        )


def choices(part: str, key: str | None = None) -> tuple[str, ...]:
    """The names that a part of the manifest's schema, or a field of it, may have."""
    return tuple(name for name in _described(part, key)["enum"] if name is not None)


def check_value(part: str, key: str, value: object, owner: object) -> None:
    """Raises ExportError unless a field of the manifest may have this value.

    part: of the schema, such as "factor". owner: who has the value, for the message.
    """
    described = _described(part, key)
    if _validator("manifest").evolve(schema=described).is_valid(value):
        return
    if "enum" in described:
        expected = f"one of {', '.join(choices(part, key))}"
    elif "maximum" in described:
        whole = "a whole number from " if "integer" in described["type"] else ""
        expected = f"{whole}{described['minimum']} to {described['maximum']}"
    else:
        expected = "text without control characters or line breaks"
    raise ExportError(f"{owner}: {key} is {value!r}; expected {expected}")


def _described(part: str, key: str | None) -> Json:
    found: Json = _schema("manifest")["$defs"][part]
    return found if key is None else dict(found["properties"][key])


@cache
def _schema(form: Form) -> Json:
    file = resources.files("fgdm") / f"{form}.schema.json"
    content: Json = json.loads(file.read_text(encoding="utf-8"))
    return content


@cache
def _validator(form: Form) -> Draft202012Validator:
    return _Validator(_schema(form))
