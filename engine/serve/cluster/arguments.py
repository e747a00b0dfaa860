"""What ``serve run fgdm.serve.cluster:app NAME=VALUE…``, or ``args`` in a config file, may say."""

from __future__ import annotations

from argparse import ArgumentTypeError
from pathlib import Path
from typing import Any

from fgdm.cli.arguments import filters
from fgdm.errors import RequestError
from fgdm.serve.cli import check_aliases, named, read_keys
from fgdm.serve.scoring import named_segmenters
from fgdm.serve.settings import Settings
from pydantic import BaseModel, ConfigDict, Field, field_validator

_DEFAULTS = Settings()


class Arguments(BaseModel):
    """Sizes in bytes and pixels, times in seconds; limits are those of `Settings`, of each replica.

    bundles: folders that every node has, each with the name that requests give as model (default:
    its folder's): ``[NAME=]FOLDER``, several as a list. aliases: further names, each with a
    bundle's. forbid: classes whose maps aren't painted, as of ``fgdm serve``: a list, or a text
    such as ``person,bus``. watermark: a text that every picture carries, as of `Engine`.
    credentials_key, credentials_certificate, credentials_algorithm, llm_base_url, llm_model,
    llm_timeout: as of ``fgdm serve``; files are on every node. segmenter: likewise, several as a
    list; each is loaded with its bundle.
    models_per_replica: how many of them an engine is open for at a time; the one that was asked for
    longest ago goes first.
    cpus, gpus: what a replica takes of its node. threads: of the runtime; 0: as many as cpus, on a
    GPU as the runtime likes.
    min_replicas, max_replicas: with as many of both, nothing scales. rows_per_replica: backbone
    rows of unfinished requests for which one replica is enough. upscale_seconds,
    downscale_seconds: for which more, or fewer, must be wanted. look_back_seconds: over which rows
    are averaged, more than 10.
    max_waiting: requests that may wait at a proxy for a replica; one more is answered 429.
    api_key_file: on every node. insecure: nobody needs a key.
    lease_seconds: after which a replica that says nothing has lost its jobs to the others.
    """

    model_config = ConfigDict(extra="forbid")

    bundles: list[str] = Field(min_length=1)
    aliases: dict[str, str] = Field(default_factory=dict)
    models_per_replica: int = Field(default=1, ge=1)
    backend: str = "auto"
    precision: str = "auto"
    threads: int = Field(default=0, ge=0)
    max_queue: int = Field(default=256, ge=1)
    max_active: int = Field(default=16, ge=1)
    policy: str = "latency"
    memory: str = "full"
    attention: str = "auto"
    contexts: str = "auto"
    forbid: list[str | dict[str, Any]] = Field(default_factory=list)
    watermark: str = ""
    credentials_key: str | None = None
    credentials_certificate: str | None = None
    credentials_algorithm: str = "es256"
    llm_base_url: str | None = None
    llm_model: str | None = None
    llm_timeout: float = Field(default=30.0, gt=0)
    segmenter: list[str] = Field(default_factory=list)
    cpus: float = Field(default=1.0, ge=0)
    gpus: float = Field(default=0.0, ge=0)
    min_replicas: int = Field(default=1, ge=1)
    max_replicas: int = Field(default=1, ge=1)
    rows_per_replica: float = Field(default=2000.0, gt=0)
    upscale_seconds: float = Field(default=5.0, ge=0)
    downscale_seconds: float = Field(default=120.0, ge=0)
    look_back_seconds: float = Field(default=15.0, gt=10)
    max_waiting: int = Field(default=256, ge=1)
    api_key_file: str | None = None
    insecure: bool = False
    lease_seconds: float = Field(default=10.0, ge=2)
    max_body_bytes: int = Field(default=_DEFAULTS.max_body_bytes, gt=0)
    body_seconds: float = Field(default=_DEFAULTS.body_seconds, gt=0)
    max_pixels: int | None = Field(default=None, gt=0)
    max_images: int = Field(default=_DEFAULTS.max_images, gt=0)
    max_candidates: int = Field(default=_DEFAULTS.max_candidates, gt=0)
    max_steps: int = Field(default=_DEFAULTS.max_steps, gt=0)
    max_repaint: int = Field(default=_DEFAULTS.max_repaint, ge=0)
    max_edits: int = Field(default=_DEFAULTS.max_edits, gt=0)
    max_requests: int = Field(default=_DEFAULTS.max_requests, gt=0)
    max_streams: int = Field(default=_DEFAULTS.max_streams, gt=0)
    deadline: float | None = Field(default=None, gt=0)
    url_seconds: float = Field(default=_DEFAULTS.url_seconds, gt=0)
    most_urls: int = Field(default=_DEFAULTS.most_urls, gt=0)
    url_bytes: int = Field(default=_DEFAULTS.url_bytes, gt=0)
    job_seconds: float = Field(default=_DEFAULTS.job_seconds, gt=0)
    most_jobs: int = Field(default=_DEFAULTS.most_jobs, gt=0)
    job_bytes: int = Field(default=_DEFAULTS.job_bytes, gt=0)
    keep_running: bool = False
    log_prompts: bool = False
    grace_seconds: float = Field(default=_DEFAULTS.grace_seconds, gt=0)
    stalled_seconds: float = Field(default=_DEFAULTS.stalled_seconds, gt=0)

    @field_validator("bundles", "segmenter", mode="before")
    @classmethod
    def _one_or_more(cls, given: Any) -> Any:
        return [given] if isinstance(given, str) else given

    @field_validator("forbid", mode="before")
    @classmethod
    def _filters(cls, given: Any) -> Any:
        if not isinstance(given, str):
            return given
        try:
            return filters(given)
        except ArgumentTypeError as error:
            raise ValueError(f"forbid: {error}") from None

    def folders(self) -> dict[str, str]:
        """Of bundles by name. Raises RequestError for two of one name."""
        return dict(named(self.bundles))

    def segmenters(self) -> dict[str, Path]:
        """By bundles' names. Raises RequestError for one that is no bundle's."""
        return named_segmenters(self.segmenter, list(self.folders()))

    def settings(self) -> Settings:
        """Reads the keys; raises RequestError where they can't be read."""
        names = vars(Settings()).keys() & type(self).model_fields.keys()
        keys = read_keys(Path(self.api_key_file) if self.api_key_file else None)
        return Settings(**{name: getattr(self, name) for name in names}, api_keys=keys)

    def engine_options(self) -> dict[str, Any]:
        """Of `Engine`."""
        threads = self.threads or (0 if self.gpus else max(1, int(self.cpus)))
        names = (
            *("backend", "precision", "max_queue", "max_active", "policy", "memory", "contexts"),
            *("attention", "forbid", "watermark"),
        )
        given = {name: getattr(self, name) for name in names}
        return {"threads": threads, **given}

    def check(self) -> None:
        """Raises RequestError for what doesn't go together."""
        if self.max_replicas < self.min_replicas:
            raise RequestError(
                f"max_replicas is {self.max_replicas}; expected min_replicas or more, "
                f"{self.min_replicas}"
            )
        if not self.api_key_file and not self.insecure:
            raise RequestError(
                "a cluster's proxies may be reached from other machines; give the keys of those "
                "who may ask (api_key_file), or insecure: true"
            )
        check_aliases(self.aliases, list(self.folders()))
        self.segmenters()
