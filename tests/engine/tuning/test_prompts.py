"""Prompts come from lines or JSON; where there is no file, from the palette."""

from __future__ import annotations

from pathlib import Path

import pytest
from fgdm.errors import RequestError
from fgdm.tuning.prompts import Prompt, made_prompts, read_prompts


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_lines_of_text(tmp_path: Path) -> None:
    path = written(tmp_path, "prompts.txt", "a dog\n\n  ein Bär \n")
    assert read_prompts(path) == [Prompt("a dog"), Prompt("ein Bär")]


def test_files_of_other_editors(tmp_path: Path) -> None:
    """A byte order mark, other ends of lines; U+2028 and form feeds end none."""
    path = written(tmp_path, "prompts.txt", "\ufeffa dog\r\na cat\u2028and a\x0cbird\r\n")
    assert read_prompts(path) == [Prompt("a dog"), Prompt("a cat\u2028and a\x0cbird")]
    path = written(tmp_path, "PROMPTS.JSON", '\ufeff["a dog"]')
    assert read_prompts(path) == [Prompt("a dog")]


def test_what_is_there_several_times_is_one_prompt(tmp_path: Path) -> None:
    path = written(tmp_path, "prompts.txt", "a dog\na cat\n a dog\n")
    assert read_prompts(path) == [Prompt("a dog"), Prompt("a cat")]
    text = '["a dog", {"prompt": "a dog"}, {"prompt": "a dog", "objects": ["dog"]}]'
    path = written(tmp_path, "prompts.json", text)
    assert read_prompts(path) == [Prompt("a dog"), Prompt("a dog", ("dog",))]


def test_json_with_and_without_objects(tmp_path: Path) -> None:
    text = '["a dog", {"prompt": "a cat", "objects": ["cat"]}, {"prompt": "x", "things": ["sun"]}]'
    assert read_prompts(written(tmp_path, "prompts.json", text)) == [
        Prompt("a dog"),
        Prompt("a cat", ("cat",)),
        Prompt("x", ("sun",)),
    ]


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("p.txt", "\n \n", "holds no prompt"),
        ("p.json", "[]", "holds no prompt"),
        ("p.json", "{", "isn't JSON"),
        ("p.json", '{"prompt": "a"}', "must hold a list"),
        ("p.json", "[3]", "entry 0"),
        ("p.json", '["a", {"prompt": "a", "objects": "dog"}]', "entry 1"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, name: str, text: str, words: str) -> None:
    with pytest.raises(RequestError, match=words):
        read_prompts(written(tmp_path, name, text))


def test_a_file_that_is_absent(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"can't read the prompts in .*absent\.txt"):
        read_prompts(tmp_path / "absent.txt")


def test_made_prompts_name_classes_and_are_the_same_each_time() -> None:
    classes = ["dog", "cat", "sun", "tree", "sea"]
    prompts = made_prompts(classes)
    assert prompts == made_prompts(classes[::-1])
    assert [len(prompt.objects or ()) for prompt in prompts[:5]] == [1, 2, 3, 4, 1]
    for prompt in prompts:
        assert all(name in classes and name in prompt.text for name in prompt.objects or ())
    assert len(made_prompts(["dog"])[3].objects or ()) == 1
    with pytest.raises(RequestError, match="--prompts"):
        made_prompts([])
