"""What `export_bundle` writes, and what it leaves behind when it can't."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from diffusers import AutoencoderKL, ControlNetModel, UNet2DConditionModel
from fgdm.export.adapter import TimestepAdapter
from fgdm.export.bundle import export_bundle
from fgdm.export.check import check_graph, open_session
from fgdm.export.defaults import TOLERANCE
from fgdm.export.errors import ExportError
from fgdm.export.graphs import decoder_graph
from fgdm.export.onnx_export import export_graph
from fgdm.export.signature import Precision
from fgdm.export.sources import Lora
from fgdm.export.weights import WeightStore
from onnx.external_data_helper import load_external_data_for_tensor
from safetensors.torch import load_file, save_file
from transformers import CLIPTextModel, CLIPTokenizer

from tests.tiny_models import GRAPHS, GROUPS, TinyCheckpoint


@pytest.fixture
def manifest(tiny_bundle: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((tiny_bundle / "manifest.json").read_text())
    return content


def export(checkpoint: TinyCheckpoint, output: Path, **changes: Any) -> Path:
    arguments: dict[str, Any] = {
        "base": checkpoint.base,
        "adapters": {"segmentation": checkpoint.adapter},
        "controlnets": checkpoint.controlnet,
        "palette": checkpoint.palette,
        "name": "tiny",
    }
    return export_bundle(output=output, **{**arguments, **changes})


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def edit_json(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


# What a bundle holds.


def test_manifest_lists_every_file_with_its_hash(
    tiny_bundle: Path, manifest: dict[str, Any]
) -> None:
    files = contents(tiny_bundle)
    digest = hashlib.sha256(files.pop("manifest.json")).hexdigest()
    assert files.pop("manifest.sha256").decode() == f"{digest}  manifest.json\n"
    assert manifest["files"] == {
        name: {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        for name, data in files.items()
    }


def test_manifest_describes_the_chain(manifest: dict[str, Any]) -> None:
    assert manifest["schema"] == 3
    assert set(manifest["graphs"]) == set(GRAPHS)
    condition, image = manifest["factors"]
    assert (condition["name"], condition["height"], condition["num_inference_steps"]) == (
        "segmentation",
        32,
        10,
    )
    assert (image["name"], image["height"], image["num_inference_steps"]) == ("image", 64, 20)
    assert manifest["autoencoder"]["downscale"] == 4
    backbone = manifest["backbone"]
    assert backbone["downscale"] == 4
    assert [tuple(entry.values()) for entry in backbone["intrablock_residuals"]] == [
        (32, 1),
        (64, 2),
        (64, 4),
    ]
    assert len(backbone["down_residuals"]) == 6
    assert manifest["scheduler"]["steps_offset"] == 1
    assert "backbone" in manifest["graphs"]
    for name, graph in manifest["graphs"].items():
        assert 0 < graph["max_error"] <= graph["tolerance"], name


def test_manifest_shapes_are_the_graphs(tiny_bundle: Path, manifest: dict[str, Any]) -> None:
    for graph in manifest["graphs"].values():
        session = open_session(tiny_bundle / graph["file"])
        for described, actual in (
            (graph["inputs"], session.get_inputs()),
            (graph["outputs"], session.get_outputs()),
        ):
            assert [(entry["name"], entry["shape"]) for entry in described] == [
                (entry.name, entry.shape) for entry in actual
            ]


def test_graphs_hold_no_weights(tiny_bundle: Path) -> None:
    paths = list(tiny_bundle.glob("*.onnx"))
    assert "backbone.onnx" in [path.name for path in paths]
    for path in paths:
        model = onnx.load(path, load_external_data=False)
        inline = [entry for entry in model.graph.initializer if not entry.external_data]
        assert all(np.prod(entry.dims) <= 64 for entry in inline), path.name
        assert path.stat().st_size < 1 << 20, path.name
        assert [function.name for function in model.functions] == (
            ["SegFreeAttention"] if path.stem.startswith("backbone") else []
        )


def test_initializers_are_the_safetensors_under_their_own_names(tiny_bundle: Path) -> None:
    stored = load_file(tiny_bundle / "unet/diffusion_pytorch_model.safetensors")
    model = onnx.load(tiny_bundle / "backbone.onnx", load_external_data=False)
    names = set()
    for initializer in model.graph.initializer:
        if initializer.external_data:
            load_external_data_for_tensor(initializer, str(tiny_bundle))
            key = initializer.name.removeprefix("unet.")
            names.add(key)
            np.testing.assert_array_equal(onnx.numpy_helper.to_array(initializer), stored[key])
    assert names == set(stored)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_equal_parameters_stay_apart(
    tiny_checkpoint: TinyCheckpoint, tmp_path: Path, precision: Precision
) -> None:
    """PyTorch 2.13's exporter makes one of equal parameters of up to 1,024 elements, under the name
    of the first: new weights in the file's place would then not reach the others."""
    vae = AutoencoderKL.from_pretrained(tiny_checkpoint.base / "vae").eval()
    retrained = AutoencoderKL.from_pretrained(tiny_checkpoint.base / "vae").eval()
    small = [name for name, value in vae.named_parameters() if value.numel() <= 1024]
    for name in small:
        torch.nn.init.constant_(vae.get_parameter(name), 0.125)
    assert len(small) > 20
    WeightStore(tmp_path / "new", precision).save(retrained, "vae", "model.safetensors")
    store = WeightStore(tmp_path, precision)
    store.save(vae, "vae", "model.safetensors")
    graph = decoder_graph(vae, 4).in_precision(precision)
    path = export_graph(graph, store)
    names = {entry.name for entry in onnx.load(path, load_external_data=False).graph.initializer}
    decoder = {name for name in small if name.startswith(("decoder.", "post_quant_conv."))}
    assert {f"vae.{name}" for name in decoder} <= names
    shutil.copy(tmp_path / "new/vae/model.safetensors", tmp_path / "vae/model.safetensors")
    check_graph(decoder_graph(retrained, 4).in_precision(precision), path, TOLERANCE[precision])


def test_the_text_encoder_has_the_names_that_others_read(tiny_bundle: Path) -> None:
    """transformers wrote text_model. before them until 5.6, and other programs rely on it."""
    names = load_file(tiny_bundle / "text_encoder/model.safetensors")
    assert all(name.startswith("text_model.") for name in names)
    assert "text_model.embeddings.token_embedding.weight" in names


def test_subfolders_load_as_the_libraries_own(
    tiny_bundle: Path, tiny_checkpoint: TinyCheckpoint
) -> None:
    base = tiny_checkpoint.base
    for kind, source, folder in (
        (UNet2DConditionModel, base / "unet", "unet"),
        (AutoencoderKL, base / "vae", "vae"),
        (CLIPTextModel, base / "text_encoder", "text_encoder"),
        (TimestepAdapter, tiny_checkpoint.adapter, "adapter_segmentation"),
        (ControlNetModel, tiny_checkpoint.controlnet, "controlnet_segmentation"),
    ):
        exported = kind.from_pretrained(tiny_bundle / folder).state_dict()
        for key, value in kind.from_pretrained(source).state_dict().items():
            assert torch.equal(exported[key].float(), value.half().float()), (folder, key)
    tokenizer = CLIPTokenizer.from_pretrained(tiny_bundle / "tokenizer")
    assert tokenizer("two dogs").input_ids == (
        CLIPTokenizer.from_pretrained(base / "tokenizer")("two dogs").input_ids
    )


def test_bundle_names_no_folder_of_this_machine(
    tiny_bundle: Path, tiny_checkpoint: TinyCheckpoint
) -> None:
    folder = str(tiny_checkpoint.base.parent).encode()
    assert not [name for name, data in contents(tiny_bundle).items() if folder in data]


def test_fp32_weights_are_the_checkpoints(tiny_checkpoint: TinyCheckpoint, tmp_path: Path) -> None:
    vae = AutoencoderKL.from_pretrained(tiny_checkpoint.base / "vae").eval()
    store = WeightStore(tmp_path, "fp32")
    store.save(vae, "vae", "model.safetensors")
    source = load_file(tiny_checkpoint.base / "vae/diffusion_pytorch_model.safetensors")
    stored = load_file(tmp_path / "vae/model.safetensors")
    assert all(torch.equal(stored[key], value) for key, value in source.items())
    graph = decoder_graph(vae, 4)
    path = export_graph(graph, store)
    assert check_graph(graph, path) < 1e-5
    model = onnx.load(path, load_external_data=False)
    external = [entry.data_type for entry in model.graph.initializer if entry.external_data]
    assert set(external) == {onnx.TensorProto.FLOAT}


@pytest.mark.nightly
def test_a_tokenizer_of_new_transformers_and_a_lora(
    tiny_checkpoint: TinyCheckpoint, tiny_bundle: Path, tmp_path: Path
) -> None:
    """The bundle has the merged weights, and a tokenizer in the files that the engine reads."""
    tokenizer = CLIPTokenizer.from_pretrained(tiny_checkpoint.base / "tokenizer")
    tokenizer.save_pretrained(tmp_path / "new")
    layer = "mid_block.resnets.0.time_emb_proj"
    down, up = torch.ones(1, 128), torch.ones(64, 1)
    lora = {f"unet.{layer}.lora_A.weight": down, f"unet.{layer}.lora_B.weight": up}
    save_file(lora, tmp_path / "lora.safetensors")
    loras = [Lora(tmp_path / "lora.safetensors", 0.25)]
    root = export(tiny_checkpoint, tmp_path / "b", tokenizer=tmp_path / "new", loras=loras)
    plain, merged = (
        load_file(folder / "unet/diffusion_pytorch_model.safetensors")
        for folder in (tiny_bundle, root)
    )
    changed = {key for key in plain if not torch.equal(plain[key], merged[key])}
    assert changed == {f"{layer}.weight"}
    for name in ("merges.txt", "vocab.json"):
        expected = (tiny_bundle / "tokenizer" / name).read_text()
        assert (root / "tokenizer" / name).read_text().split() == expected.split()


# What happens to what is there already.


def test_existing_output_is_refused(tiny_checkpoint: TinyCheckpoint, tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    with pytest.raises(ExportError, match="exists"):
        export(tiny_checkpoint, tmp_path / "b")


def test_only_a_bundle_is_overwritten(tiny_checkpoint: TinyCheckpoint, tmp_path: Path) -> None:
    precious = tmp_path / "b" / "thesis.txt"
    precious.parent.mkdir()
    precious.write_text("years of work")
    with pytest.raises(ExportError, match="isn't a bundle"):
        export(tiny_checkpoint, tmp_path / "b", overwrite=True)
    assert precious.read_text() == "years of work"


def test_failed_check_names_the_graph_and_keeps_the_old_bundle(
    tiny_bundle: Path, tiny_checkpoint: TinyCheckpoint, tmp_path: Path
) -> None:
    output = tmp_path / "b"
    shutil.copytree(tiny_bundle, output)
    before = contents(output)
    with pytest.raises(ExportError, match=r"graph text_encoder: .* differs from PyTorch"):
        export(tiny_checkpoint, output, overwrite=True, tolerance=0.0)
    assert contents(output) == before
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def test_interruption_leaves_nothing(tiny_checkpoint: TinyCheckpoint, tmp_path: Path) -> None:
    def interrupt(what: str, done: int, total: int) -> None:
        if done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export(tiny_checkpoint, tmp_path / "b", progress=interrupt)
    assert not list(tmp_path.iterdir())


# What doesn't fit.


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"adapters": {}}, "no factor makes labels, so that nothing has a palette"),
        ({"palette": None}, "segmentation makes labels; give the palette with its classes"),
        ({"adapters": {"Depth Map": Path("x")}}, "lower-case"),
        ({"weights": "int3"}, "expected one of fp16, fp32"),
        ({"name": " "}, "name is empty"),
        ({"controlnets": Path("missing")}, "the ControlNet: there is no missing"),
        ({"controlnets": []}, "no ControlNet or T2I-Adapter paints from the maps"),
        ({"tiny_decoder": "missing"}, "tiny decoder"),
        ({"hint_palette": "celebamask"}, "share no class name"),
    ],
)
def test_bad_arguments(
    tiny_checkpoint: TinyCheckpoint, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ExportError, match=message):
        export(tiny_checkpoint, tmp_path / "b", **changes)
    assert not list(tmp_path.iterdir())


def test_adapter_of_another_base(tiny_checkpoint: TinyCheckpoint, tmp_path: Path) -> None:
    TimestepAdapter(
        channels=(32, 32, 32), time_embed_dim=128, norm_num_groups=GROUPS
    ).save_pretrained(tmp_path / "adapter")
    with pytest.raises(ExportError, match=r"adapter's channels: \[32, 32, 32\] given"):
        export(tiny_checkpoint, tmp_path / "b", adapters={"segmentation": tmp_path / "adapter"})


@pytest.mark.nightly
def test_model_that_predicts_velocity(tiny_checkpoint: TinyCheckpoint, tmp_path: Path) -> None:
    base = tmp_path / "base"
    shutil.copytree(tiny_checkpoint.base, base)
    edit_json(base / "scheduler/scheduler_config.json", prediction_type="v_prediction")
    export(tiny_checkpoint, tmp_path / "b", base=base)  # which compares a picture with diffusers'
    manifest = json.loads((tmp_path / "b/manifest.json").read_text())
    assert manifest["scheduler"]["prediction_type"] == "v_prediction"
    edit_json(base / "scheduler/scheduler_config.json", prediction_type="sample")
    with pytest.raises(ExportError, match="prediction_type is 'sample'"):
        export(tiny_checkpoint, tmp_path / "c", base=base)


def test_truncated_weights(tiny_checkpoint: TinyCheckpoint, tmp_path: Path) -> None:
    broken = tmp_path / "controlnet"
    shutil.copytree(tiny_checkpoint.controlnet, broken)
    path = broken / "diffusion_pytorch_model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(
        ExportError, match=r"controlnet/diffusion_pytorch_model\.safetensors is truncated"
    ):
        export(tiny_checkpoint, tmp_path / "b", controlnets=broken)


def test_weights_that_overflow_float16(tiny_checkpoint: TinyCheckpoint, tmp_path: Path) -> None:
    adapter = TimestepAdapter.from_pretrained(tiny_checkpoint.adapter)
    adapter.conv_in.weight.data[0, 0, 0, 0] = 1e5
    with pytest.raises(ExportError, match=r"conv_in.weight reaches 100000, which fp16"):
        WeightStore(tmp_path, "fp16").save(adapter, "adapter", "model.safetensors")
