"""Protects that a damaged bundle is recognised before anything is loaded from it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fgdm.errors import BundleError
from fgdm.inspect import describe, human_size
from fgdm.manifest import parse_manifest
from hypothesis import given, settings
from hypothesis import strategies as st

MakeBundle = Callable[..., Path]
Json = dict[str, Any]


@pytest.mark.parametrize("verify", [False, True])
def test_sound_bundle_is_described(make_bundle: MakeBundle, verify: bool) -> None:
    bundle = make_bundle()
    description = describe(bundle, verify=verify)
    document = json.loads(json.dumps(description.to_json()))
    assert document["name"] == "scenes" and document["verified"] is verify
    listed = [path for path in bundle.rglob("*") if path.is_file() and path.stem != "manifest"]
    assert document["size"] == sum(path.stat().st_size for path in listed) == 7802
    assert [factor["name"] for factor in document["factors"]] == ["segmentation", "sketch", "image"]
    assert [factor["output"] for factor in document["factors"]] == ["labels", "sketch", None]
    seen = [factor["conditionings"][0]["latents"] for factor in document["factors"]]
    assert seen == [["segmentation"], ["segmentation", "sketch"], []]
    assert document["graphs"][0]["inputs"][0]["shape"] == ["batch", 4, "height", "width"]
    assert document["plans"] == [] and document["unlisted"] == []
    text = "\n".join(description.lines())
    assert "segmentation  condition, labels, 64×64 px, 10 steps" in text
    assert "10 steps of ddim, adapter (adapter_segmentation), guidance" in text
    assert "sketch  condition, sketch in black lines, 64×64 px" in text
    assert "adapter on segmentation, sketch (adapter_sketch)" in text
    assert "controlnet on segmentation (controlnet)" in text
    assert "down_residual_0..2  float32  3 feature maps of 8, 16, 24 channels" in text
    assert "7.8 kB" in text


def test_what_older_schemas_do_not_say(make_bundle: MakeBundle) -> None:
    """Schema 2 has labels only, and adapters that see their own factor's latent."""

    def age(manifest: Json) -> None:
        del manifest["factors"][1], manifest["graphs"]["adapter_sketch"]
        manifest["schema"] = 2

    segmentation, image = describe(make_bundle(age)).manifest.factors
    assert (segmentation.output, segmentation.lines) == ("labels", None)
    assert segmentation.conditionings[0].latents == ("segmentation",)
    assert image.output is None


def test_an_image_alone(make_bundle: MakeBundle) -> None:
    def bare(manifest: Json) -> None:
        manifest["factors"] = [manifest["factors"][-1] | {"conditionings": []}]

    text = "\n".join(describe(make_bundle(bare)).lines())
    assert "  image  image, 64×128 px, 10 steps of ddim, no networks, guidance cfg" in text


def test_what_factors_do_by_themselves_is_shown() -> None:
    """Both guidance scales, spacings, caches, and what is optional, of the shipped bundle."""
    shipped = Path(__file__).parents[2] / "bundles" / "scenes"
    text = "\n".join(describe(shipped).lines())
    assert "guidance segfree at 2, cfg at 4 before" in text
    assert "depth  condition, depth, optional, 64×64 px" in text
    assert "6 steps of dpmsolver++ in trailing spacing, all but one of 2 through 1 level" in text
    assert "trailing spacing, maps 1 at a time until one has recall 1, adapter" in text


def test_the_waves_that_fgdm_tune_writes_are_shown(tmp_path: Path) -> None:
    defaults = pytest.importorskip("fgdm.tuning.defaults", reason="the compiled core isn't built")
    shipped = Path(__file__).parents[2] / "bundles" / "scenes"
    for path in shipped.iterdir():
        (tmp_path / path.name).symlink_to(path)
    for name in ("manifest.json", "manifest.sha256"):
        (tmp_path / name).unlink()
        (tmp_path / name).write_bytes((shipped / name).read_bytes())
    before = (shipped / "manifest.json").read_text()
    defaults.write_defaults(tmp_path, before, {"segmentation": {"wave": 2}})
    found = describe(tmp_path)
    assert "maps 2 at a time until one has recall 1" in "\n".join(found.lines())
    assert found.to_json()["factors"][0]["wave"] == 2  # type: ignore[index]


def test_missing_bundle_says_what_a_bundle_is(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none", tmp_path / "a\0b"):
        with pytest.raises(BundleError, match=r"a folder with a manifest\.json"):
            describe(path)


@pytest.mark.parametrize("name", ["manifest.json", "manifest.sha256"])
def test_an_altered_manifest_is_found_by_its_hash(make_bundle: MakeBundle, name: str) -> None:
    bundle = make_bundle()
    content = (bundle / name).read_bytes()
    still_sound = content.replace(b"7.5", b"7.6")
    (bundle / name).write_bytes(still_sound if name == "manifest.json" else content.swapcase())
    with pytest.raises(BundleError, match="altered"):
        describe(bundle)
    (bundle / name).unlink()
    with pytest.raises(BundleError, match="can't read"):
        describe(bundle)


def test_missing_file(make_bundle: MakeBundle) -> None:
    bundle = make_bundle()
    (bundle / "tokenizer" / "vocab.json").unlink()
    with pytest.raises(BundleError, match=r"tokenizer/vocab\.json: No such file"):
        describe(bundle)


def test_truncated_file(make_bundle: MakeBundle) -> None:
    bundle = make_bundle()
    (bundle / "backbone.onnx").write_bytes(b"graph")
    with pytest.raises(BundleError, match=r"backbone\.onnx has 5 bytes instead of 5000"):
        describe(bundle)


@pytest.mark.parametrize("position", [100, 2500, 4500])  # in the graph's description
def test_one_flipped_bit_is_found_by_verify(make_bundle: MakeBundle, position: int) -> None:
    bundle = make_bundle()
    content = bytearray((bundle / "backbone.onnx").read_bytes())
    content[position] ^= 1
    (bundle / "backbone.onnx").write_bytes(content)
    describe(bundle)  # its size is right
    with pytest.raises(BundleError, match=r"backbone\.onnx has been altered"):
        describe(bundle, verify=True)


def test_many_damaged_files_are_counted_in_one_line(make_bundle: MakeBundle) -> None:
    def add(manifest: dict[str, Any]) -> None:
        for index in range(5):
            manifest["files"][f"gone{index}"] = manifest["files"]["backbone.onnx"]

    with pytest.raises(BundleError, match="gone2: No such file or directory and 2 more"):
        describe(make_bundle(add))


def test_newer_schema_says_to_upgrade(make_bundle: MakeBundle) -> None:
    bundle = make_bundle(lambda manifest: manifest.update(schema=4))
    with pytest.raises(BundleError, match=r"has schema 4.*upgrade fgdm"):
        describe(bundle)


def test_unlisted_files_are_shown_and_plans_are_not_among_them(make_bundle: MakeBundle) -> None:
    bundle = make_bundle()
    plans = bundle / "plans" / "tensorrt"
    plans.mkdir(parents=True)
    (plans / "timing.sm_89.cache").write_bytes(b"1234")
    (bundle / "notes.txt").write_text("mine")
    description = describe(bundle)
    assert description.plans == () and description.unlisted == ("notes.txt",)
    assert "plans: none built" in "\n".join(description.lines())


def changed(manifest: Json, path: list[str | int], value: object) -> bytes:
    """The manifest with the value at a path of keys and indices replaced."""
    copy = json.loads(json.dumps(manifest))
    target: Any = copy
    for key in path[:-1]:
        target = target[key]
    target[path[-1]] = value
    return json.dumps(copy).encode()


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["schema"], "1"),
        (["schema"], True),
        (["schema"], 0),
        (["schema"], 10**400),
        (["name"], None),
        (["name"], "\x1b[31mred"),
        (["name"], "\ud800"),
        (["factors"], []),
        (["factors", -1, "kind"], "condition"),
        (["factors", 0, "kind"], "pictures"),
        (["factors", 0, "conditionings", 0, "graph"], "none"),
        (["factors", 0, "output"], "sound"),
        (["factors", 0, "output"], 1),
        (["factors", 1, "lines"], "grey"),
        (["factors", 1, "conditionings", 0, "latents"], "segmentation"),
        (["factors", 1, "conditionings", 0, "latents"], [1]),
        (["backbone", "graph"], "none"),
        (["autoencoder", "preview_decoder"], 1),
        (["segmenter"], "none"),
        (["factors", 0, "height"], 0),
        (["factors", 0, "height"], 64.0),
        (["factors", 0, "num_inference_steps"], 10**9),
        (["factors", 0, "guidance_scale"], 10**400),
        (["factors", 0, "guidance_scale"], True),
        (["graphs", "backbone", "file"], "other.onnx"),
        (["graphs", "backbone", "inputs", 0, "shape"], [1.5]),
        (["graphs", "backbone", "inputs"], {}),
        (["files", "adapter.onnx", "size"], -1),
        (["files", "adapter.onnx", "sha256"], "A" * 64),
        (["files", "adapter.onnx", "sha256"], "0" * 63),
        (["files", "../escape"], {"size": 1, "sha256": "0" * 64}),
    ],
    ids=str,
)
def test_wrong_values_are_named(sound_manifest: Json, path: list[str | int], value: object) -> None:
    with pytest.raises(BundleError, match="test manifest"):
        parse_manifest(changed(sound_manifest, path, value), "test manifest")


@pytest.mark.parametrize("name", ["/etc/passwd", "a/../b", "./a", "a//b", "a/", ".", "", "a\0"])
def test_file_names_stay_inside_the_bundle(sound_manifest: Json, name: str) -> None:
    content = changed(sound_manifest, ["files", name], {"size": 1, "sha256": "0" * 64})
    with pytest.raises(BundleError, match=r"must be a path inside the bundle|isn't printable"):
        parse_manifest(content, "test manifest")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "Expecting value"),
        (b"[]", "must hold a JSON object, got an array"),
        (b"null", "must hold a JSON object, got null"),
        (b"\xff\xfe", "can't decode byte 0xff"),
        (b"[" * 100_000, "nested deeper than 64"),
        (b'{"a":' * 100_000, "nested deeper than 64"),
        (b'{"schema": NaN}', "NaN isn't a JSON number"),
        (b'{"schema": 1, "schema": 1}', "the same key twice"),
        (b'{"schema": ' + b"9" * 5000 + b"}", "5000 digits"),
        (b'{"schema": 1', "Expecting ',' delimiter"),
        ("\ufeff{}".encode(), "a byte order mark"),
    ],
    ids=lambda value: ascii(value[:12]),
)
def test_garbage_is_a_bundle_error(content: bytes, problem: str) -> None:
    with pytest.raises(BundleError, match=f"test manifest .*{problem}"):
        parse_manifest(content, "test manifest")


def test_oversized_manifest(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_bytes(b" " * (2**24 + 1))
    with pytest.raises(BundleError, match="more than 16777216 bytes"):
        describe(tmp_path)


def parses_or_bundle_error(content: bytes) -> None:
    try:
        parse_manifest(content, "test manifest")
    except BundleError as error:
        str(error).encode("utf-8")  # can be shown


@given(st.binary(max_size=200))
@settings(max_examples=150, deadline=None)
def test_fuzz_any_bytes(content: bytes) -> None:
    parses_or_bundle_error(content)


@given(place=st.floats(0, 1, exclude_max=True), byte=st.integers(0, 255))
@settings(max_examples=150, deadline=None)
def test_fuzz_one_byte_of_a_sound_manifest(sound_manifest: Json, place: float, byte: int) -> None:
    content = bytearray(json.dumps(sound_manifest).encode())
    content[int(place * len(content))] = byte
    parses_or_bundle_error(bytes(content))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(data=st.data(), value=json_values)
@settings(max_examples=150, deadline=None)
def test_fuzz_one_value_of_a_sound_manifest(
    sound_manifest: Json, data: st.DataObject, value: object
) -> None:
    path: list[str | int] = []
    target: Any = sound_manifest
    while isinstance(target, (dict, list)) and target and (not path or data.draw(st.booleans())):
        keys = list(target) if isinstance(target, dict) else list(range(len(target)))
        step: Any = data.draw(st.sampled_from(keys))
        path.append(step)
        target = target[step]
    parses_or_bundle_error(changed(sound_manifest, path, value))


def test_sizes_for_people() -> None:
    assert [human_size(n) for n in (0, 999, 1500, 1_234_567, 5_000_000_000)] == [
        "0 B",
        "999 B",
        "1.5 kB",
        "1.2 MB",
        "5.0 GB",
    ]
