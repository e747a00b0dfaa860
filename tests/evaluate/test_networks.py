"""Protects networks from files: what they are fed, what they are called, what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from fgdm.errors import BackendError, RequestError
from fgdm.evaluate.networks.clip import ClipScorer
from fgdm.evaluate.networks.dual_encoder import DualEncoderScore, DualEncoderTexts
from fgdm.evaluate.networks.files import FileNetwork
from fgdm.evaluate.networks.inception import Inception
from fgdm.evaluate.networks.scenes import ScenesSegmenter
from fgdm.train.segmenter import Segmenter, load_segmenter
from onnx import TensorProto, helper
from safetensors.torch import save_file
from torch import Tensor, nn

from tests.evaluate.test_metrics import torch_fidelity

PICTURES = np.random.default_rng(0).integers(0, 256, (3, 20, 24, 3)).astype(np.uint8)


class Channels(nn.Module):
    """Means of the channels, and twice these as logits."""

    def forward(self, pictures: Tensor) -> dict[str, Tensor]:
        means = pictures.mean((2, 3))
        return {"pool": means, "classes": 2 * means}


class Difference(nn.Module):
    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return (a - b).abs().mean((1, 2, 3))


def described(folder: Path, **fields: Any) -> Path:
    path = folder / "network.json"
    path.write_text(json.dumps({"name": "own", "kind": "features", **fields}))
    return path


def script(folder: Path, module: nn.Module) -> str:
    torch.jit.script(module).save(str(folder / "network.pt"))
    return "network.pt"


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_torchscript_gets_what_the_description_says(tmp_path: Path) -> None:
    path = described(
        tmp_path,
        file=script(tmp_path, Channels()),
        mean=[0.5, 0.4, 0.3],
        std=[0.1, 0.2, 0.4],
        output="pool",
        logits="classes",
    )
    network = FileNetwork(path)
    seen = network.see(PICTURES)
    expected = (PICTURES / 255 - [0.5, 0.4, 0.3]) / [0.1, 0.2, 0.4]
    assert seen.features == pytest.approx(expected.mean((1, 2)), rel=1e-4)
    assert seen.logits == pytest.approx(2 * expected.mean((1, 2)), rel=1e-4)
    assert network.name == "own" and not network.is_inception


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_distances_are_of_pairs(tmp_path: Path) -> None:
    path = described(tmp_path, kind="distance", file=script(tmp_path, Difference()))
    found = FileNetwork(path).distances(PICTURES, PICTURES[::-1])
    assert found[1] == 0 and found[0] == pytest.approx(found[2]) and found[0] > 0


def test_onnx_labels_are_the_classes_of_the_most(tmp_path: Path) -> None:
    """Channel by channel as logits: the label is the strongest colour."""
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 10, 12])
    taken = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3, 10, 12])
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", [given], [taken])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, tmp_path / "network.onnx")
    path = described(
        tmp_path,
        kind="labels",
        file="network.onnx",
        size=[10, 12],
        output="y",
        classes=["red", "green", "blue"],
    )
    halves = np.zeros((1, 20, 24, 3), np.uint8)
    halves[:, :, :12, 1] = halves[:, :, 12:, 2] = 200
    labels = FileNetwork(path).label(halves)
    assert labels.shape == (1, 10, 12) and set(labels[0, :, :5].ravel()) == {1}
    assert set(labels[0, :, 7:].ravel()) == {2}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "with name, file and kind"),
        ({"file": "a.onnx", "sise": [1, 2]}, "'sise'"),
        ({"file": "a.onnx", "kind": "magic"}, "kind is 'magic'"),
        ({"file": "a.onnx", "size": [1]}, "size is .*expected 2 numbers"),
        ({"file": "a.onnx", "kind": "labels"}, "names of their classes"),
        ({"file": "a.onnx"}, "can't load the network"),
        ({"file": "network.json", "sha256": "00"}, "has SHA-256"),
    ],
)
def test_descriptions_are_checked(tmp_path: Path, fields: dict[str, Any], words: str) -> None:
    with pytest.raises(RequestError, match=words):
        FileNetwork(described(tmp_path, **fields))


def test_the_scenes_segmenter_gives_its_labels_and_the_means_of_its_depths(tmp_path: Path) -> None:
    torch.manual_seed(0)
    path = tmp_path / "segmenter.safetensors"
    save_file(Segmenter().state_dict(), path)
    network = ScenesSegmenter(path)
    pictures = np.random.default_rng(1).integers(0, 256, (2, 128, 128, 3)).astype(np.uint8)
    assert network.label(pictures).shape == (2, 64, 64)
    plain = load_segmenter(path)
    kept: list[Tensor] = []
    plain.fourth.register_forward_hook(lambda module, inputs, output: kept.append(output))
    with torch.no_grad():
        plain(torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1)
    assert network.see(pictures).features == pytest.approx(kept[0].mean((2, 3)).numpy(), abs=1e-5)
    assert network.see(np.zeros((1, 512, 512, 3), np.uint8)).features.shape == (1, 128)
    with pytest.raises(RequestError, match="--segmenter FILE"):
        ScenesSegmenter(tmp_path / "none")


def test_the_scenes_dual_encoder_compares_each_picture_with_its_own_prompt() -> None:
    folder = Path(__file__).parents[2] / "benchmarks/dual_encoder"
    scorer, texts = DualEncoderScore(folder), DualEncoderTexts(folder)
    prompts = ["a dog", "two cats beside a house"]
    embedded = texts.embed(prompts)
    assert embedded.shape == (2, 256)
    assert np.linalg.norm(embedded, axis=1) == pytest.approx(1)
    pictures = np.random.default_rng(1).integers(0, 256, (2, 96, 160, 3)).astype(np.uint8)
    scores = scorer.score(pictures, prompts)
    swapped = scorer.score(pictures, prompts[::-1])
    assert scores.shape == (2,) and (np.abs(scores) <= 100.001).all()
    assert (scores != swapped).all()
    with pytest.raises(RequestError, match="expected the folder that"):
        DualEncoderTexts(folder.parent)


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random CLIP of a few thousand weights, with the scenes bundle's tokenizer."""
    from transformers import (  # noqa: PLC0415
        CLIPConfig,
        CLIPImageProcessorPil,
        CLIPModel,
        CLIPTokenizer,
    )

    folder = tmp_path_factory.mktemp("clip")
    tokenizer = CLIPTokenizer.from_pretrained(
        Path(__file__).parents[2] / "bundles/scenes/tokenizer"
    )
    tokenizer.save_pretrained(folder)
    small = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2}
    text = {"vocab_size": len(tokenizer), "max_position_embeddings": 24, "num_hidden_layers": 2}
    text |= {"eos_token_id": tokenizer.eos_token_id, "bos_token_id": tokenizer.bos_token_id}
    torch.manual_seed(3)
    vision = {"image_size": 32, "patch_size": 8, "num_hidden_layers": 2}
    config = CLIPConfig(
        text_config={**small, **text}, vision_config={**small, **vision}, projection_dim=8
    )
    CLIPModel(config).save_pretrained(folder)
    CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size=32).save_pretrained(folder)
    return folder


def test_the_clip_score_is_torchmetrics_s(clip_folder: Path) -> None:
    from torchmetrics.functional.multimodal import clip_score  # noqa: PLC0415
    from transformers import (  # noqa: PLC0415
        CLIPImageProcessorPil,
        CLIPModel,
        CLIPProcessor,
        CLIPTokenizer,
    )

    def loaded() -> Any:
        processor = CLIPProcessor(
            CLIPImageProcessorPil.from_pretrained(clip_folder),
            CLIPTokenizer.from_pretrained(clip_folder),
        )
        return Older(CLIPModel.from_pretrained(clip_folder)), processor

    class Older(nn.Module):
        """As torchmetrics knows CLIPModel, from before its features came with hidden states."""

        def __init__(self, model: Any) -> None:
            super().__init__()
            self.model, self.config = model, model.config

        def get_image_features(self, pixels: Tensor) -> Any:
            return self.model.get_image_features(pixels).pooler_output

        def get_text_features(self, *given: Tensor) -> Any:
            return self.model.get_text_features(*given).pooler_output

    texts = ["a dog", "two cats beside a house", "the sun above the sea " * 20]
    scorer = ClipScorer(clip_folder)
    ours = scorer.score(PICTURES, texts)
    assert scorer.name == f"CLIP score ({clip_folder.name})"
    assert len(set(ours)) == 3
    images = [torch.from_numpy(picture).permute(2, 0, 1) for picture in PICTURES]
    # Of what is too long, torchmetrics cuts the end token off, too, which CLIP reads a text by.
    for score, image, text in zip(ours[:2], images[:2], texts[:2], strict=True):
        theirs = clip_score(image, text, model_name_or_path=loaded)
        assert max(0, score) == pytest.approx(float(theirs.detach()), abs=1e-3)


def test_what_is_no_clip_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="can't read a CLIP model"):
        ClipScorer(tmp_path)


def test_inception_is_torch_fidelity_s_and_only_with_its_weights_called_so(tmp_path: Path) -> None:
    weights = tmp_path / "random.pth"
    found = torch_fidelity("inception", tmp_path, pictures=PICTURES, weights=str(weights))
    assert found["features"].shape == (3, 2048) and found["features"].std() > 0
    assert np.array_equal(found["features"], found["their_features"])
    assert np.array_equal(found["logits"], found["their_logits"])
    assert not found["is_inception"] and found["name"] == "weights of random.pth"


def test_inception_without_its_package_says_what_to_install(tmp_path: Path) -> None:
    try:
        import torch_fidelity  # noqa: F401, PLC0415
    except (ImportError, RuntimeError):
        with pytest.raises(BackendError, match=r"pip install 'fgdm\[inception\]'"):
            Inception(tmp_path / "weights.pth")
    else:
        with pytest.raises(RequestError, match="can't read Inception-v3's weights"):
            Inception(tmp_path / "weights.pth")
