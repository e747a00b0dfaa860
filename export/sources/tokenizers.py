"""Finds CLIP's tokenizer in a source, in the files that a bundle takes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import ExportError
from .assemble import listed
from .places import Source, locate
from .tensors import read_json

_VOCABULARY, _MERGES = "vocab.json", "merges.txt"
_SETTINGS = ("tokenizer_config.json", "special_tokens_map.json")
#: All there is to a tokenizer in one file, which transformers 5 saves alone.
_COMBINED = "tokenizer.json"
#: Words added after training, such as by textual inversion.
_ADDED = "added_tokens.json"
TOKENIZER_FILES = (_VOCABULARY, _MERGES, *_SETTINGS, _COMBINED, _ADDED)


@dataclass(frozen=True)
class Tokenizer:
    """CLIP's byte-pair tokenizer: the text of its files by name."""

    files: Mapping[str, str]

    @property
    def largest_id(self) -> int:
        """The largest token id that the tokenizer gives out."""
        return max(map(int, json.loads(self.files[_VOCABULARY]).values()))

    def save(self, folder: Path) -> None:
        """Write the files into a new folder."""
        folder.mkdir()
        for name, text in self.files.items():
            (folder / name).write_text(text, encoding="utf-8")


def load_tokenizer(source: Source) -> Tokenizer:
    """Read the tokenizer in a folder or repository, or in the folder ``tokenizer`` inside it.

    Raises:
        ExportError: there is none, or it isn't one of CLIP's kind.
    """
    files = [f"{folder}{name}" for folder in ("", "tokenizer/") for name in TOKENIZER_FILES]
    root = locate(source, "the tokenizer", files=files)
    for folder in (root, root / "tokenizer"):
        if (folder / _VOCABULARY).is_file() and (folder / _MERGES).is_file():
            return _read(folder, {})
        if (folder / _COMBINED).is_file():
            return _read(folder, _split(folder / _COMBINED))
    raise ExportError(
        f"{root} has no tokenizer; expected {_VOCABULARY} and {_MERGES}, or {_COMBINED}, of CLIP. "
        "Give one with --tokenizer FOLDER_OR_ID"
    )


def _read(folder: Path, files: dict[str, str]) -> Tokenizer:
    try:
        for name in (_VOCABULARY, _MERGES, *_SETTINGS):
            if name not in files and (folder / name).is_file():
                files[name] = (folder / name).read_text(encoding="utf-8")
        tokenizer = Tokenizer(files)
        known = json.loads(files[_VOCABULARY])
        _ = tokenizer.largest_id
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise ExportError(f"{folder} has an unreadable tokenizer: {error}") from error
    if (folder / _ADDED).is_file():
        _refuse_added([token for token in read_json(folder / _ADDED) if token not in known], folder)
    return tokenizer


def _refuse_added(tokens: list[str], folder: Path) -> None:
    if tokens:
        raise ExportError(
            f"{folder} adds tokens to CLIP's vocabulary ({listed(tokens)}), which bundles don't "
            "support; give the original tokenizer with --tokenizer"
        )


def _split(path: Path) -> dict[str, str]:
    """The vocabulary and the merges of a tokenizer in one file."""
    content = read_json(path)
    model: Any = content.get("model")
    is_clip = (
        isinstance(model, dict)
        and model.get("type", "BPE") == "BPE"
        and model.get("end_of_word_suffix") == "</w>"
    )
    if not is_clip:
        raise ExportError(
            f"{path} isn't CLIP's tokenizer; expected byte pairs whose words end in </w>"
        )
    try:
        vocabulary: dict[str, int] = dict(model["vocab"])
        added = [token for token in content.get("added_tokens") or () if token.get("content")]
        vocabulary |= {token["content"]: token["id"] for token in added if token.get("special")}
        # Older files join the two halves of a merge by a space.
        pairs = [pair.split(" ") if isinstance(pair, str) else pair for pair in model["merges"]]
        lines = ["#version: 0.2", *(f"{left} {right}" for left, right in pairs)]
    except (TypeError, KeyError, ValueError) as error:
        raise ExportError(f"{path} is malformed: {error!r}") from error
    _refuse_added([t["content"] for t in added if t["content"] not in vocabulary], path.parent)
    ordered = dict(sorted(vocabulary.items(), key=lambda entry: entry[1]))
    return {
        _VOCABULARY: json.dumps(ordered, ensure_ascii=False),
        _MERGES: "\n".join(lines) + "\n",
    }
