"""LoRAs that requests weigh, in the engine: as merged weights, and never another request's."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("fgdm._core", reason="the C++ core is not built")

from fgdm import BundleError, Edit, Engine, RequestError, machine
from fgdm.cli import command
from fgdm.manifest import MANIFEST_HASH, hash_line
from numpy.typing import NDArray

PROMPT = "two dogs beside a park bench on the grass"
QUICK: dict[str, Any] = {
    "candidates": 2,
    "condition_steps": 3,
    "num_inference_steps": 4,
    "guidance": "cfg",
    "seed": 5,
    "stop_at_recall": 0,
}
Latents = dict[tuple[str, int], NDArray[np.float32]]


@pytest.fixture(scope="module")
def engine(lora_bundle: Path) -> Iterator[Engine]:
    with Engine(lora_bundle, backend="cpu", max_batch_rows=16) as opened:
        yield opened


@pytest.fixture(scope="module")
def merged(lora_bundle: Path, tiny_checkpoint: Any, tmp_path_factory: Any) -> Path:
    """The same checkpoint with style at 0.8 and line at -0.5 in its weights."""
    from fgdm.export.sources import Lora  # noqa: PLC0415 (needs what export needs)

    from tests.conftest import shared  # noqa: PLC0415
    from tests.tiny_loras import build_lora_bundle  # noqa: PLC0415

    sources = lora_bundle.with_name("sources")
    loras = [Lora(sources / "style.safetensors", 0.8), Lora(sources / "line.safetensors", -0.5)]
    return shared(
        tmp_path_factory,
        "merged",
        lambda folder: build_lora_bundle(folder, tiny_checkpoint, loras=loras),
    )


def keeping(seen: Latents) -> Callable[[Any], None]:
    """A step callback that keeps the predicted clean latents of each factor's candidates, which
    may step together or apart; after the last step those of that."""

    def keep(info: Any) -> None:
        for index, latents in zip(info.candidates, info.predicted_x0(), strict=True):
            seen[info.factor, index] = latents

    return keep


def painted(engine: Engine, **options: Any) -> Latents:
    """The predicted clean latents of every candidate's last step."""
    seen: Latents = {}
    engine.generate(PROMPT, step_callback=keeping(seen), **{**QUICK, **options})
    return seen


def difference(one: Latents, other: Latents) -> float:
    """The largest of any candidate, relative to its scale."""
    assert one.keys() == other.keys()
    return max(
        float(np.abs(one[name] - other[name]).max() / np.abs(other[name]).max()) for name in one
    )


@pytest.mark.parametrize("caching", [{}, {"cache_interval": 2}], ids=["whole", "shallow"])
def test_two_loras_at_once_are_merged_weights(
    engine: Engine, merged: Path, caching: dict[str, int]
) -> None:
    """Through text encoder, backbone and shallow backbone, maps and picture."""
    with Engine(merged, backend="cpu") as other:
        expected = painted(other, **caching)
    given = painted(engine, loras={"style": 0.8, "line": -0.5}, **caching)
    assert difference(given, expected) < 1e-4
    assert difference(painted(engine, **caching), expected) > 0.05


@pytest.mark.nightly
def test_openvino_weighs_them_too(
    lora_bundle: Path, merged: Path, openvino: machine.Plugin
) -> None:
    with Engine(merged, backend="cpu") as other:
        expected = painted(other)
    with Engine(lora_bundle, backend="openvino", precision="fp32", threads=1) as own:
        given = painted(own, loras={"style": 0.8, "line": -0.5})
        assert difference(given, expected) < 1e-4, openvino.version
        assert difference(painted(own), expected) > 0.05


def test_without_loras_the_picture_is_that_of_a_bundle_without(
    engine: Engine, tiny_checkpoint: Any, tmp_path: Path
) -> None:
    from tests.tiny_loras import build_lora_bundle  # noqa: PLC0415

    with Engine(build_lora_bundle(tmp_path / "plain", tiny_checkpoint), backend="cpu") as plain:
        expected = painted(plain)
    assert difference(painted(engine), expected) < 1e-6
    assert difference(painted(engine, loras={"style": 0, "line": 0.0}), expected) < 1e-6


def test_company_changes_nothing(engine: Engine) -> None:
    """Requests of different LoRAs, and of none, in the same batches."""
    wishes: list[dict[str, float]] = [{"style": 0.8}, {"line": 1.5}, {}, {"style": -1, "line": 0.3}]
    alone = [painted(engine, loras=loras) for loras in wishes]
    before = engine.metrics()["batches_of_rows"]
    together: list[Latents] = [{} for _ in wishes]
    jobs = [
        engine.submit(PROMPT, step_callback=keeping(seen), loras=loras, **QUICK)
        for seen, loras in zip(together, wishes, strict=True)
    ]
    for job in jobs:
        job.result()
    after: Mapping[int, int] = engine.metrics()["batches_of_rows"]
    assert any(int(rows) > 4 and count > before.get(rows, 0) for rows, count in after.items())
    for own, shared_ in zip(alone, together, strict=True):
        assert difference(shared_, own) < 1e-5
    for number, one in enumerate(alone):
        for other in alone[number + 1 :]:
            assert difference(one, other) > 0.01


def test_a_prompt_is_encoded_anew_for_other_loras(lora_bundle: Path) -> None:
    """Of style, which changes the text encoder; line doesn't, and shares what is kept."""
    with Engine(lora_bundle, backend="cpu") as own:

        def misses(**loras: float) -> int:
            before = int(own.metrics()["context_misses"])
            painted(own, loras=loras)
            return int(own.metrics()["context_misses"]) - before

        plain = misses()
        assert plain > 0
        assert misses() == misses(line=0.7) == 0
        assert misses(style=0.8) == plain
        assert misses(style=0.8, line=1) == 0
        assert misses(style=0.7) == plain


@pytest.mark.parametrize(
    ("loras", "words"),
    [
        ({"styl": 1}, 'loras has "styl", which this bundle doesn\'t have; it has style, line'),
        ({"style": float("nan")}, r'loras\["style"\] is nan, expected -100 to 100'),
        ({"style": 101}, r'loras\["style"\] is 101, expected -100 to 100'),
        ({"style": "much"}, r"loras\['style'\] must be a number"),
        ([0.8], "loras must map names to numbers"),
    ],
)
def test_what_can_not_be_weighed_is_refused(engine: Engine, loras: Any, words: str) -> None:
    with pytest.raises(RequestError, match=words):
        engine.submit(PROMPT, loras=loras, **QUICK)


def test_a_bundle_without_loras_says_how_they_come_in(tiny_bundle: Path) -> None:
    with Engine(tiny_bundle, backend="cpu") as plain:
        with pytest.raises(RequestError, match="it has none: fgdm export --runtime-lora"):
            plain.generate(PROMPT, loras={"style": 0.5}, **QUICK)
        assert plain.generate(PROMPT, loras={}, **QUICK).parameters["loras"] == {}


def test_what_is_inverted_takes_none(engine: Engine) -> None:
    image = engine.generate(PROMPT, **QUICK).image
    inversion = engine.invert(image=image, steps=10)
    with pytest.raises(RequestError, match="which changes the factor image; what is inverted"):
        engine.edit(inversion, [Edit("a ball")], loras={"style": 1.0})


def test_the_command_line_and_the_result_tell_them(lora_bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    quick = ["--candidates=1", "--condition-steps=2", "--num-inference-steps=2", "--seed=1"]
    common = ["generate", PROMPT, f"--bundle={lora_bundle}", f"--output={out}", "--quiet", *quick]
    assert command.main([*common, "--lora=style=0.8", "--lora=line=-0.5"]) == 0
    told = json.loads((out / "result.json").read_text())
    assert told["parameters"]["loras"] == {"style": 0.8, "line": -0.5}
    assert command.main([*common, "--lora=style=0.8", "--lora=style=1"]) == 2
    assert command.main(["inspect", str(lora_bundle)]) == 0


def test_inspect_lists_them(lora_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["inspect", str(lora_bundle)]) == 0
    assert "style  rank 3, changes segmentation, image" in capsys.readouterr().out


def spoil(bundle: Path, change: Any) -> None:
    """Changes a manifest, and makes its hash fit again."""
    manifest = json.loads((bundle / "manifest.json").read_text())
    change(manifest)
    content = json.dumps(manifest).encode()
    (bundle / "manifest.json").write_bytes(content)
    (bundle / MANIFEST_HASH).write_bytes(hash_line(content))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda loras: loras[0].update(rank=4), r"expected \[\d+,4\]"),
        (lambda loras: loras[0].update(file="palette.json"), "no safetensors file|incomplete"),
        (lambda loras: loras[1].update(name="style"), "two LoRAs are called style"),
        (lambda loras: loras[0].update(factors=["depth"]), 'the factor "depth", which the bundle'),
        (lambda loras: loras.clear(), 'has the input "lora_scale", but the bundle has no LoRAs'),
    ],
)
def test_a_spoilt_lora_is_a_damaged_bundle(
    lora_bundle: Path, tmp_path: Path, change: Any, words: str
) -> None:
    shutil.copytree(lora_bundle, tmp_path / "b")
    spoil(tmp_path / "b", lambda manifest: change(manifest["loras"]))
    with pytest.raises(BundleError, match=words):
        Engine(tmp_path / "b", backend="cpu")


def spoil_file(bundle: Path, change: Any) -> None:
    """Changes what a LoRA's file says of its tensors, and makes the manifest fit again."""
    name = "loras/style.safetensors"
    content = (bundle / name).read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    change(header)
    made = json.dumps(header, separators=(",", ":")).encode()
    assert len(made) <= length
    content = content[:8] + made.ljust(length) + content[8 + length :]
    (bundle / name).write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    spoil(bundle, lambda manifest: manifest["files"][name].update(sha256=digest))


DOWN = "backbone.lora_down"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda h: h.pop(DOWN), "it has one matrix of the backbone, expected both"),
        (lambda h: h[DOWN].update(dtype="I8"), "lora_down is I8, expected the graph's float32"),
        (lambda h: h[DOWN].update(data_offsets=[9, 0]), "lora_down lies outside of the file"),
        (lambda h: h[DOWN].update(data_offsets=[0]), "lora_down has no data_offsets"),
        (lambda h: h[DOWN].update(shape=[1, 2]), "lora_down has the shape"),
        (lambda h: h.clear(), "it changes neither the backbone nor the text encoder"),
    ],
)
def test_a_spoilt_file_of_a_lora_is_a_damaged_bundle(
    lora_bundle: Path, tmp_path: Path, change: Any, words: str
) -> None:
    bundle = Path(shutil.copytree(lora_bundle, tmp_path / "b"))
    spoil_file(bundle, change)
    with pytest.raises(BundleError, match=words):
        Engine(bundle, backend="cpu")


def test_a_lora_whose_numbers_end_beyond_its_file(lora_bundle: Path, tmp_path: Path) -> None:
    bundle = Path(shutil.copytree(lora_bundle, tmp_path / "b"))

    def move(header: Any) -> None:
        for tensor in header.values():
            if "data_offsets" in tensor:
                first, last = tensor["data_offsets"]
                tensor["data_offsets"] = [first + 8, last + 8]

    spoil_file(bundle, move)
    with pytest.raises(BundleError, match="lies outside of the file"):
        Engine(bundle, backend="cpu")


@pytest.mark.nightly
def test_low_memory_weighs_them_too(engine: Engine, lora_bundle: Path) -> None:
    with Engine(lora_bundle, backend="cpu", memory="low") as low:
        for loras in ({"style": 0.8}, {"line": -0.5, "style": 0.3}):
            found, expected = (painted(one, loras=loras) for one in (low, engine))
            for factor, latents in expected.items():
                np.testing.assert_allclose(found[factor], latents, atol=1e-3)
