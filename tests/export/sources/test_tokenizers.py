"""Tokenizers in the files that old and new versions of transformers write, and what export makes of
them: whatever it accepts, the engine reads as transformers reads the original."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fgdm.export.errors import ExportError
from fgdm.export.sources import load_tokenizer
from transformers import CLIPTokenizer

from tests.tiny_models import MAX_LENGTH, TinyCheckpoint

_core = pytest.importorskip("fgdm._core", reason="the compiled core isn't built")

TEXTS = [
    "two dogs beside a park bench",
    "it isn't a small meadow; 2 puppies!",
    "zzz ünïcode",
    "a <my-cat> on the <My-Dog>, <MY-CAT>  <pad>dog<|endoftext|>",
]
CONFIG, SPECIAL = "tokenizer_config.json", "special_tokens_map.json"


@pytest.fixture
def folder(tiny_checkpoint: TinyCheckpoint, tmp_path: Path) -> Path:
    shutil.copytree(tiny_checkpoint.base / "tokenizer", tmp_path / "own")
    return tmp_path / "own"


def edit(path: Path, **changes: Any) -> None:
    content = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**content, **changes}))


def size(folder: Path) -> int:
    return len(json.loads((folder / "vocab.json").read_text()))


def ids(tokenizer: CLIPTokenizer) -> list[list[int]]:
    """As diffusers' pipelines ask for them."""
    padded = {"padding": "max_length", "max_length": MAX_LENGTH, "truncation": True}
    return [tokenizer(text, **padded).input_ids for text in TEXTS]


def assert_read_alike(folder: Path, tmp_path: Path) -> None:
    """The original by transformers, what export writes by transformers, and that by the engine."""
    expected = ids(CLIPTokenizer.from_pretrained(folder))
    load_tokenizer(folder).save(tmp_path / "saved")
    assert ids(CLIPTokenizer.from_pretrained(tmp_path / "saved")) == expected
    engine = _core.Tokenizer(str(tmp_path / "saved"), MAX_LENGTH)
    assert [list(engine.encode(text)) for text in TEXTS] == expected


def added(content: str, **flags: bool) -> dict[str, Any]:
    """As tokenizer_config.json has it."""
    off = dict.fromkeys(("lstrip", "rstrip", "single_word", "normalized", "special"), False)
    return {"content": content, **off, **flags}


def by_added_tokens_decoder(folder: Path) -> None:
    tokens = ("<|startoftext|>", "<|endoftext|>", "<my-cat>", "<My-Dog>")
    first = size(folder) - 2
    decoder = {str(first + i): added(token) for i, token in enumerate(tokens)}
    edit(folder / CONFIG, added_tokens_decoder=decoder)


def by_old_files(folder: Path) -> None:
    first = size(folder)
    (folder / "added_tokens.json").write_text(
        json.dumps({"<my-cat>": first, "<My-Dog>": first + 1})
    )


def by_special_tokens(folder: Path) -> None:
    edit(folder / SPECIAL, additional_special_tokens=["<my-cat>", "<|endoftext|>"])


def by_extra_special_tokens(folder: Path) -> None:
    edit(folder / CONFIG, extra_special_tokens=["<my-cat>"])


def by_the_library(folder: Path) -> None:
    tokenizer = CLIPTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(["<my-cat>", "<My-Dog>"])
    tokenizer.add_tokens("<pad>", special_tokens=True)
    shutil.rmtree(folder)
    tokenizer.save_pretrained(folder)
    assert not (folder / "vocab.json").exists(), "version 5 writes one file"


def another_padding(folder: Path) -> None:
    edit(folder / CONFIG, pad_token="!")
    edit(folder / SPECIAL, pad_token="!")


WAYS: list[Callable[[Path], None]] = [
    lambda folder: None,
    by_added_tokens_decoder,
    by_old_files,
    by_special_tokens,
    by_extra_special_tokens,
    by_the_library,
    another_padding,
]


@pytest.mark.parametrize("change", WAYS)
def test_every_reader_gives_the_ids_of_transformers(
    folder: Path, tmp_path: Path, change: Callable[[Path], None]
) -> None:
    change(folder)
    assert_read_alike(folder, tmp_path)


def test_blank_lines_after_the_merges(folder: Path, tmp_path: Path) -> None:
    """transformers 4 leaves them out; version 5 doesn't open such a file at all."""
    expected = ids(CLIPTokenizer.from_pretrained(folder))
    path = folder / "merges.txt"
    path.write_text(path.read_text() + "\n\n")
    load_tokenizer(folder).save(tmp_path / "saved")
    assert ids(CLIPTokenizer.from_pretrained(tmp_path / "saved")) == expected


def test_a_folder_around_the_tokenizer_will_do(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    shutil.copytree(folder, tmp_path / "base/tokenizer")
    assert load_tokenizer(tmp_path / "base") == load_tokenizer(folder)


@pytest.mark.parametrize("joined", [False, True])
def test_the_one_file_of_new_versions(folder: Path, tmp_path: Path, joined: bool) -> None:
    """joined: merges as one text each, as older versions of the format have them."""
    CLIPTokenizer.from_pretrained(folder).save_pretrained(tmp_path / "new")
    path = tmp_path / "new/tokenizer.json"
    assert not (tmp_path / "new/vocab.json").exists()
    if joined:
        content = json.loads(path.read_text())
        content["model"]["merges"] = [" ".join(pair) for pair in content["model"]["merges"]]
        path.write_text(json.dumps(content))
    assert load_tokenizer(tmp_path / "new") == load_tokenizer(folder)


def test_the_largest_id_is_an_added_word_s(folder: Path) -> None:
    assert load_tokenizer(folder).largest_id == size(folder) - 1
    by_old_files(folder)
    assert load_tokenizer(folder).largest_id == size(folder) + 1


@pytest.mark.parametrize(("length", "expected"), [(16, 16), (None, None)])
def test_the_length_of_a_prompt(folder: Path, length: int | None, expected: int | None) -> None:
    edit(folder / CONFIG, model_max_length=length or int(1e30))
    assert load_tokenizer(folder).max_length == expected


@pytest.mark.parametrize(
    ("file", "changes", "message"),
    [
        (CONFIG, {"padding_side": "left"}, "has the padding_side 'left'; supported is 'right'"),
        (CONFIG, {"truncation_side": "left"}, "has the truncation_side 'left'"),
        (
            CONFIG,
            {"added_tokens_decoder": {"0": added("!", single_word=True)}},
            "looks for '!' as a single word, which is not supported",
        ),
    ],
)
def test_what_the_engine_cannot_do_is_refused(
    folder: Path, file: str, changes: dict[str, Any], message: str
) -> None:
    edit(folder / file, **changes)
    with pytest.raises(ExportError, match=message):
        load_tokenizer(folder)


def test_what_is_no_tokenizer(folder: Path, tmp_path: Path) -> None:
    (folder / "merges.txt").unlink()
    with pytest.raises(ExportError, match=r"has no tokenizer; expected vocab.json .* --tokenizer"):
        load_tokenizer(folder)
    (folder / "merges.txt").touch()
    (folder / "vocab.json").write_text("{")
    with pytest.raises(ExportError, match="unreadable tokenizer"):
        load_tokenizer(folder)
    (folder / "vocab.json").write_text(json.dumps({"a": 0, "<|endoftext|>": 1}))
    with pytest.raises(ExportError, match="isn't CLIP's tokenizer; expected byte pairs"):
        load_tokenizer(folder)
    other = tmp_path / "bert"
    other.mkdir()
    (other / "tokenizer.json").write_text(json.dumps({"model": {"type": "WordPiece"}}))
    with pytest.raises(ExportError, match="isn't CLIP's tokenizer"):
        load_tokenizer(other)
