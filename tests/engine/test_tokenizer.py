"""Protects the tokenizer's promise: the ids of transformers' CLIPTokenizer for any text.

A wrong id is silent: the picture is only a little worse. The reference is transformers itself, on
vocabularies that this file trains, over every kind of text that a prompt can hold.
"""

from __future__ import annotations

import json
import random
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fgdm import _core

transformers = pytest.importorskip("transformers")
tokenizers = pytest.importorskip("tokenizers")

MAX_LENGTH = 77
BOS, EOS = "<|startoftext|>", "<|endoftext|>"
NUM_TEXTS = 12_000

PROMPTS = (
    "a photo of the two cats and a dog's bench near their boat; it's we've they'll i'd you're i'm "
    "4k best quality, extremely detailed (oil painting:1.2) by night naïve café straße ÅNGSTRÖM "
    "ΟΔΥΣΣΕΥΣ İstanbul Москва 北京 東京タワー 서울 한국어 हिन्दी ไทย العربية עברית ქართული "
    "👩‍👩‍👧 🏳️‍🌈 e\u0301 A\u030a \u212b ﬁ ½ ² ٣ Ⅷ ǅ \u1e9e"
)
WORDS = PROMPTS.split(" ")

Text = Callable[[random.Random], str]


def added(content: str, normalized: bool) -> dict[str, Any]:
    flags = {
        "lstrip": False,
        "rstrip": False,
        "single_word": False,
        "normalized": normalized,
    }
    return {"__type": "AddedToken", "content": content, **flags}


def configuration(kind: str) -> dict[str, Any] | None:
    """tokenizer_config.json as published with the models that the engine runs."""
    if kind == "none":
        return None
    named = {"bos_token": added(BOS, True), "eos_token": added(EOS, True)}
    pad = {"sd1": EOS, "sd2": "!", "sdxl_2": "!"}[kind]
    if kind == "sdxl_2":
        named = {"bos_token": added(BOS, False), "eos_token": added(EOS, False)}
    return {
        **named,
        "unk_token": added(EOS, True),
        "pad_token": pad,
        "model_max_length": 77,
    }


def train(folder: Path, alphabet: list[str] | None) -> None:
    """Writes vocab.json and merges.txt in CLIP's order: bytes, bytes ending a word, merges, two."""
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE(end_of_word_suffix="</w>"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Sequence(
        [
            tokenizers.pre_tokenizers.Split(
                tokenizers.Regex(r"\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"),
                "removed",
                invert=True,
            ),
            tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    rng = random.Random(5)
    corpus = [" ".join(rng.choices(WORDS, k=8)).lower() for _ in range(400)]
    corpus += ["aaaa aaa aa abab ababab !!! ... --- <<|| |>> 'll''s"] * 4
    bytes_ = (
        sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet()) if alphabet is None else alphabet
    )
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=1500,
        end_of_word_suffix="</w>",
        initial_alphabet=bytes_,
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus, trainer)
    merges = [tuple(merge) for merge in json.loads(tokenizer.to_str())["model"]["merges"]]
    learned = [left + right for left, right in merges]
    if alphabet is not None:  # a small vocabulary: bytes it hasn't seen become the unknown token
        bytes_ = sorted({c for merge in merges for c in "".join(merge).replace("</w>", "")})
    tokens = dict.fromkeys([*bytes_, *(byte + "</w>" for byte in bytes_), *learned, BOS, EOS])
    vocabulary = {token: index for index, token in enumerate(tokens)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    lines = ["#version: 0.2", *(" ".join(merge) for merge in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def any_character(rng: random.Random) -> str:
    while True:
        code_point = rng.randrange(0x110000)
        if not 0xD800 <= code_point <= 0xDFFF:
            return chr(code_point)


ASSIGNED = [
    chr(c) for c in range(sys.maxunicode) if unicodedata.category(chr(c)) not in ("Cn", "Co", "Cs")
]
MARKS = [c for c in ASSIGNED if unicodedata.combining(c)]
DECOMPOSABLE = [c for c in ASSIGNED if unicodedata.normalize("NFD", c) != c]
CASED = [c for c in ASSIGNED if c.lower() != c]
SPACES = [c for c in ASSIGNED if c.isspace()] + ["\u200b", "\u180e", "\ufeff"]
CONTROLS = [chr(c) for c in [*range(32), *range(127, 160)]]
SPECIAL = [
    BOS,
    EOS,
    BOS.upper(),
    EOS.title(),
    "<|",
    "|>",
    "<|endof",
    "text|>",
    "!",
    "'S",
    "'ll",
    "'",
]
SYLLABLES = [chr(c) for c in [*range(0x1100, 0x1200), *range(0xAC00, 0xAC80)]]


def joined(pool: list[str], longest: int, glue: str = "") -> Text:
    return lambda rng: glue.join(rng.choices(pool, k=rng.randint(0, longest)))


def mixed(rng: random.Random) -> str:
    pools = [
        WORDS,
        MARKS,
        DECOMPOSABLE,
        CASED,
        SPACES,
        CONTROLS,
        SPECIAL,
        SYLLABLES,
        list("aeE9 '!"),
    ]
    text = "".join(rng.choice(rng.choice(pools)) for _ in range(rng.randint(0, 24)))
    return unicodedata.normalize(rng.choice(["NFC", "NFD", "NFKC"]), text)


KINDS: dict[str, Text] = {
    "words": joined(WORDS, 30, " "),
    "overlong": lambda rng: " ".join(rng.choices(WORDS, k=rng.randint(70, 120))),
    "ascii": joined([chr(c) for c in range(128)], 40),
    "assigned": joined(ASSIGNED, 16),
    "cased": joined(CASED, 16),
    "marks": lambda rng: rng.choice("aeo\u0915\u05d0") + "".join(rng.choices(MARKS, k=5)),
    "decomposable": lambda rng: unicodedata.normalize("NFD", joined(DECOMPOSABLE, 8)(rng)),
    "hangul": joined(SYLLABLES, 12),
    "spaces": joined([*SPACES, "a", "!", "9"], 16),
    "controls": joined([*CONTROLS, "a", " "], 16),
    "special": joined([*SPECIAL, "a", " ", "7"], 12),
    "repeats": lambda rng: rng.choice("a!9'é") * rng.randint(0, 200),
    "any": lambda rng: "".join(any_character(rng) for _ in range(rng.randint(0, 12))),
    "mixed": mixed,
}


@pytest.fixture(scope="module")
def texts() -> list[str]:
    rng = random.Random(20260)
    makers = list(KINDS.values())
    return ["", " ", *(makers[i % len(makers)](rng) for i in range(NUM_TEXTS))]


def load(tmp_path: Path, kind: str, alphabet: list[str] | None = None) -> tuple[Any, Any]:
    train(tmp_path, alphabet)
    if (config := configuration(kind)) is not None:
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    reference = transformers.CLIPTokenizer.from_pretrained(tmp_path)
    return _core.Tokenizer(str(tmp_path), MAX_LENGTH), reference


def assert_same(tokenizer: Any, reference: Any, texts: list[str]) -> None:
    expected = reference(texts, padding="max_length", max_length=MAX_LENGTH, truncation=True)
    for text, ids in zip(texts, expected["input_ids"], strict=True):
        assert tokenizer.encode(text) == ids, ascii(text)


def test_all_kinds_of_text_match_transformers(tmp_path: Path, texts: list[str]) -> None:
    assert len(texts) >= 10_000
    assert_same(*load(tmp_path, "sd1"), texts)


@pytest.mark.parametrize("kind", ["none", "sd2", "sdxl_2"])
def test_special_tokens_follow_the_configuration(
    tmp_path: Path, texts: list[str], kind: str
) -> None:
    assert_same(*load(tmp_path, kind), texts[::6])


def test_bytes_outside_a_small_vocabulary_are_unknown(tmp_path: Path, texts: list[str]) -> None:
    assert_same(*load(tmp_path, "sd1", alphabet=[]), texts[::6])


def test_special_tokens_map_overrides_the_configuration(tmp_path: Path, texts: list[str]) -> None:
    special: dict[str, Any] = {"bos_token": {"content": BOS, "normalized": False}, "pad_token": "!"}
    (tmp_path / "special_tokens_map.json").write_text(json.dumps(special), encoding="utf-8")
    assert_same(*load(tmp_path, "sd1"), texts[::12])


def test_saved_added_tokens_are_read(tmp_path: Path, texts: list[str]) -> None:
    train(tmp_path, None)
    vocabulary = json.loads((tmp_path / "vocab.json").read_text(encoding="utf-8"))
    decoder = {vocabulary[token]: {**added(token, True), "special": True} for token in (BOS, EOS)}
    for token in decoder.values():
        del token["__type"]
    config = {"bos_token": BOS, "eos_token": EOS, "unk_token": EOS, "pad_token": EOS}
    config_text = json.dumps({**config, "added_tokens_decoder": decoder})
    (tmp_path / "tokenizer_config.json").write_text(config_text, encoding="utf-8")
    reference = transformers.CLIPTokenizer.from_pretrained(tmp_path)
    assert_same(_core.Tokenizer(str(tmp_path), MAX_LENGTH), reference, texts[::12])


LEARNED = (
    added("<cat-toy>", normalized=True),
    added("<Dog-Toy>", normalized=True),
    added("<new1>", normalized=False),
    added("bench", normalized=False),
    {**added("<left>", normalized=False), "lstrip": True},
    {**added("<right>", normalized=True), "rstrip": True},
    {**added("<both>", normalized=False), "lstrip": True, "rstrip": True, "special": True},
)


def with_learned_words(texts: list[str]) -> list[str]:
    """The texts with learned words, as they are and in other cases, where there is a space."""
    rng = random.Random(3)
    words = [str(word["content"]) for word in LEARNED]
    forms = [*words, *(word.upper() for word in words), *(f" {word} " for word in words)]
    result = []
    for text in texts:
        pieces = text.split(" ")
        glued = pieces[0]
        for piece in pieces[1:]:
            glued += rng.choice([" ", rng.choice(forms), rng.choice(forms)]) + piece
        result.append(glued)
    return result


def test_words_that_were_added_after_training_are_tokens(tmp_path: Path, texts: list[str]) -> None:
    train(tmp_path, None)
    size = len(json.loads((tmp_path / "vocab.json").read_text(encoding="utf-8")))
    vocabulary = {BOS: size - 2, EOS: size - 1}
    tokens = [added(token, False) for token in vocabulary]
    decoder = {str(size - 2 + i): token for i, token in enumerate([*tokens, *LEARNED])}
    for token in decoder.values():
        token.pop("__type", None)
    config = {"bos_token": BOS, "eos_token": EOS, "unk_token": EOS, "pad_token": EOS}
    text = json.dumps({**config, "added_tokens_decoder": decoder})
    (tmp_path / "tokenizer_config.json").write_text(text, encoding="utf-8")
    reference = transformers.CLIPTokenizer.from_pretrained(tmp_path)
    assert len(reference) == size + len(LEARNED)
    sample = with_learned_words(texts[::4])
    encoded = [reference(text).input_ids for text in sample]
    found = {number for ids in encoded for number in ids}
    assert found >= set(range(size, size + len(LEARNED))), "every learned word is met"
    assert_same(_core.Tokenizer(str(tmp_path), MAX_LENGTH), reference, sample)


@pytest.mark.parametrize("max_length", [2, 3, 8, 300])
def test_max_length_cuts_and_pads(tmp_path: Path, texts: list[str], max_length: int) -> None:
    _, reference = load(tmp_path, "sd1")
    tokenizer = _core.Tokenizer(str(tmp_path), max_length)
    sample = texts[::100]
    expected = reference(sample, padding="max_length", max_length=max_length, truncation=True)
    assert [tokenizer.encode(text) for text in sample] == expected["input_ids"]
