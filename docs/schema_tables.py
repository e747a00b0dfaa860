"""Writes the tables of docs/bundles.md from the schemas: python -m docs.schema_tables

`python -m docs.schema_tables --check` writes nothing, and fails where the page is out of date.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "bundles.md"

#: Definitions that have no table, as words.
_PLAIN = {"text": "text", "key": "text", "path": "path", "spacing": "spacing", "digest": "SHA-256"}

Json = dict[str, Any]


def updated(page: str) -> str:
    """The page with the tables of the schemas as they are between its marks."""
    for name in ("manifest", "plan", "context"):
        begin, end = f"<!-- {name}.schema.json -->\n", f"<!-- end of {name}.schema.json -->\n"
        before, _, rest = page.partition(begin)
        _, _, after = rest.partition(end)
        text = (ROOT / "engine" / f"{name}.schema.json").read_text(encoding="utf-8")
        tables = "\n".join(_tables(json.loads(text)))
        page = f"{before}{begin}{tables}\n{end}{after}"
    return page


def _tables(schema: Json) -> Iterator[str]:
    yield f"\n{schema['description']}\n"
    for name, part in {"": schema, **schema["$defs"]}.items():
        if "properties" not in part:
            continue
        if name:
            about = f"{part['description']}\n" if "description" in part else ""
            yield f"\n### {_title(name)}\n" + (about and "\n" + about)
        yield "| field | value | default | |\n|---|---|---|---|"
        for key, field in part["properties"].items():
            yield _row(key, field, key in part.get("required", ()))
    yield "\nRules that no schema can express:\n"
    yield "\n".join(f"- {rule}" for rule in schema["x-rules"])


def _row(key: str, field: Json, required: bool) -> str:
    default = "required" if required else _shown(field["default"]) if "default" in field else ""
    informative = " *No engine needs it.*" if "x-informative" in field else ""
    return f"| `{key}` | {_value(field)} | {default} | {field['description']}{informative} |"


def _value(field: Json) -> str:
    """What may stand there, in a few words."""
    if "$ref" in field:
        return _named(field["$ref"])
    if "enum" in field or "const" in field:
        names = field["enum"] if "enum" in field else [field["const"]]
        return ", ".join(_shown(value) for value in names if value is not None)
    if "anyOf" in field:
        return " or ".join(_value(item) for item in field["anyOf"] if item != {"type": "null"})
    kind = field["type"] if isinstance(field["type"], str) else field["type"][0]
    if kind == "array":
        return f"list of: {_value(field['items'])}"
    return _object(field) if kind == "object" else _kind(kind) + _range(field)


def _object(field: Json) -> str:
    if "additionalProperties" in field:
        return f"object of: {_value(field['additionalProperties'])}"
    return "object with " + ", ".join(f"`{key}`" for key in field["properties"])


def _kind(kind: str) -> str:
    return {"integer": "whole number", "boolean": "true or false", "string": "text"}.get(kind, kind)


def _range(field: Json) -> str:
    low, high = field.get("minimum"), field.get("maximum")
    above, below = field.get("exclusiveMinimum"), field.get("exclusiveMaximum")
    if low is not None and high is not None:
        return f" from {low} to {high}"
    if low is not None:
        return f" from {low}"
    if above is not None:
        return f" above {above}, " + (f"up to {high}" if below is None else f"below {below}")
    return ""


def _named(reference: str) -> str:
    name = reference.rsplit("/", 1)[1]
    if name in _PLAIN:
        return _PLAIN[name]
    return f"[{_title(name).lower()}](#{_title(name).lower().replace(' ', '-')})"


def _title(name: str) -> str:
    return name.replace("_", " ").capitalize()


def _shown(value: object) -> str:
    return f"`{json.dumps(value)}`"


def main() -> int:
    """Updates the page, or says that it is out of date."""
    page = PAGE.read_text(encoding="utf-8")
    new = updated(page)
    if "--check" not in sys.argv:
        PAGE.write_text(new, encoding="utf-8")
        return 0
    if new != page:
        print(f"{PAGE} is out of date: python -m docs.schema_tables", file=sys.stderr)
    return int(new != page)


if __name__ == "__main__":
    sys.exit(main())
