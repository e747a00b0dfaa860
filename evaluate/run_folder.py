"""A run's folder: what was made of each prompt under each setting, whole or not there at all."""

from __future__ import annotations

import json
import urllib.parse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from fgdm.errors import RequestError
from fgdm.files import alone, create_folder, read_regular, write_all
from numpy.typing import NDArray
from PIL import Image

from .dataset.sample import Made as Sample
from .plan import Plan
from .settings import Setting

#: How the name of a painted picture's file ends, after the prompt's number.
PICTURE = ".png"
_REMEDY = "choose another --output"


def map_file(factor: str) -> str:
    """How the name of a chosen map's file ends."""
    return f".{_file_name(factor)}.png"


def labels_file(factor: str) -> str:
    """How the name of the file of a chosen map's class indices ends."""
    return f".{_file_name(factor)}.labels.png"


@dataclass(frozen=True)
class Made:
    """What was made of one prompt under one setting.

    index: of the prompt. seconds: a picture, where several were at work their time over their
    number. result: the JSON form of the result.
    """

    index: int
    seconds: float
    result: Mapping[str, Any]
    _stem: Path

    @property
    def picture_path(self) -> Path:
        """Of the painted picture, a PNG file."""
        return self._stem.with_suffix(PICTURE)

    def map_path(self, factor: str) -> Path:
        """Of a factor's chosen map as RGB, a PNG file."""
        return self._stem.with_suffix(map_file(factor))

    def picture(self) -> NDArray[np.uint8]:
        """(height, width, 3)."""
        return _pixels(self.picture_path, "RGB")

    def map(self, factor: str) -> NDArray[np.uint8]:
        """A factor's chosen map, (h, w, 3)."""
        return _pixels(self.map_path(factor), "RGB")

    def labels(self, factor: str) -> NDArray[np.uint8]:
        """Class indices of a chosen label map, (h, w); 255 is unlabeled."""
        return _pixels(self._stem.with_suffix(labels_file(factor)), "L")


class RunFolder:
    """A folder with run.json and, for each setting, the made pictures by their prompt's number.

    A record (.json) is written after its pictures, so that what has a record is whole. Several
    processes may add to one folder.
    """

    def __init__(self, path: Path, plan: Plan) -> None:
        self.path = path
        self.plan = plan

    @classmethod
    def opened(cls, path: Path, plan: Plan) -> RunFolder:
        """The folder, created or gone on with. Settings of an earlier run stay in its plan.

        Raises RequestError where the folder was made for something else, OutputError where it can't
        be written.
        """
        try:
            create_folder(path, [])
            with alone(path):
                if (path / "run.json").exists():
                    plan = plan.joined(cls.read(path).plan)
                text = json.dumps(plan.to_json(), indent=1) + "\n"
                write_all({path / "run.json": text.encode()}, _REMEDY)
                for setting in plan.settings:
                    create_folder(path / _file_name(setting.name), [])
        except OSError as error:
            raise RequestError(f"can't write to {path}: {error.strerror}; {_REMEDY}") from None
        return cls(path, plan)

    @classmethod
    def read(cls, path: Path) -> RunFolder:
        """An existing folder. Raises RequestError for what is none."""
        try:
            content = json.loads(read_regular(path / "run.json"))
            return cls(path, Plan.from_json(content))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RequestError(f"{path} is no folder of a run: {error}; {_REMEDY}") from None

    def has(self, setting: Setting, index: int) -> bool:
        """Whether the prompt was made under the setting."""
        return self._stem(setting, index).with_suffix(".json").exists()

    def add(self, setting: Setting, sample: Sample) -> None:
        """Writes what was made: all of it or nothing. The names of the sample's pictures are ends
        of files' names."""
        stem = self._stem(setting, sample.index)
        files = {stem.with_suffix(end): content for end, content in sample.pictures.items()}
        record = {key: sample.record[key] for key in ("seconds", "result")}
        files[stem.with_suffix(".json")] = json.dumps(record, allow_nan=False).encode()
        write_all(files, _REMEDY)

    def made(self, setting: Setting) -> Iterator[Made]:
        """What there is under a setting, in the order of the prompts.

        Raises RequestError for a record that can't be read.
        """
        for index in range(len(self.plan.prompts)):
            stem = self._stem(setting, index)
            path = stem.with_suffix(".json")
            if not path.exists():
                continue
            try:
                record = json.loads(read_regular(path))
                yield Made(index, float(record["seconds"]), record["result"], stem)
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise RequestError(
                    f"can't read {path}: {error}; remove it, and it is made again"
                ) from None

    def write_report(self, contents: Mapping[str, str]) -> list[Path]:
        """Writes texts beside the pictures, all or none; their paths."""
        files = {self.path / name: text.encode() for name, text in contents.items()}
        return write_all(files, _REMEDY)

    def is_complete(self) -> bool:
        """Whether every prompt was made under every setting."""
        plan = self.plan
        return all(
            self.has(setting, index)
            for setting in plan.settings
            for index in range(len(plan.prompts))
        )

    def _stem(self, setting: Setting, index: int) -> Path:
        return self.path / _file_name(setting.name) / f"{index:06d}"


def _file_name(name: str) -> str:
    """A name of anything as one of a file: readable where it can be, never a path."""
    return urllib.parse.quote(name, safe=" ,=").replace(".", "%2E")


def _pixels(path: Path, mode: str) -> NDArray[np.uint8]:
    try:
        with Image.open(path) as picture:
            return np.asarray(picture.convert(mode))
    except OSError as error:
        raise RequestError(
            f"can't read {path}: {error}; remove {path.name.split('.')[0]}.json beside it, "
            "and it is made again"
        ) from None
