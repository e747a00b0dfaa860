"""What a run is of: bundle, prompts, settings. Whoever goes on with it must want the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fgdm.errors import RequestError
from fgdm.tuning.prompts import Prompt

from .settings import Setting

#: Version of run.json.
SCHEMA = 1


@dataclass(frozen=True)
class Plan:
    """Every prompt under every setting; the i-th prompt has the seed `seed` + i.

    bundle: its name. manifest: SHA-256 of the manifest, which has the hashes of all files. engine:
    as in a result. palette: of the measured factor, None without one. labels_factor: its name.
    """

    bundle: str
    manifest: str
    engine: Mapping[str, Any]
    palette: Mapping[str, Any] | None
    labels_factor: str | None
    seed: int
    prompts: Sequence[Prompt]
    settings: Sequence[Setting]

    @classmethod
    def of(
        cls,
        identity: Mapping[str, Any],
        prompts: Sequence[Prompt],
        settings: Sequence[Setting],
        seed: int,
    ) -> Plan:
        """The plan for the identity of an open engine's `PictureMaker`."""
        manifest = identity["manifest"]
        labels = [factor["name"] for factor in manifest["factors"] if factor.get("palette")]
        canonical = json.dumps(manifest, sort_keys=True).encode()
        return cls(
            bundle=str(manifest["name"]),
            manifest=hashlib.sha256(canonical).hexdigest(),
            engine=identity["engine"],
            palette=identity["palette"],
            labels_factor=labels[-1] if labels else None,
            seed=seed,
            prompts=tuple(prompts),
            settings=tuple(settings),
        )

    @property
    def classes(self) -> list[str]:
        """What label maps hold, by index; none without a factor that makes labels."""
        return [entry["name"] for entry in self.palette["classes"]] if self.palette else []

    def joined(self, stored: Plan) -> Plan:
        """This plan with the settings that `stored` has besides.

        Raises RequestError where the two would mix pictures that can't be compared.
        """
        for what in ("bundle", "manifest", "engine", "palette", "seed", "prompts"):
            if getattr(self, what) != getattr(stored, what):
                raise RequestError(
                    f"the run folder was made with other {_WORDS[what]}: "
                    f"{_shown(getattr(stored, what))}, not {_shown(getattr(self, what))}; "
                    "choose another --output, or ask for the same"
                )
        ours = {setting.name: setting for setting in self.settings}
        for setting in stored.settings:
            own = ours.get(setting.name)
            if own is not None and own != setting:
                raise RequestError(
                    f"the run folder has a setting {setting.name!r} with other options, "
                    f"{_shown(setting.options)}; name yours differently"
                )
        more = [setting for setting in stored.settings if setting.name not in ours]
        return Plan(**{**vars(self), "settings": (*self.settings, *more)})

    def to_json(self) -> dict[str, Any]:
        """The form of run.json."""
        return {
            "schema": SCHEMA,
            **vars(self),
            "prompts": [
                {"prompt": one.text, "objects": None if one.objects is None else list(one.objects)}
                for one in self.prompts
            ],
            "settings": {setting.name: dict(setting.options) for setting in self.settings},
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Plan:
        """A plan from run.json. Raises RequestError for another version's."""
        if content.get("schema") != SCHEMA:
            raise RequestError(
                f"run.json has schema {content.get('schema')}, this version reads {SCHEMA}; "
                "choose another --output"
            )
        fields = {name: value for name, value in content.items() if name != "schema"}
        fields["prompts"] = tuple(
            Prompt(one["prompt"], None if one["objects"] is None else tuple(one["objects"]))
            for one in content["prompts"]
        )
        fields["settings"] = tuple(Setting(*item) for item in content["settings"].items())
        return cls(**fields)


_WORDS = {
    "bundle": "bundle",
    "manifest": "contents of the bundle (SHA-256)",
    "engine": "engine",
    "palette": "palette",
    "seed": "seed",
    "prompts": "prompts",
}


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return f"{len(value)} of them"
    return f"{value!s:.120}"
