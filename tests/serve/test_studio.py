"""What the studio's page asks of a service: bundles, objects, jobs with maps that form."""

from __future__ import annotations

import base64
import io
import json
import time
import webbrowser
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from fgdm.cli.command import build_parser
from fgdm.engine import Engine
from fgdm.serve import cli, studio_cli
from fgdm.serve.models import Models
from fgdm.serve.runs import _seen_steps
from fgdm.serve.settings import Settings
from numpy.typing import NDArray
from PIL import Image

from tests.serve.conftest import QUICK, serving

BODY = {"prompt": "two dogs beside a house", "seed": 1, **QUICK}


@pytest.fixture
def http(address: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=address, timeout=60) as client:
        yield client


def in_base64(picture: Image.Image) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def picture(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content))


def follow(http: httpx.Client, body: dict[str, Any]) -> tuple[str, list[dict[str, Any]]]:
    """A job's id, and its events to the end."""
    answer = http.post("/v1/studio/jobs", json=body)
    assert answer.status_code == 202, answer.text
    name = answer.json()["id"]
    with http.stream("GET", f"/v1/studio/jobs/{name}/events") as stream:
        lines = [line[6:] for line in stream.iter_lines() if line.startswith("data: ")]
    return name, [json.loads(line) for line in lines]


def labels_of(text: str) -> NDArray[np.uint8]:
    return np.asarray(picture(base64.b64decode(text)))


def test_bundles_have_what_the_page_shows(http: httpx.Client, engine: Engine) -> None:
    answer = http.get("/v1/studio/bundles").json()
    (bundle,) = answer["bundles"]
    assert bundle["name"] == "scenes" and (bundle["width"], bundle["height"]) == (128, 128)
    assert [factor["name"] for factor in bundle["factors"]] == [
        factor["name"] for factor in engine.manifest["factors"][:-1]
    ]
    assert engine.palette is not None
    assert [entry["color"] for entry in bundle["palette"]["classes"]] == [
        entry["color"] for entry in engine.palette["classes"]
    ]
    assert answer["limits"]["body_bytes"] == 2**20


def test_objects_of_a_prompt(http: httpx.Client) -> None:
    body = {"prompt": "two puppies and a zeppelin beside a house without trees"}
    assert http.post("/v1/studio/objects", json=body).json() == {
        "requested": ["dog", "house"],
        "unrecognized": ["zeppelin"],
        "excluded": ["tree"],
        "requirements": {
            "objects": [{"class": "dog", "count": 2}, "house"],
            "relations": [{"subject": "dog", "relation": "beside", "object": "house"}],
            "absent": ["tree"],
        },
        "words": {
            "objects": [{"count": "2 dog", "color": None}, {"count": None, "color": None}],
            "relations": ["2 dog beside house"],
            "absent": ["no tree"],
        },
        "not_understood": [],
    }


def test_requirements_in_words(http: httpx.Client, engine: Engine) -> None:
    """The core's, those that results have, entry by entry."""
    prompt = "two dogs to the left of a red house, at least three trees, no people"
    required = engine.find_requirements(prompt).requirements
    words = http.post("/v1/studio/words", json={"requirements": required}).json()
    assert words == http.post("/v1/studio/objects", json={"prompt": prompt}).json()["words"]
    said = [text for entry in words["objects"] for text in entry.values() if text]
    result = engine.generate(prompt, seed=1, **QUICK)
    assert sorted([*said, *words["relations"], *words["absent"]]) == sorted(
        one.text for one in result.requirements if one.kind != "present"
    )
    for wrong, place in (
        ({"relations": [{"subject": "dog"}]}, "requirements.relations[0]"),
        ({"objects": ["house", "zeppelin"]}, "requirements.objects[1]"),
        ({"objects": ["house"] * 5000}, "requirements"),
    ):
        refused = http.post("/v1/studio/words", json={"requirements": wrong})
        assert refused.status_code == 400
        assert refused.json()["error"]["message"].startswith(place)


def test_a_map_is_checked(http: httpx.Client, engine: Engine) -> None:
    """As `fgdm.check_map` does it; what a map can't say is null."""
    assert engine.palette is not None
    names = [entry["name"] for entry in engine.palette["classes"]]
    labels = np.full((64, 64), names.index("grass"), np.uint8)
    labels[30:40, 4:14] = labels[30:40, 18:28] = names.index("dog")
    required = {
        "objects": [{"class": "dog", "count": 2}, {"class": "house", "color": "red"}],
        "absent": ["tree"],
    }
    body = {"labels": in_base64(Image.fromarray(labels)), "requirements": required}
    answer = http.post("/v1/studio/check", json=body).json()
    assert {one["text"]: one["met"] for one in answer["requirements"]} == {
        "dog": True, "2 dog": True, "house": False, "no tree": True, "red house": None,
    }  # fmt: skip
    assert answer["compliance"] == 0.75
    for wrong in ({"objects": ["zeppelin"]}, {"objects": 5}):
        refused = http.post("/v1/studio/check", json={**body, "requirements": wrong})
        assert refused.status_code == 400
        assert refused.json()["error"]["message"].startswith("requirements.objects")


def test_maps_form_before_the_eyes(http: httpx.Client) -> None:
    """After the last step a map is what the candidate is in the end."""
    name, events = follow(http, {**BODY, "map_previews": 2, "partial_images": 1})
    assert events[-1]["type"] == "job.done"
    maps = {(m["candidate"], m["step"]): m for e in events for m in e["maps"]}
    assert {(0, 2), (1, 2)} <= set(maps)
    (result,) = events[-1]["facts"]
    for candidate in (0, 1):
        place = f"/v1/studio/jobs/{name}/images/0/factors/segmentation/{candidate}"
        final = np.asarray(picture(http.get(place).content))
        formed = labels_of(maps[candidate, 2]["labels"])
        met = [one["met"] for one in maps[candidate, 2]["requirements"]]
        facts = result["factors"]["segmentation"]["candidates"][candidate]
        assert met == facts["met"] and len(met) == 4
        assert maps[candidate, 2]["compliance"] == facts["compliance"]
        assert final.shape == (64, 64) and (final == formed).mean() > 0.999
    ((sent,), at) = events[-1]["pictures"], f"/v1/jobs/{name}/images/0"
    assert base64.b64decode(sent["image"]) == http.get(at).content and not sent["maps"]

    assert result["candidates"][0]["recall"] == events[-1]["results"][0]["candidates"][0]["recall"]
    (preview,) = (p for e in events for p in e["previews"])
    assert picture(base64.b64decode(preview["image"])).size == (128, 128)


def test_a_map_that_is_alone_comes_with_the_picture(http: httpx.Client) -> None:
    """Who paints a map waits for no further answer."""
    given = {"segmentation": {"labels": in_base64(Image.fromarray(np.full((64, 64), 7, np.uint8)))}}
    name, events = follow(http, {**BODY, "factors": given})
    ((sent,), at) = events[-1]["pictures"], f"/v1/studio/jobs/{name}/images/0/factors"
    assert base64.b64decode(sent["maps"]["segmentation"]) == (
        http.get(f"{at}/segmentation/0").content
    )


def test_labels_are_taken_as_they_are(http: httpx.Client, engine: Engine) -> None:
    labels = np.full((64, 64), 17, np.uint8)
    labels[:30] = 16
    labels[10:20, 10:20] = 255
    factors = {"segmentation": {"labels": in_base64(Image.fromarray(labels))}}
    name, events = follow(http, {**BODY, "factors": factors})
    assert events[-1]["type"] == "job.done"
    got = http.get(f"/v1/studio/jobs/{name}/images/0/factors/segmentation/0").content
    assert (np.asarray(picture(got)) == labels).all()
    again = engine.generate(
        str(BODY["prompt"]),
        seed=1,
        num_inference_steps=4,
        factors={"segmentation": {"map": labels}},
    )
    painted = http.get(f"/v1/jobs/{name}/images/0").content
    assert (np.asarray(picture(painted)) == np.asarray(again.image)).all()


def test_a_part_is_painted_anew(http: httpx.Client) -> None:
    before = Image.fromarray(np.full((128, 128, 3), 90, np.uint8))
    mask = np.zeros((128, 128), np.uint8)
    mask[:64] = 255
    body = {**BODY, "image": in_base64(before), "mask": in_base64(Image.fromarray(mask))}
    name, events = follow(http, body)
    assert events[-1]["type"] == "job.done"
    after = np.asarray(picture(http.get(f"/v1/jobs/{name}/images/0").content))
    assert (after[64:] == 90).all() and not (after[:64] == 90).all()


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"factors": {"segmentation": {"labels": 5}}}, "factors.segmentation.labels"),
        ({"factors": {"segmentation": {"labels": "?"}}}, "factors.segmentation.labels"),
        (
            {"factors": {"segmentation": {"labels": in_base64(Image.new("RGB", (64, 64)))}}},
            "factors.segmentation.labels",
        ),
        (
            {
                "factors": {
                    "segmentation": {
                        "labels": in_base64(Image.new("L", (64, 64))),
                        "map": in_base64(Image.new("RGB", (64, 64))),
                    }
                }
            },
            "factors.segmentation.labels",
        ),
        (
            {"factors": {"segmentation": {"labels": in_base64(Image.new("L", (64, 65)))}}},
            "factors.segmentation.labels",
        ),
        ({"factors": {"clouds": {"labels": "AAAA"}}}, "factors"),
        ({"mask": "AAAA"}, "mask"),
        ({"image": "AAAA"}, "image"),
        ({"map_previews": 101}, "map_previews"),
    ],
)
def test_refusals(http: httpx.Client, more: dict[str, Any], param: str) -> None:
    answer = http.post("/v1/studio/jobs", json={**BODY, **more})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param


def test_what_is_not_there(http: httpx.Client) -> None:
    assert http.get("/v1/studio/jobs/none/events").status_code == 404
    assert http.get("/studio/none.js").status_code == 404
    name, _ = follow(http, BODY)
    place = f"/v1/studio/jobs/{name}/images"
    for path in ("7/factors/segmentation/0", "0/factors/pose/0", "0/factors/segmentation/9"):
        assert http.get(f"{place}/{path}").status_code == 404
    waiting = http.post("/v1/studio/jobs", json={**BODY, "condition_steps": 30}).json()["id"]
    early = f"/v1/studio/jobs/{waiting}/images/0/factors/segmentation/0"
    assert http.get(early).status_code == 409
    http.delete(f"/v1/jobs/{waiting}")


def test_the_page_is_open_and_its_questions_are_not(models: Models) -> None:
    with serving(models, Settings(api_keys=("secret",))) as at:
        assert httpx.get(at + "/").status_code == 200
        assert (
            httpx.get(at + "/studio/main.js").headers["content-type"].startswith("text/javascript")
        )
        assert httpx.get(at + "/v1/studio/bundles").status_code == 401


@pytest.mark.parametrize(
    ("count", "num_steps", "expected"),
    [
        (0, 6, set()),
        (1, 6, {5}),
        (2, 6, {2, 5}),
        (3, 6, {1, 3, 5}),
        (9, 4, {0, 1, 2, 3}),
        (2, 1, {0}),
    ],
)
def test_steps_that_are_seen(count: int, num_steps: int, expected: set[int]) -> None:
    assert _seen_steps(count)(num_steps) == expected


def test_the_command_opens_the_browser(monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = build_parser(["studio", "b"]).parse_args(["studio", "b"])
    assert arguments.port == 0
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", opened.append)

    def serve(args: object, listening: Any) -> int:
        if listening is not None:
            listening("http://127.0.0.1:1/")
        return 0

    monkeypatch.setattr(cli, "run", serve)
    assert studio_cli.run(arguments) == 0
    for _ in range(100):
        if opened:
            break
        time.sleep(0.02)
    assert opened == ["http://127.0.0.1:1/"]
    arguments = build_parser(["studio", "b"]).parse_args(["studio", "b", "--no-browser"])
    assert studio_cli.run(arguments) == 0 and len(opened) == 1
