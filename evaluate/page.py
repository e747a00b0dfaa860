"""The report as one HTML file that needs nothing else: tables, and pictures of telling prompts."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fgdm.statistics import psnr
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image

from .ranking import extremes, most_different, ranking_keys
from .run_folder import Made, RunFolder
from .tables import tables, time_spent

#: Pixels: larger pictures are shown smaller.
_SIDE = 256


def page(results: Mapping[str, Any], run: RunFolder, command: str) -> str:
    """The page. command: what made the results."""
    made = {setting.name: list(run.made(setting)) for setting in run.plan.settings}
    settings = {setting["name"]: setting for setting in results["settings"]}
    factor = run.plan.labels_factor
    examples = [
        {
            "title": f"{name}: {which}",
            "prompts": [
                _example(results, setting, made[name], i, factor) for i in extremes(setting)[which]
            ],
        }
        for name, setting in settings.items()
        for which in ("worst", "median", "best")
    ]
    pairs = []
    for comparison in results["comparisons"]:
        names = (comparison["against"], comparison["setting"])
        distances = [
            -psnr(one.picture(), other.picture()) if _same_size(one, other) else 0.0
            for one, other in zip(made[names[0]], made[names[1]], strict=True)
        ]
        chosen = most_different(settings[names[1]], settings[names[0]], distances)
        pairs.append(
            {
                "title": f"{names[1]} beside {names[0]}: where they differ most",
                "prompts": [
                    {
                        "prompt": results["prompts"][i],
                        "sides": [
                            {"name": n, **_example(results, settings[n], made[n], i, factor)}
                            for n in names
                        ],
                    }
                    for i in chosen
                ],
            }
        )
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html").render(
        results=results,
        command=command,
        tables=tables(results),
        time_spent=time_spent(results),
        examples=examples,
        pairs=pairs,
    )


def _example(
    results: Mapping[str, Any],
    setting: Mapping[str, Any],
    made: Sequence[Made],
    index: int,
    factor: str | None,
) -> dict[str, Any]:
    """A prompt with what it scored, its picture and its map."""
    pictures = [_data_uri(made[index].picture_path)]
    if factor is not None and made[index].map_path(factor).exists():
        pictures.append(_data_uri(made[index].map_path(factor)))
    scores = [
        f"{setting['scores'][key]['title']} {setting['scores'][key]['by_prompt'][index]:.3g}"
        for key in ranking_keys(setting)
    ]
    return {"prompt": results["prompts"][index], "scores": scores, "pictures": pictures}


def _same_size(a: Made, b: Made) -> bool:
    return a.picture().shape == b.picture().shape


def _data_uri(path: Path) -> str:
    content, kind = path.read_bytes(), "png"
    with Image.open(path) as picture:
        if max(picture.size) > _SIDE:
            small = picture.convert("RGB")
            small.thumbnail((_SIDE, _SIDE), Image.Resampling.LANCZOS)
            stream = io.BytesIO()
            small.save(stream, "JPEG", quality=88)
            content, kind = stream.getvalue(), "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"
