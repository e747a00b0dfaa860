"""The cases of tests/studio/cases.json, and how fgdm.edit answers them.

A case is {"name", "call", "arguments", "expected"}. Maps are lists of rows, one letter a pixel: "."
is class 0, "a" class 1, and so on, "?" is unlabeled; masks are rows of "#" and ".".
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from fgdm import edit

CASES: list[dict[str, Any]] = json.loads(Path(__file__).with_name("cases.json").read_text())
LETTERS = ".abcdefghijklmnopqrstuvwxyz"


def labels(rows: list[str]) -> edit.Labels:
    values = [[edit.UNLABELED if c == "?" else LETTERS.index(c) for c in row] for row in rows]
    return np.array(values, dtype=np.uint8)


def mask(rows: list[str]) -> edit.Mask:
    return np.array([[c == "#" for c in row] for row in rows])


def rows_of(array: edit.Labels | edit.Mask) -> list[str]:
    if array.dtype == np.bool_:
        return ["".join(".#"[int(v)] for v in row) for row in array]
    return ["".join("?" if v == edit.UNLABELED else LETTERS[v] for v in row) for row in array]


def piece(given: dict[str, list[str]]) -> edit.Piece:
    return edit.Piece(labels(given["labels"]), mask(given["mask"]))


def shown(made: edit.Piece) -> dict[str, list[str]]:
    """Under what the mask leaves out there may be anything."""
    return {
        "labels": rows_of(np.where(made.mask, made.labels, 0).astype(np.uint8)),
        "mask": rows_of(made.mask),
    }


def answer(case: dict[str, Any]) -> Any:  # noqa: PLR0911, one line a function
    """What fgdm.edit makes of a case, in the form of its "expected"."""
    call, given = case["call"], dict(case["arguments"])
    for name in ("labels", "source"):
        if name in given:
            given[name] = labels(given[name])
    if "mask" in given:
        given["mask"] = mask(given["mask"])
    if "piece" in given:
        given["piece"] = piece(given["piece"])
    if call == "history":
        return _history(**given)
    if call == "from_picture":
        return rows_of(edit.from_picture(np.array(given.pop("picture"), np.uint8), **given))
    if call == "lift":
        made, x, y = edit.lift(**given)
        return {"piece": shown(made), "x": x, "y": y}
    if call == "polygon_mask":
        return rows_of(edit.polygon_mask((given["height"], given["width"]), given["points"]))
    made = getattr(edit, call)(**given)
    if isinstance(made, edit.Piece):
        return shown(made)
    if isinstance(made, edit.Recall):
        return {**made._asdict()}
    if isinstance(made, tuple):
        return list(made)
    if isinstance(made, list):
        return [rows_of(entry) for entry in made]
    return rows_of(made)


def _history(labels: edit.Labels, strokes: list[Any], most_bytes: int, then: str) -> Any:
    """Draws dots, then undoes and redoes: what is there in the end, what could still be done."""
    history = edit.History(most_bytes)
    for x, y, radius, label in strokes:
        drawn = edit.stroke(labels, [(x, y)], radius, label)
        history.record(labels, drawn)
        labels = drawn
    did = [history.undo(labels) if step == "u" else history.redo(labels) for step in then]
    return {
        "labels": rows_of(labels),
        "did": did,
        "bytes": history.bytes,
        "can_undo": history.can_undo,
        "can_redo": history.can_redo,
    }
