"""Edits by inversion over HTTP: what they make is the engine's; they are requests like others."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import openai
import pytest
from fgdm import Edit
from fgdm.engine import Engine
from fgdm.serve.models import Models
from fgdm.serve.settings import Settings
from fgdm.ways import WAYS, edit_in_ways
from numpy.typing import NDArray
from PIL import Image

from tests.serve.conftest import serving, until, until_idle

EDITS, JOBS = "/v1/images/edits", "/v1/jobs"
PROMPT = "a house"
STEPS = 4
#: All of the left half becomes something else.
EDIT: dict[str, Any] = {"prompt": "a house", "scale": 9.0, "threshold": 0.0}
FIELDS: dict[str, Any] = {
    **{"prompt": PROMPT, "seed": "3", "num_inference_steps": "2"},
    **{"inversion": json.dumps({"steps": STEPS}), "edits": json.dumps([EDIT])},
}
#: Long enough to be cut off: the first job of four or so seconds.
LONG = {**FIELDS, "inversion": json.dumps({"steps": 30}), "num_inference_steps": "30"}


def labels() -> NDArray[np.uint8]:
    made = np.zeros((64, 64), np.uint8)
    made[36:] = 2
    return made


def photo() -> NDArray[np.uint8]:
    return np.random.default_rng(2).integers(0, 255, (128, 128, 3), dtype=np.uint8)


def half() -> NDArray[np.uint8]:
    """A mask: white where edits act."""
    made = np.zeros((128, 128), np.uint8)
    made[16:48, 16:48] = 255
    return made


def png(pixels: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def in_base64(pixels: NDArray[np.uint8]) -> str:
    return base64.b64encode(png(pixels)).decode()


def pixels_of(text: str) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(base64.b64decode(text))) as opened:
        return np.asarray(opened)


def expected(engine: Engine, way: str) -> Any:
    """What the engine makes of the same, and the map's inversion."""
    inversion = engine.invert(map=labels(), steps=STEPS, seed=3)
    edits = [Edit(**EDIT, mask=half()[::2, ::2] >= 128)]
    options: dict[str, Any] = {"seed": 3, "num_inference_steps": 2, "seam": 4, "ways": [way]}
    made = edit_in_ways(engine, inversion, edits, PROMPT, image=photo(), **options)
    return made[way], inversion


@pytest.fixture
def http(address: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=address, timeout=60) as client:
        yield client


@pytest.fixture(autouse=True)
def _idle_before(engine: Engine) -> None:
    until_idle(engine)


@pytest.mark.parametrize("way", WAYS)
def test_the_official_client_edits_in_every_way(
    client: openai.OpenAI, engine: Engine, way: str
) -> None:
    """Lists and objects may stand in extra_body as they are."""
    given = {"segmentation": {"labels": in_base64(labels())}}
    response = client.images.edit(
        image=("photo.png", png(photo())),
        mask=("mask.png", png(half())),
        prompt=PROMPT,
        extra_body={
            **{"seed": 3, "num_inference_steps": 2, "way": way, "seam": 4, "factors": given},
            **{"inversion": {"steps": STEPS}, "edits": [EDIT]},
        },
    )
    assert response.data is not None
    (image,) = response.data
    assert image.b64_json is not None and image.model_extra is not None
    result, inversion = expected(engine, way)
    np.testing.assert_array_equal(pixels_of(image.b64_json), np.asarray(result.image))
    facts = image.model_extra["fgdm"]
    assert facts["recall"] == result.recall and facts["requested"] == ["house"]
    edit = facts["edit"]
    assert (edit["way"], edit["factor"]) == (way, "segmentation")
    np.testing.assert_array_equal(pixels_of(edit["map_before"]), np.asarray(inversion.picture))
    np.testing.assert_array_equal(pixels_of(edit["map_after"]), np.asarray(result.map))
    assert edit["map_before"] != edit["map_after"]
    assert response.usage is not None
    inverted, edited = 3, result.map_rows if way == "mask" else 6  # of four steps, three are taken
    assert response.usage.output_tokens >= inverted + edited + 2 * 2


def test_a_map_alone_is_edited_and_painted(http: httpx.Client, engine: Engine) -> None:
    """As a file, in colours or as class indices; its size says that of the picture."""
    inversion = engine.invert(map=labels()[:, :32], steps=STEPS, seed=3)
    result = engine.edit(inversion, [Edit(**EDIT)], PROMPT, seed=3, num_inference_steps=2)
    for files in (
        {"labels": png(labels()[:, :32])},
        {"map": png(np.asarray(inversion.picture))},
    ):
        answer = http.post(EDITS, data=FIELDS, files=files)
        assert answer.status_code == 200, answer.text
        made = answer.json()
        assert made["size"] == "64x128"
        painted = pixels_of(made["data"][0]["b64_json"])
        np.testing.assert_array_equal(painted, np.asarray(result.image))


def test_a_picture_itself_is_edited(http: httpx.Client, engine: Engine) -> None:
    """With a map that it is seen with, or without one."""
    (fields, files) = {**FIELDS}, {"image": png(photo())}
    del fields["num_inference_steps"]
    edits = [Edit(**EDIT)]
    given: tuple[tuple[str, dict[str, Any]], ...] = (
        (json.dumps({"segmentation": None}), {"segmentation": None}),
        (
            json.dumps({"segmentation": {"labels": in_base64(labels())}}),
            {"segmentation": {"map": labels()}},
        ),
    )
    for words, factors in given:
        answer = http.post(EDITS, data={**fields, "factors": words}, files=files)
        assert answer.status_code == 200, answer.text
        (image,) = answer.json()["data"]
        inversion = engine.invert(image=photo(), steps=STEPS, seed=3, factors=factors)
        result = engine.edit(inversion, edits, PROMPT, seed=3, factors=factors)
        np.testing.assert_array_equal(pixels_of(image["b64_json"]), np.asarray(result.image))
        nothing = {"way": None, "factor": None, "map_before": None, "map_after": None}
        assert image["fgdm"]["edit"] == nothing


def test_a_map_is_read_from_the_picture(http: httpx.Client, engine: Engine) -> None:
    """By the bundle's segmenter, where a way edits a map and none came."""
    answer = http.post(EDITS, data={**FIELDS, "way": "mask"}, files={"image": png(photo())})
    assert answer.status_code == 200, answer.text
    (image,) = answer.json()["data"]
    inversion = engine.invert(map=engine.segment(photo()), steps=STEPS, seed=3)
    result = engine.edit(inversion, [Edit(**EDIT)], PROMPT, seed=3, num_inference_steps=2)
    before = pixels_of(image["fgdm"]["edit"]["map_before"])
    np.testing.assert_array_equal(before, np.asarray(inversion.picture))
    np.testing.assert_array_equal(pixels_of(image["b64_json"]), np.asarray(result.image))


def test_edits_have_masks_of_their_own(http: httpx.Client) -> None:
    """What no edit acts on stays, to the pixel."""
    edits = [{**EDIT, "mask": in_base64(half())}, {**EDIT, "direction": "-", "scale": 0}]
    fields = {**FIELDS, "edits": json.dumps(edits), "n": "2", "way": "pixel"}
    files = {"image": png(photo()), "labels": png(labels())}
    answer = http.post(EDITS, data=fields, files=files)
    assert answer.status_code == 200, answer.text
    one, other = (pixels_of(image["b64_json"]) for image in answer.json()["data"])
    for made in (one, other):
        np.testing.assert_array_equal(made[64:], photo()[64:])
    assert (one != other).any(), "each of another seed"


def test_a_stream_shows_the_map_and_then_the_answer(http: httpx.Client) -> None:
    fields = {**FIELDS, "num_inference_steps": "4", "stream": "true", "partial_images": "3"}
    with http.stream("POST", EDITS, data=fields, files={"labels": png(labels())}) as stream:
        lines = [line[6:] for line in stream.iter_lines() if line.startswith("data: ")]
    events = [json.loads(line) for line in lines]
    assert [event["type"] for event in events] == [
        *["image_edit.partial_image"] * 3,
        "image_edit.completed",
    ]
    assert [event["fgdm"]["factor"] for event in events[:-1]] == ["segmentation", "image", "image"]
    shown = pixels_of(events[0]["b64_json"])[::2, ::2]
    np.testing.assert_array_equal(shown, pixels_of(events[-1]["fgdm"]["edit"]["map_after"]))


def body(**more: Any) -> dict[str, Any]:
    """Of a job."""
    return {
        **{"prompt": PROMPT, "seed": 3, "num_inference_steps": 2, "edits": [EDIT]},
        **{"inversion": {"steps": STEPS}, "way": "paste", "seam": 4},
        **{"image": in_base64(photo()), "mask": in_base64(half())},
        "factors": {"segmentation": {"labels": in_base64(labels())}},
        **more,
    }


def test_a_job_tells_its_stages(http: httpx.Client, engine: Engine) -> None:
    submitted = http.post(JOBS, json=body())
    assert submitted.status_code == 202, submitted.text
    name = submitted.json()["id"]
    with http.stream("GET", f"{JOBS}/{name}/events") as stream:
        lines = [line[6:] for line in stream.iter_lines() if line.startswith("data: ")]
    events = [json.loads(line) for line in lines]
    assert events[-1]["type"] == "job.done"
    steps = [event["progress"] for event in events if "progress" in event]
    assert {step["stage"] for step in steps} >= {"inversion", "edit"}
    assert {step["stage"] for step in steps} <= {"inversion", "edit", "paste"}
    result, inversion = expected(engine, "paste")
    image = http.get(f"{JOBS}/{name}/images/0").content
    with Image.open(io.BytesIO(image)) as painted:
        np.testing.assert_array_equal(np.asarray(painted), np.asarray(result.image))
    (described,) = http.get(f"{JOBS}/{name}").json()["results"]
    assert described["recall"] == result.recall and described["edit"]["way"] == "paste"
    before = pixels_of(described["edit"]["map_before"])
    np.testing.assert_array_equal(before, np.asarray(inversion.picture))
    after = http.get(f"{JOBS}/{name}/images/0/candidates/0").content
    assert after == base64.b64decode(described["edit"]["map_after"])


def test_a_cancelled_job_begins_nothing_more(http: httpx.Client, engine: Engine) -> None:
    before = engine.metrics()
    name = http.post(JOBS, json=body(inversion={"steps": 30}, n=2)).json()["id"]
    until(lambda: bool(engine.metrics()["batches"] > before["batches"]))
    http.delete(f"{JOBS}/{name}")
    until(lambda: http.get(f"{JOBS}/{name}").json()["status"] == "cancelled")
    until_idle(engine)
    after = engine.metrics()
    assert after["accepted"] == before["accepted"] + 2, "its first stages alone"
    assert after["cancelled"] == before["cancelled"] + 2


def test_a_client_that_leaves_stops_costing(http: httpx.Client, engine: Engine) -> None:
    before = engine.metrics()
    files = {"labels": png(labels())}
    with http.stream("POST", EDITS, data={**LONG, "stream": "true"}, files=files) as stream:
        assert stream.status_code == 200
    until(lambda: bool(engine.metrics()["cancelled"] == before["cancelled"] + 1))
    until_idle(engine)
    assert engine.metrics()["accepted"] == before["accepted"] + 1


def test_the_deadline_is_of_all_stages(http: httpx.Client) -> None:
    files = {"labels": png(labels())}
    answer = http.post(EDITS, data={**LONG, "deadline": "0.1"}, files=files)
    assert answer.status_code == 504 and answer.json()["error"]["code"] == "deadline"


def test_limits_are_the_services(models: Models) -> None:
    with serving(models, Settings(max_steps=8, max_edits=1)) as address:
        for change, param, words in (
            ({"inversion": json.dumps({"steps": 9})}, "inversion", "takes at most 8"),
            ({"edits": json.dumps([EDIT] * 2)}, "edits", "2 entries; this service takes at most 1"),
        ):
            files = {"labels": png(labels())}
            answer = httpx.post(address + EDITS, data={**FIELDS, **change}, files=files)
            error = answer.json()["error"]
            assert answer.status_code == 400 and error["param"] == param
            assert words in error["message"]
        fields = {name: value for name, value in FIELDS.items() if name != "inversion"}
        answer = httpx.post(address + EDITS, data=fields, files={"labels": png(labels())})
        assert answer.status_code == 200, "as many steps as it takes"


@pytest.mark.parametrize(
    ("change", "param", "words"),
    [
        ({"edits": "a dog"}, "edits", "edits must be a list of objects"),
        ({"edits": "[]"}, "edits", "edits must be a list of objects"),
        ({"edits": '["a dog"]'}, "edits", "edits[0] must be an object with a prompt"),
        ({"edits": '[{"scale": 1}]'}, "edits", "edits[0] must be an object with a prompt"),
        ({"edits": '[{"prompt": "a dog", "warmup": 1}]'}, "edits", "'warmup'; an edit has prompt"),
        ({"edits": '[{"prompt": 5}]'}, "edits", "edits[0] prompt must be text"),
        ({"edits": '[{"prompt": "a", "direction": "x"}]'}, "edits", "direction is 'x'"),
        ({"edits": '[{"prompt": "a", "scale": 101}]'}, "edits", "edits[0] scale is 101"),
        ({"edits": '[{"prompt": "a", "warm_up": 3}]'}, "edits", "warm_up is 3, expected 0 to 2"),
        ({"edits": '[{"prompt": "a", "attention": 5}]'}, "edits", "attention must be"),
        ({"edits": '[{"prompt": "a", "region": "dog"}]'}, "edits", "the map has nothing"),
        ({"edits": '[{"prompt": "a", "mask": "?"}]'}, "edits[0].mask", "base64"),
        ({"inversion": "4"}, "inversion", "inversion must be an object"),
        ({"inversion": '{"step": 4}'}, "inversion", "'step'; it has steps, skip"),
        ({"inversion": '{"skip": 1}'}, "inversion", "skip is 1"),
        ({"inversion": '{"steps": 1}'}, "inversion", "num_inference_steps of the inversion is 1"),
        ({"inversion": '{"sampler": "euler"}'}, "inversion", "dpmsolver++_sde"),
        ({"way": "best"}, "way", "expected one of mask, pixel, paste"),
        ({"way": "pixel"}, "image", "way is pixel, which changes a picture"),
        ({"factor": "smell"}, "factor", "scenes has segmentation"),
        ({"keep": "maybe"}, "keep", "keep"),
        ({"seam": "1.5"}, "seam", "seam must be a whole number"),
        ({"factors": '{"segmentation": {"map": "AAAA"}}'}, "factors.segmentation.map", "none of"),
        ({"factors": '{"segmentation": {"candidates": 2}}'}, "factors", "candidates is set"),
        ({"factors": "[1]"}, "factors", "factors must be an object"),
        ({"edits[][prompt]": "a dog"}, "edits", "edits came more than once"),
        ({"prompt": " "}, "prompt", "prompt is empty"),
    ],
)
def test_what_is_wrong_is_named(
    http: httpx.Client, change: dict[str, Any], param: str, words: str
) -> None:
    answer = http.post(EDITS, data={**FIELDS, **change}, files={"labels": png(labels())})
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert words in error["message"] and error["param"] == param


@pytest.mark.parametrize(
    ("change", "param", "words"),
    [
        ({"edits": [{"prompt": "a dog", "scale": -1}]}, "edits", "edits[0] scale is -1"),
        ({"edits": [{"prompt": "a dog", "threshold": 2}]}, "edits", "edits[0] threshold is 2"),
        ({"edits": [EDIT, {"prompt": "a dog", "warm_up": 9}]}, "edits", "edits[1] warm_up is 9"),
        ({"edits": [{"prompt": "a dog", "cool_down": 9}]}, "edits", "edits[0] cool_down is 9"),
        ({"edits": [{"prompt": "a dog", "region": "unicorn"}]}, "edits", "unicorn"),
        ({"edits": [{"prompt": "a dog", "attention": True}]}, "edits", "--attention-maps"),
        ({"inversion": {"steps": 4, "skip": 1.5}}, "inversion", "skip is 1.5"),
        ({"inversion": {"steps": 1}}, "inversion", "num_inference_steps of the inversion is 1"),
        ({"inversion": {"steps": "4"}}, "inversion", "steps of the inversion must be a whole"),
        ({"inversion": {"sampler": 1}}, "inversion", "sampler of the inversion must be text"),
        ({"inversion": {"prompt": [1]}}, "inversion", "prompt of the inversion must be text"),
        ({"sampler": 1}, "sampler", "sampler must be text"),
        ({"num_inference_steps": [2]}, "num_inference_steps", "must be a whole number"),
        ({"seam": 65}, "seam", "seam is 65, expected 1 to 64"),
        ({"strength": 2}, "strength", "strength is 2, expected 0 to 1"),
    ],
)
def test_numbers_out_of_range_begin_no_job(
    http: httpx.Client, engine: Engine, change: dict[str, Any], param: str, words: str
) -> None:
    before = engine.metrics()["accepted"]
    answer = http.post(JOBS, json={**body(), **change})
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert words in error["message"] and error["param"] == param
    assert engine.metrics()["accepted"] == before


def test_what_does_not_belong_together_is_named(http: httpx.Client) -> None:
    image, indices = ("image", png(photo())), ("labels", png(labels()))

    def refused(files: list[tuple[str, bytes]], **change: str) -> str:
        answer = http.post(EDITS, data={**FIELDS, **change}, files=files)
        assert answer.status_code == 400, answer.text
        return str(answer.json()["error"]["message"])

    for files, change, words in (
        ([], {}, "none came; send it as the file map or labels"),
        ([indices, ("map", png(photo()[:64, :64]))], {}, "came as map and labels; give one"),
        ([("labels[]", png(labels()))] * 2, {}, "2 files came as labels; expected one"),
        ([image, indices], {"factors": '{"segmentation": null}'}, "is left out, but its map came"),
        ([image, indices], {"repaint": "1"}, "repaint is for pictures of a prompt"),
        ([image, ("labels", png(labels()[1:]))], {"way": "pixel"}, "63"),
        ([image], {"num_inference_steps": "2"}, "num_inference_steps is set, but the inversion"),
        ([indices], {"strength": "0.5"}, "strength is of the seam that way paste paints"),
        ([indices], {"deadline": "-1"}, "deadline is -1, expected 0 to"),
        ([indices], {"deadline": "true"}, "deadline must be a number, got True"),
    ):
        assert words in refused(files, **change)
    generations = http.post("/v1/images/generations", json={"prompt": PROMPT, "edits": [EDIT]})
    assert "send it to /v1/images/edits, or in a job" in generations.json()["error"]["message"]
    without = http.post(JOBS, json={"prompt": PROMPT, "way": "paste"})
    assert without.json()["error"]["param"] == "way"


def test_the_document_has_them(http: httpx.Client) -> None:
    document = http.get("/openapi.json").json()
    form = document["paths"][EDITS]["post"]["requestBody"]["content"]["multipart/form-data"]
    job = document["components"]["schemas"]["JobRequest"]
    for name in ("edits", "way", "inversion", "factor", "keep", "seam"):
        assert form["schema"]["properties"][name]["contentSchema"] == job["properties"][name]
    assert job["properties"]["edits"]["items"]["required"] == ["prompt"]
