"""What a service allows, and how long it keeps things."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """Sizes in bytes and pixels, times in seconds.

    api_keys: one of them must come with every request; none: nobody is asked.
    max_pixels: of a picture; None is each bundle's own size. max_images: ``n`` of one request.
    max_steps: of the maps, of the picture, and of an inversion. max_repaint: pictures that may
    follow one that its scorer fails. max_edits: of one request. max_requests: of one key, or of all
    who need none,
    at a time. deadline: of a request that brings none; None: it may take as long as it takes.
    url_seconds, job_seconds: how long a picture's address and an ended job are kept.
    most_urls, most_jobs: how many of them at a time; url_bytes, job_bytes: how large together, of
    jobs their pictures and maps as pixels. Those that are longest there go first; jobs at work
    stay, and the one that ended last.
    body_seconds: for a request's body to come. max_streams: of jobs' events, of one key at a time.
    keep_running: whether a request goes on when its client has left.
    grace_seconds: for jobs that are at work when the service ends.
    stalled_seconds: after which an engine that has work and makes no step counts as stuck.
    """

    api_keys: tuple[str, ...] = ()
    max_body_bytes: int = 64 * 2**20
    body_seconds: float = 120.0
    max_pixels: int | None = None
    max_images: int = 4
    max_candidates: int = 32
    max_steps: int = 100
    max_repaint: int = 3
    max_edits: int = 8
    max_requests: int = 64
    max_streams: int = 256
    deadline: float | None = None
    url_seconds: float = 3600.0
    most_urls: int = 256
    url_bytes: int = 256 * 2**20
    job_seconds: float = 3600.0
    most_jobs: int = 256
    job_bytes: int = 512 * 2**20
    keep_running: bool = False
    log_prompts: bool = False
    grace_seconds: float = 30.0
    stalled_seconds: float = 120.0
