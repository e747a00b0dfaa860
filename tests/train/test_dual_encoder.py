"""The dual encoder learns from what is true of a scene, its graphs are its weights, and the one
that ships tells right captions from wrong ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from fgdm.errors import BundleError
from fgdm.train.__main__ import main
from fgdm.train.classes import INDEX, THINGS
from fgdm.train.dataset import render_scenes
from fgdm.train.dual_encoder import DualEncoder, load_dual_encoder
from fgdm.train.dual_encoder_figures import held_out_pairs, retrieval, telling
from fgdm.train.dual_encoder_files import open_scorer
from fgdm.train.dual_encoder_onnx import write_graphs
from fgdm.train.dual_encoder_recipe import (
    DualEncoderRecipe,
    Texts,
    contrast,
    pictures_of,
    save_dual_encoder,
    truths,
    whereabouts,
)
from fgdm.train.presets import SMOKE
from fgdm.train.world import sample_scene
from fgdm.train.wrong_captions import (
    CHANGES,
    mirrored,
    other_class,
    other_count,
    other_place,
    other_side,
)
from PIL import Image

ROOT = Path(__file__).parents[2]
TOKENIZER = ROOT / "bundles" / "scenes" / "tokenizer"
SHIPPED = ROOT / "benchmarks" / "dual_encoder"
CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("kind", "text", "wrong"),
    [
        ("count", "the sun above a red ball and a dog in a meadow", {
            "the sun above a red ball and two dogs in a meadow",
            "the sun above a red ball and three dogs in a meadow",
        }),
        ("count", "a drawing of two people on a beach", {
            "a drawing of a person on a beach",
            "a drawing of three people on a beach",
        }),
        ("side", "a boat to the left of an oak", {"a boat to the right of an oak"}),
        ("place", "a bird over a bus behind a cat", {
            "a bird under a bus behind a cat",
            "a bird over a bus in front of a cat",
        }),
        ("place", "a dog on a road under a blue sky", {None}),
        ("side", "a dog beside a cat", {None}),
        ("count", "two kites to the left of the sun", {None}),
        ("class", "mountains", {None}),
    ],
)  # fmt: skip
def test_a_wrong_caption_says_one_thing_otherwise(
    kind: str, text: str, wrong: set[str | None]
) -> None:
    found = {CHANGES[kind](text, np.random.default_rng(seed)) for seed in range(30)}
    assert found == wrong


def test_a_wrong_class_is_one_that_the_caption_lacks() -> None:
    text = "an umbrella and two red cars"
    found = {other_class(text, np.random.default_rng(seed)) for seed in range(300)}
    assert {"the sun and two red cars", "an umbrella and two dogs"} <= found
    assert "an umbrella and two red houses" in found, "a house may be red, a dog not"
    for name in ("umbrella", "car"):
        assert not any(str(one).count(name) > 1 for one in found)


def test_the_mirrored_caption_is_true_of_the_mirrored_picture() -> None:
    text = "a dog to the left of a cat to the right of a bus above a ball"
    assert mirrored(text) == "a dog to the right of a cat to the left of a bus above a ball"
    assert mirrored(mirrored(text)) == text


def test_what_the_eye_should_see_is_what_the_scene_holds() -> None:
    seeds = range(40, 46)
    scenes = [sample_scene(seed) for seed in seeds]
    labels = render_scenes(seeds[0], len(seeds), 128, 128).labels
    found = truths(labels, scenes, mirror=False, device=CPU)
    assert torch.allclose(found.areas.sum(1), torch.ones(6, 16, 16))
    dogs = (labels[:, ::2, ::2] == INDEX["dog"]).mean((1, 2))
    assert found.areas[:, INDEX["dog"]].mean((1, 2)).numpy() == pytest.approx(dogs)
    for scene, centres in zip(scenes, found.centres, strict=True):
        for name, here in zip(THINGS, centres, strict=True):
            items = [item for item in scene.instances if item.name == name]
            cells = {(int(16 * item.y), int(16 * item.x)) for item in items}
            assert {tuple(cell) for cell in here.nonzero().tolist()} == cells
    for row, item in enumerate(item for scene in scenes for item in scene.instances):
        _, y, x = found.where[row].tolist()
        offset = found.boxes[row, :2].numpy()
        assert ((x, y) + offset + 0.5) / 16 == pytest.approx((item.x, item.y), abs=1e-5)
    turned = truths(labels, scenes, mirror=True, device=CPU)
    assert torch.equal(turned.areas.flip(3), found.areas)
    assert torch.equal(turned.centres.flip(3), found.centres)


def test_the_contrast_is_clip_s_with_wrong_captions_among_the_texts() -> None:
    """Written out in float64."""
    torch.manual_seed(0)
    images, texts = torch.randn(3, 8), torch.randn(6, 8)
    value, share = contrast(images, texts, torch.tensor(2.0))
    logits = 2 * images.double().numpy() @ texts.double().numpy().T
    chances = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    back = np.exp(logits[:, :3]) / np.exp(logits[:, :3]).sum(0)
    expected = -(np.log(chances.diagonal()).mean() + np.log(back.diagonal()).mean()) / 2
    assert value.item() == pytest.approx(expected, rel=1e-5)
    assert share == pytest.approx(np.mean(chances.argmax(1) == np.arange(3)))


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> tuple[DualEncoder, Path]:
    """A random model as a run saves it, and its folder."""
    folder = tmp_path_factory.mktemp("untrained")
    recipe = DualEncoderRecipe(SMOKE, folder, TOKENIZER, CPU, workers=1)
    texts = Texts(recipe.tokenizer)
    torch.manual_seed(1)
    save_dual_encoder(DualEncoder(texts.vocabulary, texts.end), folder / "model.safetensors")
    model = load_dual_encoder(folder / "model.safetensors")
    write_graphs(model, folder)
    return model, folder


def test_the_graphs_are_the_weights(untrained: tuple[DualEncoder, Path]) -> None:
    """And take one picture of another size, and one text, as scorers give them."""
    model, folder = untrained
    scorer = open_scorer(folder)
    texts = Texts(folder / "tokenizer")
    images = render_scenes(5, 2, 128, 64).images
    with torch.no_grad():
        of_images = model.image(pictures_of(images, mirror=False, device=CPU)).numpy()
        of_text = model.text(texts(["two dogs beside a house", "a cat"])).numpy()
    for image, expected in zip(images, of_images, strict=True):
        assert scorer.embed_image(Image.fromarray(image)) == pytest.approx(expected, abs=2e-5)
    assert scorer.embed_text("two dogs beside a house") == pytest.approx(of_text[0], abs=2e-5)
    assert scorer.embed_text("a cat") == pytest.approx(of_text[1], abs=2e-5)
    assert np.linalg.norm(scorer.embed_image(Image.new("RGB", (96, 64)))) == pytest.approx(1)
    assert scorer.embed_text("a cat " * 99).shape == scorer.embed_text("").shape == (256,)


def test_what_follows_the_end_of_a_text_is_not_read(
    untrained: tuple[DualEncoder, Path],
) -> None:
    model, folder = untrained
    ids = Texts(folder / "tokenizer")(["a red dog", "a cat under a tree and two people"])
    changed = ids.clone()
    changed[0, 5:] = 3
    with torch.no_grad():
        assert torch.allclose(model.text(ids), model.text(changed), atol=1e-6)


def test_whereabouts_are_of_what_is_there() -> None:
    scene = sample_scene(7)
    known, there = whereabouts([scene])
    assert known.shape == (1, len(THINGS), 4)
    for column, name in enumerate(THINGS):
        items = [item for item in scene.instances if item.name == name]
        assert bool(there[0, column]) == bool(items)
        assert float(known[0, column, 3]) == pytest.approx(len(items) / 3)
        if items:
            x = np.mean([item.x for item in items])
            assert float(known[0, column, 0]) == pytest.approx((x - 0.5) * 4, abs=1e-5)


def test_the_command_trains_goes_on_and_exports(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["dual-encoder", "--preset", "smoke", "--workers", "1", "--output", str(tmp_path)]
    given += ["--tokenizer", str(TOKENIZER)]
    assert main(given) == 0
    first = open_scorer(tmp_path).embed_text("a dog")
    assert "towers 2/2" in capsys.readouterr().out
    (tmp_path / "text_encoder.onnx").unlink()
    assert main(given) == 0, "what is finished is read back"
    assert "towers" not in capsys.readouterr().out
    assert open_scorer(tmp_path).embed_text("a dog").tolist() == first.tolist()


def test_a_folder_that_is_no_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError):
        DualEncoderRecipe(SMOKE, tmp_path, tmp_path, CPU, workers=1)


def test_retrieval_counts_the_nearest() -> None:
    own = np.eye(6, dtype=np.float32)
    assert retrieval(own, own, 3)["image_to_text"] == {"first_1": 1.0, "first_5": 1.0}
    off = np.roll(own, 1, 0)
    assert retrieval(own, off, 6)["text_to_image"]["first_1"] == 0.0
    half = np.concatenate([own[:3], -own[3:]])
    assert retrieval(own, half, 6)["image_to_text"]["first_1"] == 0.5
    same = np.ones((6, 2), np.float32)
    assert retrieval(same, same, 6)["image_to_text"]["first_5"] == 0.0, "it tells nothing apart"


def test_words_that_give_a_wrong_caption_away_are_found_out() -> None:
    """An encoder that knows right texts by a number that all pictures have."""
    images = np.tile(np.array([1, 0], np.float32), (4, 1))
    right, wrong = (
        np.tile(np.array([1, 0], np.float32), (4, 1)),
        np.tile(np.array([0, 1], np.float32), (4, 1)),
    )
    found = telling(images, right, wrong)
    assert found["right_is_nearer"]["estimate"] == found["words_alone"] == 1.0
    assert telling(images, right, right)["words_alone"] == 0.5


def test_the_shipped_encoder_tells_wrong_captions_of_held_out_scenes() -> None:
    """The bounds are below what the 1000 pairs of its figures give."""
    scorer = open_scorer(SHIPPED)
    pairs = held_out_pairs(120)
    images = np.stack([scorer.embed_image(Image.fromarray(pair.image)) for pair in pairs])
    right = np.stack([scorer.embed_text(pair.text) for pair in pairs])
    rng = np.random.default_rng(3)
    bounds = ((other_class, 0.9), (other_count, 0.7), (other_side, 0.85), (other_place, 0.7))
    for change, least in bounds:
        changed = [(i, change(pair.text, rng)) for i, pair in enumerate(pairs)]
        rows = [i for i, text in changed if text is not None]
        wrong = np.stack([scorer.embed_text(text) for _, text in changed if text is not None])
        found = telling(images[rows], right[rows], wrong)
        assert found["right_is_nearer"]["estimate"] >= least, change.__name__
    assert retrieval(images, right, 100)["image_to_text"]["first_1"] >= 0.5


def test_the_shipped_encoder_s_tokenizer_is_the_bundle_s() -> None:
    """So that `fgdm generate --dual-encoder`, which takes the bundle's, asks what it has learnt."""
    for name in ("vocab.json", "merges.txt"):
        assert (SHIPPED / "tokenizer" / name).read_bytes() == (TOKENIZER / name).read_bytes()
