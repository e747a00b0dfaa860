"""Results in the form of OpenAI's types (``ImagesResponse`` and the events of a stream)."""

from __future__ import annotations

import time
from typing import Any

from fgdm.result import Result
from PIL import Image

from .pictures import encode, in_base64
from .requests import Task
from .runs import Seen, Step
from .staged import Edited


def revised_prompt(result: Result) -> str:
    """The prompt, and which of the objects that it asks for the chosen map holds."""
    notes = [
        f"{what}: {', '.join(names)}"
        for what, names in (("found", result.found), ("missing", result.missing))
        if names
    ]
    return f"{result.prompt} ({'; '.join(notes)})" if notes else result.prompt


def facts(task: Task, result: Result) -> dict[str, Any]:
    """What OpenAI's types have no place for."""
    return {
        "model": task.model.name,
        "seed": result.seed,
        "recall": result.recall,
        "requested": list(result.requested),
        "found": list(result.found),
        "missing": list(result.missing),
        "excluded": list(result.excluded),
        "unrecognized": list(result.unrecognized),
        "requirements": [
            {**one.to_json(), "met": met}
            for one, met in zip(result.requirements, result.met, strict=False)
        ],
        "not_understood": list(result.not_understood),
        "compliance": result.compliance,
        "chosen": result.chosen,
        "candidates": [
            {
                "recall": c.recall,
                "found": list(c.found),
                "missing": list(c.missing),
                "met": list(c.met),
                "compliance": c.compliance,
                "refused": c.refused,
            }
            for c in result.candidates
        ],
        "timings": dict(result.timings),
        **({"watermark": result.watermark} if result.watermark else {}),
        **({"reading": result.reading.to_json()} if result.reading else {}),
        **({"repaint": result.repaint.to_json()} if result.repaint else {}),
        **edit_facts(task, result),
    }


def edit_facts(task: Task, result: Result) -> dict[str, Any]:
    """Of an edit by inversion ``edit``: its way, whose map was edited, and the map before and after
    it as PNG in base64; null of a picture that was edited itself. Nothing of other requests."""
    if task.editing is None or not isinstance(result, Edited):
        return {}
    before, after = result.map_before, result.map_after
    return {
        "edit": {
            "way": task.editing.way,
            "factor": result.edited_factor or None,
            "map_before": None if before is None else in_base64(encode(before, "png", 100)),
            "map_after": None if after is None else in_base64(encode(after, "png", 100)),
        }
    }


def usage(task: Task, results: list[Result]) -> dict[str, Any]:
    """Backbone rows in place of tokens: what a request costs. Of the prompt, its words."""
    words = len(task.prompt.split())
    rows = sum(_rows(result) for result in results)
    return {
        "input_tokens": words,
        "input_tokens_details": {"text_tokens": words, "image_tokens": 0},
        "output_tokens": rows,
        "output_tokens_details": {"text_tokens": 0, "image_tokens": rows},
        "total_tokens": words + rows,
    }


def _rows(result: Result) -> int:
    if isinstance(result, Edited):
        return result.rows
    steps = result.parameters["num_inference_steps"]
    pictures = len(result.repaint.attempts) if result.repaint else 1
    return result.map_rows + (2 * steps * pictures if isinstance(steps, int) else 0)


def images_response(task: Task, results: list[Result], data: list[dict[str, Any]]) -> Any:
    """data: for each picture its ``b64_json`` or ``url``."""
    return {
        "created": int(time.time()),
        "background": "opaque",
        "output_format": task.form,
        "size": _size(results[0].image),
        "usage": usage(task, results),
        "data": [
            {**entry, "revised_prompt": revised_prompt(result), "fgdm": facts(task, result)}
            for entry, result in zip(data, results, strict=True)
        ],
    }


def picture_of(task: Task, result: Result) -> bytes:
    """The picture's file, signed if the service signs."""
    content = encode(result.image, task.form, task.compression)
    if task.model.credentials is None:
        return content
    bundle, composed = result.engine.bundle, task.is_composed
    return task.model.credentials.sign(content, task.form, bundle, composed)


def partial_event(task: Task, event: Step | Seen, index: int) -> dict[str, Any]:
    """A preview of the picture, or the chosen map, as large as the picture."""
    preview = event.preview
    assert preview is not None, "only previews are sent"
    if isinstance(event, Seen):
        facts = event.facts()
        preview = preview.resize(task.pixels, Image.Resampling.NEAREST)
    else:
        facts = {
            **{"attempt": event.attempt, "factor": event.factor},
            **{"steps": event.step + 1, "num_steps": event.num_steps},
        }
    return {
        "type": f"{task.kind}.partial_image",
        "partial_image_index": index,
        **_common(task, encode(preview, task.form, task.compression), _size(preview)),
        "fgdm": facts,
    }


def completed_event(task: Task, result: Result) -> dict[str, Any]:
    return {
        "type": f"{task.kind}.completed",
        **_common(task, picture_of(task, result), _size(result.image)),
        "usage": usage(task, [result]),
        "fgdm": facts(task, result),
    }


def _common(task: Task, content: bytes, size: str) -> dict[str, Any]:
    return {
        "b64_json": in_base64(content),
        "background": "opaque",
        "created_at": int(time.time()),
        "output_format": task.form,
        "quality": "auto",
        "size": size,
    }


def _size(picture: Image.Image) -> str:
    return f"{picture.width}x{picture.height}"
