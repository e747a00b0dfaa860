"""Parquet files with the features of Hugging Face's `datasets`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
from datasets import Features, Image, List, Value

from ..store import read_head
from .shards import Sample, write_shards

#: Rows that a reader takes at a time; pictures are large.
_ROW_GROUP = 100


def features_of(factors: list[str]) -> Features:
    """The columns: `image` and each factor's map as pictures, what the record says of compliance,
    and the record itself as JSON. Label maps are class indices in palette mode."""
    texts = List(Value("string"))
    return Features(
        {
            "index": Value("int64"),
            "prompt": Value("string"),
            "image": Image(),
            **{name: Image() for name in factors},
            "seed": Value("int64"),
            "recall": Value("float64"),
            "compliance": Value("float64"),
            "agreement": Value("float64"),
            "requested": texts,
            "found": texts,
            "missing": texts,
            "record": Value("string"),
        }
    )


def write_parquet(folder: Path) -> list[Path]:
    """parquet/data/train-00000-of-00001.parquet and so on, as ``datasets.load_dataset`` takes the
    folder parquet."""
    known = list(read_head(folder)["factors"])

    def write(path: Path, samples: list[Sample]) -> None:
        made = [name for name in known if name in samples[0].pictures]
        table = pyarrow.Table.from_pylist(
            [_row(sample) for sample in samples], schema=features_of(made).arrow_schema
        )
        pyarrow.parquet.write_table(table, path, row_group_size=_ROW_GROUP)

    return write_shards(
        folder,
        folder / "parquet" / "data",
        "train-{number:05}-of-{total:05}.parquet",
        write,
    )


def _row(sample: Sample) -> dict[str, Any]:
    record = sample.record
    plain = ("prompt", "seed", "recall", "compliance", "requested", "found", "missing")
    agreement = record["agreement"]
    return {
        "index": sample.index,
        **{name: {"bytes": png, "path": None} for name, png in sample.pictures.items()},
        **{name: record[name] for name in plain},
        "agreement": None if agreement is None else agreement["mean"],
        "record": sample.text,
    }
