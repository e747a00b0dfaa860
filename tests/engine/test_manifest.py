"""Protects that Python and the core agree on what a manifest is, and that no file hangs either."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fgdm
import pytest
from fgdm.cli import command
from fgdm.errors import BundleError
from fgdm.inspect import describe
from fgdm.manifest import parse_manifest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.engine.changes import VALUES, changed, json_values, places, with_own_backbone

MakeBundle = Callable[..., Path]
Json = dict[str, Any]
Change = Callable[[Json], object]

core = pytest.importorskip("fgdm._core", reason="the compiled core isn't built")
SCENES = Path(__file__).parents[2] / "bundles" / "scenes"


def _refusal(parse: Callable[[bytes], object], content: bytes) -> str | None:
    try:
        parse(content)
    except BundleError as error:
        return str(error)
    return None


def _python(content: bytes) -> str | None:
    return _refusal(lambda content: parse_manifest(content, "test manifest"), content)


def check_agreement(content: bytes) -> None:
    """What the core takes Python reads, and either refuses in a few words."""
    cores, pythons = _refusal(core.check_manifest, content), _python(content)
    assert cores is not None or pythons is None, pythons
    for words in (cores, pythons):
        assert words is None or 0 < len(words) < 2000
    # What Python reads of a manifest is refused by both; the core reads more.
    if pythons is not None:
        assert cores is not None


def test_the_readers_agree_on_every_value_replaced(sound_manifest: Json) -> None:
    scenes = json.loads((SCENES / "manifest.json").read_bytes())
    for manifest in (sound_manifest, scenes):
        assert _refusal(core.check_manifest, json.dumps(manifest).encode()) is None
    for number, path in enumerate(places(sound_manifest)):
        alike = path[0] == "files" or "shape" in path  # all of these are: a few values each
        for value in VALUES[number % 7 :: 7] if alike else VALUES:
            check_agreement(json.dumps(changed(sound_manifest, path, value)).encode())


def test_the_readers_agree_on_a_backbone_of_a_factors_own(sound_manifest: Json) -> None:
    manifest = with_own_backbone(sound_manifest)
    assert _refusal(core.check_manifest, json.dumps(manifest).encode()) is None
    read = parse_manifest(json.dumps(manifest).encode(), "test manifest").factors
    assert [factor.own_backbone for factor in read] == [None, "own", None]
    assert [factor.latents for factor in read] == [(), ("segmentation", "sketch"), ()]
    for path in places(manifest):
        if path[:2] in (("factors", 1), ("graphs", "own")):
            for value in VALUES:
                check_agreement(json.dumps(changed(manifest, path, value)).encode())


@given(data=st.data(), value=json_values)
@settings(max_examples=300, deadline=None)
def test_the_readers_agree_on_any_value(
    sound_manifest: Json, data: st.DataObject, value: object
) -> None:
    path = data.draw(st.sampled_from(list(places(sound_manifest))))
    check_agreement(json.dumps(changed(sound_manifest, path, value)).encode())


@given(place=st.floats(0, 1, exclude_max=True), junk=st.binary(min_size=1, max_size=4))
@settings(max_examples=300, deadline=None)
def test_the_readers_agree_on_any_bytes(sound_manifest: Json, place: float, junk: bytes) -> None:
    content = bytearray(json.dumps(sound_manifest, ensure_ascii=False).encode())
    at = int(place * len(content))
    content[at : at + len(junk)] = junk
    check_agreement(bytes(content))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\xef\xbb\xbf{}", "byte order mark"),
        (b"{}\0\0\0", "zero byte"),
        (b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested deeper than 64"),
        (b'{"schema": 2, "schema": 2}', "twice"),
        (b'{"name": "\xff"}', "UTF-8|utf-8"),
        (b'{"name": "\\ud800"}', "not valid JSON|isn't valid JSON"),
    ],
    ids=["mark", "zeros", "deep", "twice", "latin1", "surrogate"],
)
def test_what_is_wrong_with_bytes_is_said(content: bytes, words: str) -> None:
    with pytest.raises(BundleError, match=words):
        core.check_manifest(content)
    with pytest.raises(BundleError, match=words):
        parse_manifest(content, "test manifest")


def _drop_seen_latents(manifest: Json) -> None:
    del manifest["factors"][0]


def _see_later_latents(manifest: Json) -> None:
    manifest["factors"][0]["conditionings"][0]["latents"] = ["sketch"]


def _see_one_latent(manifest: Json) -> None:
    manifest["factors"][1]["conditionings"][0]["latents"] = ["sketch"]


def _see_a_latent_twice(manifest: Json) -> None:
    manifest["factors"][1]["conditionings"][0]["latents"] = ["sketch", "sketch"]


def _image_first(manifest: Json) -> None:
    manifest["factors"].reverse()


def _twice(manifest: Json) -> None:
    manifest["factors"].insert(0, manifest["factors"][0])


def _circle(manifest: Json) -> None:
    first = manifest["factors"][0]
    second = copy.deepcopy(first)
    second["name"] = "second"
    del manifest["factors"][1]
    sees = dict(manifest["factors"][-1]["conditionings"][0])
    first["conditionings"] = [{**sees, "condition": "second"}]
    second["conditionings"] = [{**sees, "condition": first["name"]}]
    manifest["factors"].insert(1, second)


def _unmade(manifest: Json) -> None:
    sees = dict(manifest["factors"][-1]["conditionings"][0])
    manifest["factors"][1]["conditionings"] = [{**sees, "condition": "nobody"}]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_drop_seen_latents, "sketch needs the latents of .segmentation., which is no earlier"),
        (_see_later_latents, "segmentation needs the latents of .sketch., which is no earlier"),
        (_see_one_latent, "latents of 8 channels, but those of 1 factor have 4"),
        (_see_a_latent_twice, "sees the latents of sketch twice"),
        (_image_first, "should end with one of kind .image.|the last factor must be the image"),
        (_twice, "two factors are called segmentation"),
        (_circle, "needs the map of .second., which is no earlier factor"),
        (_unmade, "needs the map of .nobody., which is no earlier factor"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_chains_that_cannot_run_are_refused(
    make_bundle: MakeBundle, change: Change, words: str
) -> None:
    bundle = make_bundle(change)
    with pytest.raises(BundleError, match=words):
        fgdm.Engine(bundle, backend="cpu")
    with pytest.raises(BundleError, match=words):
        describe(bundle)


def test_a_graph_that_lacks_its_role_is_found_by_inspect(make_bundle: MakeBundle) -> None:
    def change(manifest: Json) -> None:
        manifest["graphs"]["text_encoder"]["outputs"] = []

    with pytest.raises(BundleError, match=r"text_encoder has no output .encoder_hidden_states."):
        describe(make_bundle(change))


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _folder(path: Path) -> None:
    path.mkdir()


def _loop(path: Path) -> None:
    path.symlink_to(path.name)


def _device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def _sparse(path: Path) -> None:
    with path.open("wb") as stream:
        stream.truncate(2**33)


KINDS = [_fifo, _folder, _loop, _device, _sparse]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("name", ["manifest.json", "manifest.sha256", "palette.json"])
def test_no_kind_of_file_hangs_or_fills_the_memory(
    make_bundle: MakeBundle, name: str, kind: Callable[[Path], None]
) -> None:
    bundle = make_bundle()
    (bundle / name).unlink()
    kind(bundle / name)
    for attempt in (lambda: describe(bundle), lambda: fgdm.Engine(bundle, backend="cpu")):
        with pytest.raises(BundleError, match=re.escape(name)):
            attempt()


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("nowhere", r"manifest\.json"),
        ("file", "no ZIP archive.*fgdm pack"),
        ("manifest.json", r"manifest\.json"),
    ],
    ids=["absent", "file", "no bundle"],
)
def test_a_path_that_is_no_bundle_ends_with_exit_code_3(
    tmp_path: Path, place: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_bytes(b"{}")
    (tmp_path / "manifest.json").mkdir()
    bundle = tmp_path if place == "manifest.json" else tmp_path / place
    with pytest.raises(BundleError, match=words):
        fgdm.Engine(bundle)
    assert command.main(["inspect", str(bundle)]) == 3
    assert command.main(["generate", "a dog", "--bundle", str(bundle), "--output", "unused"]) == 3
    assert "internal" not in capsys.readouterr().err


def test_a_deep_manifest_whose_hash_fits_is_refused(make_bundle: MakeBundle) -> None:
    bundle = make_bundle()
    text = (bundle / "manifest.json").read_text()
    deep = text.replace('"fp16"', "[" * 100_000 + "]" * 100_000, 1).encode()
    (bundle / "manifest.json").write_bytes(deep)
    (bundle / "manifest.sha256").write_text(hashlib.sha256(deep).hexdigest() + "  manifest.json\n")
    for attempt in (lambda: describe(bundle), lambda: fgdm.Engine(bundle, backend="cpu")):
        with pytest.raises(BundleError, match="nested deeper than 64"):
            attempt()
