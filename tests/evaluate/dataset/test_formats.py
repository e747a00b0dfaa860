"""Each format, read back with its own library, holds what the folder holds."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import webdataset
from fgdm.errors import RequestError
from fgdm.evaluate.dataset import Made, measure_balance, read_samples
from fgdm.evaluate.dataset.balance import write_balance
from fgdm.evaluate.dataset.formats import FORMATS, check_formats
from fgdm.evaluate.dataset.formats.coco import run_lengths
from fgdm.evaluate.dataset.formats.shards import write_shards
from fgdm.evaluate.dataset.store import Store
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from tests.evaluate.dataset.conftest import SCENES

PALETTE: dict[str, Any] = json.loads((SCENES / "palette.json").read_text())
DOG, TREE, SKY, GRASS = (
    next(e["index"] for e in PALETTE["classes"] if e["name"] == name)
    for name in ("dog", "tree", "sky", "grass")
)


@pytest.fixture
def data(small: Path, tmp_path: Path) -> Path:
    """A copy of the six samples, to write formats into."""
    return Path(shutil.copytree(small, tmp_path / "data"))


def picture(path: Path) -> np.ndarray:
    with Image.open(path) as opened:
        return np.asarray(opened)


def test_parquet_in_datasets(data: Path) -> None:
    (path,) = FORMATS["parquet"](data)
    assert path == data / "parquet" / "data" / "train-00000-of-00001.parquet"
    loaded = datasets.load_dataset(
        str(data / "parquet"), split="train", cache_dir=str(data / "cache")
    )
    records = list(read_samples(data))
    assert len(loaded) == len(records) == 6
    assert isinstance(loaded.features["segmentation"], datasets.Image)
    for row, (folder, record) in zip(loaded, records, strict=True):
        assert row["index"] == record["index"] and row["prompt"] == record["prompt"]
        assert row["requested"] == record["requested"] and row["recall"] == record["recall"]
        assert row["agreement"] is None and json.loads(row["record"]) == record
        for name in ("image", "segmentation", "depth"):
            assert np.array_equal(np.asarray(row[name]), picture(folder / f"{name}.png")), name
    first = path.read_bytes()
    FORMATS["parquet"](data)
    assert path.read_bytes() == first


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # its open file
def test_webdataset_in_webdataset(data: Path) -> None:
    (path,) = FORMATS["webdataset"](data)
    rows = list(webdataset.WebDataset(str(path), shardshuffle=False).decode("rgb8"))
    assert len(rows) == 6
    for row, (folder, record) in zip(rows, read_samples(data), strict=True):
        assert row["__key__"] == f"{record['index']:08}"
        assert row["json"] == record and row["txt"] == record["prompt"]
        assert np.array_equal(row["image.png"], picture(folder / "image.png"))
        with Image.open(folder / "segmentation.png") as labels:
            assert np.array_equal(row["segmentation.png"], np.asarray(labels.convert("RGB")))
    first = path.read_bytes()
    path.touch()
    FORMATS["webdataset"](data)
    assert path.read_bytes() == first, "nothing in it depends on when it was written"


def write_world(folder: Path) -> None:
    """Two samples whose labels are known: two dogs that touch by a corner are one, one is apart; a
    tree of a pixel is too small; a row is unlabeled. The second is all sky."""
    labels = np.full((20, 20), SKY, np.uint8)
    labels[10:] = GRASS
    labels[12:14, 1:3] = labels[14:16, 3:5] = labels[12:14, 10:14] = DOG
    labels[0, 0] = TREE
    labels[9] = 255
    head = {"factors": {"segmentation": {"output": "labels", "palette": PALETTE}}}
    with Store(folder) as store:
        store.begin(head, 2)
        for index, pixels in ((3, labels), (4, np.full((20, 20), SKY, np.uint8))):
            stream, shown = io.BytesIO(), io.BytesIO()
            Image.fromarray(pixels).save(stream, "PNG")
            Image.new("RGB", (40, 40)).save(shown, "PNG")
            record = {
                "index": index,
                "prompt": "a dog",
                "image": {"file": "image.png", "width": 40, "height": 40},
                "factors": {"segmentation": {"file": "segmentation.png", "areas": {}}},
                "parameters": {"min_area": 0.005, "instance_opening": 0},
            }
            pictures = {"image": shown.getvalue(), "segmentation": stream.getvalue()}
            store.add(Made(index, record, pictures))


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_instances_in_pycocotools(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_world(tmp_path)
    FORMATS["coco"](tmp_path)
    coco = COCO(tmp_path / "coco" / "instances.json")
    capsys.readouterr()  # it prints
    assert coco.getImgIds() == [3, 4]
    (shown,) = coco.loadImgs([3])
    assert (tmp_path / shown["file_name"]).exists() and shown["width"] == 40
    assert [one["name"] for one in coco.loadCats(coco.getCatIds())] == [
        entry["name"] for entry in PALETTE["classes"] if entry["kind"] == "thing"
    ]
    dogs = coco.loadAnns(coco.getAnnIds(imgIds=[3], catIds=[DOG + 1]))
    assert [(one["area"], one["bbox"]) for one in dogs] == [
        (4 * 8, [2, 24, 8, 8]),
        (4 * 8, [20, 24, 8, 4]),
    ]
    for dog in dogs:
        mask = coco.annToMask(dog)
        assert mask.sum() == dog["area"]
        assert coco_mask.toBbox(coco.annToRLE(dog)).tolist() == dog["bbox"]
    assert coco.annToMask(dogs[0])[24:28, 2:6].all()
    assert not coco.getAnnIds(catIds=[TREE + 1]) and not coco.getAnnIds(imgIds=[4])


def test_panoptic_pictures_and_their_segments(tmp_path: Path) -> None:
    write_world(tmp_path)
    FORMATS["coco"](tmp_path)
    described = json.loads((tmp_path / "coco" / "panoptic.json").read_text())
    assert {one["id"]: one["isthing"] for one in described["categories"]}[SKY + 1] == 0
    first, second = described["annotations"]
    code = picture(tmp_path / "coco" / "panoptic" / first["file_name"]).astype(np.uint32)
    numbers = code[..., 0] + 256 * code[..., 1] + 256**2 * code[..., 2]
    segments = {one["id"]: one for one in first["segments_info"]}
    assert set(np.unique(numbers)) == {0, *segments}
    for number, one in segments.items():
        assert (numbers == number).sum() == one["area"]
        rows, columns = np.nonzero(numbers == number)
        x, y, width, height = one["bbox"]
        assert (columns.min(), rows.min()) == (x, y)
        assert (columns.max() + 1, rows.max() + 1) == (x + width, y + height)
    categories = sorted(one["category_id"] for one in first["segments_info"])
    assert categories == sorted([DOG + 1, DOG + 1, SKY + 1, GRASS + 1])
    assert (numbers == 0).sum() == 4 + 2 * 40, "the tree of a pixel, and the unlabeled row"
    assert [one["category_id"] for one in second["segments_info"]] == [SKY + 1]
    stale = tmp_path / "coco" / "panoptic" / "00000009.png"
    other = stale.with_name("cover.png")
    stale.write_bytes(b"")
    other.write_bytes(b"")
    FORMATS["coco"](tmp_path)
    assert not stale.exists() and other.exists()


def test_run_lengths_are_pycocotools_own() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        mask = rng.random((7, 5)) < rng.random()
        mask.flat[rng.integers(35)] = True
        rle = {"size": [7, 5], "counts": run_lengths(mask)}
        compressed = coco_mask.frPyObjects(rle, 7, 5)
        assert compressed == coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))


def test_instances_of_a_data_set_are_those_that_were_counted(data: Path) -> None:
    """What COCO holds of each sample, its record says."""
    FORMATS["coco"](data)
    described = json.loads((data / "coco" / "instances.json").read_text())
    names = {one["id"]: one["name"] for one in described["categories"]}
    for _, record in read_samples(data):
        counted: dict[str, int] = {}
        for one in described["annotations"]:
            if one["image_id"] == record["index"]:
                name = names[one["category_id"]]
                counted[name] = counted.get(name, 0) + 1
        assert counted == record["factors"]["segmentation"]["instances"]


def test_shards_hold_all_samples_once_and_replace_older_ones(data: Path) -> None:
    target = data / "shards"
    target.mkdir()
    others = [target / "notes.tar", target / "1-copy.tar"]
    for path in others:
        path.write_bytes(b"theirs")
    seen: list[list[int]] = []

    def write(path: Path, samples: list[Any]) -> None:
        seen.append([sample.index for sample in samples])
        path.write_bytes(b"x")

    written = write_shards(data, target, "{number}-{total:03}.tar", write, size=4)
    assert seen == [[0, 1, 2, 3], [4, 5]]
    assert sorted(set(target.iterdir()) - set(others)) == written
    written = write_shards(data, target, "{number}-{total:03}.tar", write, size=2)
    assert len(written) == 3 and sorted(set(target.iterdir()) - set(others)) == written

    def fail(path: Path, samples: list[Any]) -> None:
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_shards(data, target, "{number}-{total:03}.tar", fail, size=2)
    assert sorted(set(target.iterdir()) - set(others)) == written
    assert all(path.read_bytes() == b"theirs" for path in others)


def test_formats_that_do_not_exist(tmp_path: Path) -> None:
    check_formats(list(FORMATS))
    with pytest.raises(RequestError, match="no format 'voc'; there are coco, parquet, webdataset"):
        check_formats(["coco", "voc"])
    with Store(tmp_path) as store:
        store.begin({"factors": {"depth": {"output": "depth", "palette": None}}}, 1)
    with pytest.raises(RequestError, match="has no label maps"):
        FORMATS["coco"](tmp_path)


def test_the_balance_counts_what_records_say(data: Path) -> None:
    measured = measure_balance(data)
    records = [record for _, record in read_samples(data)]
    assert measured["samples"] == 6 and measured["rejected"] == 0
    assert measured["recall"] == pytest.approx(sum(r["recall"] for r in records) / 6, abs=1e-6)
    for name, one in measured["classes"].items():
        maps = [record["factors"]["segmentation"] for record in records]
        assert one["requested"] == sum(name in record["requested"] for record in records)
        assert one["found"] == sum(name in record["found"] for record in records)
        assert one["present"] == sum(name in made["areas"] for made in maps)
        assert one["instances"] == sum(made["instances"].get(name, 0) for made in maps)
        expected = sum(made["areas"].get(name, 0) for made in maps) / 6
        assert one["area"] == pytest.approx(expected, abs=1e-6)
    write_balance(data)
    lines = (data / "balance.md").read_text(encoding="utf-8").splitlines()
    assert "| samples | 6 |" in lines
    dogs = measured["classes"]["dog"]
    row = f"| dog | {dogs['requested']} | {dogs['found']} | {dogs['present']} "
    assert any(line.startswith(row) for line in lines)


def test_evenness_is_1_only_where_all_are_found_equally_often(tmp_path: Path) -> None:
    def evenness(folder: Path, found: list[list[str]]) -> Any:
        head = {"factors": {"segmentation": {"output": "labels", "palette": PALETTE}}}
        with Store(folder) as store:
            store.begin(head, len(found))
            for index, names in enumerate(found):
                record = {
                    **{"recall": 1.0, "compliance": 1.0, "rejected": []},
                    **{"requested": ["dog", "cat"], "found": names},
                    "factors": {"segmentation": {"areas": {}, "instances": {}}},
                }
                store.add(Made(index, record, {"image": b""}))
        return measure_balance(folder)["evenness"]

    assert evenness(tmp_path / "even", [["dog"], ["cat"], ["dog", "cat"]]) == 1.0
    assert evenness(tmp_path / "one", [["dog"], ["dog"]]) == 0.0
    shares = np.array([3, 1]) / 4
    expected = -(shares * np.log(shares)).sum() / np.log(2)
    assert evenness(tmp_path / "odd", [["dog"]] * 3 + [["cat"]]) == pytest.approx(
        expected, abs=1e-6
    )
