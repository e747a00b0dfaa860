"""What an edit by inversion takes over HTTP, for the OpenAPI document."""

from __future__ import annotations

from typing import Any

from fgdm.ways import WAYS

#: Engine.invert's default, where the service allows so many.
STEPS = 50

_EDIT_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["prompt"],
    "additionalProperties": False,
    "properties": {
        "prompt": {"type": "string", "description": "what the picture shall show, or no longer"},
        "direction": {"enum": ["+", "-"], "default": "+"},
        "scale": {"type": "number", "minimum": 0, "maximum": 100, "default": 5},
        "warm_up": {"type": "integer", "minimum": 0, "default": 0},
        "cool_down": {"type": "integer", "minimum": 1},
        "threshold": {"type": "number", "minimum": 0, "maximum": 1, "default": 0.9},
        "attention": {
            "type": "boolean",
            "default": False,
            "description": "it acts only where its words are looked at, too",
        },
        "region": {"type": "string", "description": "a class; it acts only where the map has it"},
        "mask": {"type": "string", "description": "base64 of a picture; it acts only there"},
    },
}

#: JSON schema of the fields that an edit by inversion has beside others.
SCHEMA: dict[str, Any] = {
    "edits": {
        "type": "array",
        "minItems": 1,
        "maxItems": 8,
        "items": _EDIT_SCHEMA,
        "description": "an edit by inversion: what shall be there, or no longer",
    },
    "way": {
        "enum": list(WAYS),
        "description": "of an edited map: the picture is painted anew, edited with both maps, or "
        "has what is new pasted onto it; without one, image itself is edited",
    },
    "inversion": {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "steps": {"type": "integer", "minimum": 2, "default": STEPS},
            "skip": {"type": "number", "minimum": 0, "exclusiveMaximum": 1, "default": 0.2},
            "sampler": {"enum": ["dpmsolver++_sde", "ddim"]},
            "eta": {"enum": [0, 1]},
            "timestep_spacing": {"type": "string"},
            "prompt": {"type": "string"},
            "negative_prompt": {"type": "string"},
            "guidance_scale": {"type": "number", "minimum": 0, "maximum": 100, "default": 1},
        },
    },
    "factor": {"type": "string", "description": "whose map it is"},
    "keep": {"type": "boolean", "default": True},
    "seam": {"type": "integer", "minimum": 1, "maximum": 64},
}
