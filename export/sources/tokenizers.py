"""CLIP's tokenizer: read from a source as transformers reads it, written in one plain form."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from transformers import CLIPTokenizer

from ..errors import ExportError
from .places import Source, locate
from .tensors import read_json

_VOCABULARY, _MERGES = "vocab.json", "merges.txt"
_CONFIG, _SPECIAL = "tokenizer_config.json", "special_tokens_map.json"
#: All there is to a tokenizer in one file, which transformers 5 saves alone.
_COMBINED = "tokenizer.json"
#: Words added after training, such as by textual inversion, as old versions saved them.
_ADDED = "added_tokens.json"
TOKENIZER_FILES = (_VOCABULARY, _MERGES, _CONFIG, _SPECIAL, _COMBINED, _ADDED)

_NAMED = ("bos_token", "eos_token", "unk_token", "pad_token")
#: What transformers says of a tokenizer whose texts may have any length.
_NO_LENGTH = 1 << 30


@dataclass(frozen=True)
class AddedToken:
    """A word that is a token as it stands, looked for before a text is cut into byte pairs.

    lstrip, rstrip: white space before or after it belongs to it. normalized: it is looked for in
    the lower-cased text. single_word, special: as transformers has them.
    """

    content: str
    lstrip: bool = False
    rstrip: bool = False
    single_word: bool = False
    normalized: bool = True
    special: bool = False


@dataclass(frozen=True)
class Tokenizer:
    """CLIP's byte-pair tokenizer.

    vocabulary: id by token. merges: pairs of tokens by priority. named: the beginning, end, unknown
    and padding token. added: by id; the named ones are among them. max_length: tokens of a prompt
    with the first and the last, where the files say so.
    """

    vocabulary: Mapping[str, int]
    merges: Sequence[tuple[str, str]]
    named: Mapping[str, str]
    added: Mapping[int, AddedToken]
    max_length: int | None = None

    @property
    def largest_id(self) -> int:
        """The largest token id that the tokenizer gives out."""
        return max(*self.vocabulary.values(), *self.added)

    def knows(self, token: str) -> bool:
        """Whether `token` is one token already."""
        return token in self.vocabulary or any(token == t.content for t in self.added.values())

    def with_words(self, words: Sequence[str]) -> Tokenizer:
        """A tokenizer in which these words are tokens too, with the next ids in order."""
        first = self.largest_id + 1
        new = {first + i: AddedToken(word) for i, word in enumerate(words)}
        return replace(self, added={**self.added, **new})

    def save(self, folder: Path) -> None:
        """Write a new folder in the form that transformers 4 and 5 and the engine read."""
        config = {
            "tokenizer_class": "CLIPTokenizer",
            **self.named,
            "do_lower_case": True,
            "errors": "replace",
            "added_tokens_decoder": {str(i): asdict(t) for i, t in sorted(self.added.items())},
            **({} if self.max_length is None else {"model_max_length": self.max_length}),
        }
        vocabulary = dict(sorted(self.vocabulary.items(), key=lambda entry: entry[1]))
        lines = ["#version: 0.2", *(f"{left} {right}" for left, right in self.merges)]
        folder.mkdir()
        for name, text in (
            (_VOCABULARY, json.dumps(vocabulary, ensure_ascii=False)),
            (_MERGES, "\n".join(lines)),
            (_CONFIG, json.dumps(config, ensure_ascii=False, indent=2)),
            (_SPECIAL, json.dumps(dict(self.named), ensure_ascii=False, indent=2)),
        ):
            (folder / name).write_text(text + "\n", encoding="utf-8")


def load_tokenizer(source: Source) -> Tokenizer:
    """Read the tokenizer in a folder or repository, or in the folder ``tokenizer`` inside it.

    transformers reads it, so that its rules say which of the files counts, and which tokens are
    looked for in a text.

    Raises:
        ExportError: there is none, it isn't one of CLIP's kind, or the engine can't do what it asks
            for.
    """
    files = [f"{folder}{name}" for folder in ("", "tokenizer/") for name in TOKENIZER_FILES]
    root = locate(source, "the tokenizer", files=files)
    for folder in (root, root / "tokenizer"):
        if (folder / _COMBINED).is_file():
            _check_combined(folder / _COMBINED)
            return _read(folder)
        if (folder / _VOCABULARY).is_file() and (folder / _MERGES).is_file():
            return _read(folder)
    raise ExportError(
        f"{root} has no tokenizer; expected {_VOCABULARY} and {_MERGES}, or {_COMBINED}, of CLIP. "
        "Give one with --tokenizer FOLDER_OR_ID"
    )


def _check_combined(path: Path) -> None:
    model = read_json(path).get("model")
    is_clip = (
        isinstance(model, dict)
        and model.get("type", "BPE") == "BPE"
        and model.get("end_of_word_suffix") == "</w>"
    )
    if not is_clip:
        raise ExportError(
            f"{path} isn't CLIP's tokenizer; expected byte pairs whose words end in </w>"
        )


def _read(folder: Path) -> Tokenizer:
    try:
        loaded = _load(folder)
        backend = loaded.backend_tokenizer
        vocabulary: dict[str, int] = backend.get_vocab(with_added_tokens=False)
        model = json.loads(backend.to_str())["model"]
        added = {
            number: AddedToken(
                token.content,
                token.lstrip,
                token.rstrip,
                token.single_word,
                token.normalized,
                token.special,
            )
            for number, token in loaded.added_tokens_decoder.items()
        }
    except ExportError:
        raise
    except Exception as error:  # The Rust side of tokenizers raises a bare Exception.
        raise ExportError(
            f"{folder} has an unreadable tokenizer: {error}. Give another with --tokenizer"
        ) from error
    if not any(token.endswith("</w>") for token in vocabulary):
        raise ExportError(
            f"{folder} isn't CLIP's tokenizer; expected byte pairs whose words end in </w>"
        )
    _check_supported(folder, loaded, added)
    length = int(loaded.model_max_length)
    return Tokenizer(
        vocabulary,
        # Older files join the two halves of a merge by a space.
        [tuple(m.split(" ") if isinstance(m, str) else m) for m in model["merges"]],
        {name: str(getattr(loaded, name)) for name in _NAMED},
        added,
        length if length < _NO_LENGTH else None,
    )


def _load(folder: Path) -> CLIPTokenizer:
    """transformers' tokenizer of the files, without what version 5 stumbles over and 4 ignores."""
    with tempfile.TemporaryDirectory(prefix="fgdm-tokenizer-") as scratch:
        for name in TOKENIZER_FILES:
            if not (folder / name).is_file():
                continue
            text = (folder / name).read_text(encoding="utf-8")
            if name == _MERGES:
                text = "".join(f"{line}\n" for line in text.splitlines() if line.strip())
            (Path(scratch) / name).write_text(text, encoding="utf-8")
        return CLIPTokenizer.from_pretrained(scratch)


def _check_supported(folder: Path, loaded: CLIPTokenizer, added: Mapping[int, AddedToken]) -> None:
    for side in ("padding_side", "truncation_side"):
        if getattr(loaded, side) != "right":
            raise ExportError(
                f"the tokenizer {folder} has the {side} {getattr(loaded, side)!r}; supported is "
                "'right', as Stable Diffusion 1.x was trained: segmentation-free guidance needs to "
                "know where a prompt begins. Give another with --tokenizer"
            )
    for token in added.values():
        if token.single_word:
            raise ExportError(
                f"the tokenizer {folder} looks for {token.content!r} as a single word, which is "
                "not supported; set its single_word to false, or give another with --tokenizer"
            )
