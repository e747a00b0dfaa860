"""Tokenizers in the files that old and new versions of transformers write."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from fgdm.export.errors import ExportError
from fgdm.export.sources import load_tokenizer
from transformers import CLIPTokenizer

from tests.tiny_models import TinyCheckpoint

TEXTS = ["two dogs beside a park bench", "it isn't a small meadow; 2 puppies!", "zzz ünïcode"]


@pytest.fixture
def folder(tiny_checkpoint: TinyCheckpoint, tmp_path: Path) -> Path:
    shutil.copytree(tiny_checkpoint.base / "tokenizer", tmp_path / "own")
    return tmp_path / "own"


def ids(folder: Path) -> list[list[int]]:
    tokenizer = CLIPTokenizer.from_pretrained(folder)
    return [tokenizer(text).input_ids for text in TEXTS]


def test_files_are_copied_as_they_are(folder: Path, tmp_path: Path) -> None:
    (folder / "README.md").write_text("not ours")
    tokenizer = load_tokenizer(folder)
    tokenizer.save(tmp_path / "saved")
    written = {path.name: path.read_bytes() for path in (tmp_path / "saved").iterdir()}
    (folder / "README.md").unlink()
    assert written == {path.name: path.read_bytes() for path in folder.iterdir()}
    assert tokenizer.largest_id == len(json.loads(tokenizer.files["vocab.json"])) - 1


def test_a_folder_around_the_tokenizer_will_do(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    shutil.copytree(folder, tmp_path / "base/tokenizer")
    assert load_tokenizer(tmp_path / "base") == load_tokenizer(folder)


@pytest.mark.parametrize("joined", [False, True])
def test_the_one_file_of_new_versions_is_split(folder: Path, tmp_path: Path, joined: bool) -> None:
    """joined: merges as one text each, as older versions of the format have them."""
    CLIPTokenizer.from_pretrained(folder).save_pretrained(tmp_path / "new")
    path = tmp_path / "new/tokenizer.json"
    assert not (tmp_path / "new/vocab.json").exists()
    if joined:
        content = json.loads(path.read_text())
        content["model"]["merges"] = [" ".join(pair) for pair in content["model"]["merges"]]
        path.write_text(json.dumps(content))
    new = load_tokenizer(tmp_path / "new")
    old = load_tokenizer(folder)
    assert json.loads(new.files["vocab.json"]) == json.loads(old.files["vocab.json"])
    assert new.files["merges.txt"] == old.files["merges.txt"]
    new.save(tmp_path / "saved")
    assert ids(tmp_path / "saved") == ids(folder)


def test_tokens_that_the_engine_would_not_know(folder: Path, tmp_path: Path) -> None:
    (folder / "added_tokens.json").write_text(json.dumps({"<|endoftext|>": 0}))
    load_tokenizer(folder)
    (folder / "added_tokens.json").write_text(json.dumps({"<my-cat>": 49408}))
    with pytest.raises(ExportError, match=r"adds tokens .*<my-cat>"):
        load_tokenizer(folder)
    (folder / "added_tokens.json").unlink()
    tokenizer = CLIPTokenizer.from_pretrained(folder)
    tokenizer.add_tokens("<my-dog>")
    tokenizer.save_pretrained(tmp_path / "new")
    with pytest.raises(ExportError, match=r"adds tokens .*<my-dog>"):
        load_tokenizer(tmp_path / "new")


def test_what_is_no_tokenizer(folder: Path, tmp_path: Path) -> None:
    (folder / "merges.txt").unlink()
    with pytest.raises(ExportError, match=r"has no tokenizer; expected vocab.json .* --tokenizer"):
        load_tokenizer(folder)
    (folder / "merges.txt").touch()
    (folder / "vocab.json").write_text("{")
    with pytest.raises(ExportError, match="unreadable tokenizer"):
        load_tokenizer(folder)
    other = tmp_path / "bert"
    other.mkdir()
    (other / "tokenizer.json").write_text(json.dumps({"model": {"type": "WordPiece"}}))
    with pytest.raises(ExportError, match="isn't CLIP's tokenizer"):
        load_tokenizer(other)
