"""Requirements of a prompt by a language model, through any OpenAI-compatible endpoint.

The FG-DM paper asks GPT-4 for the classes of a scene (appendix A.2.1, "ObjectGPT"); here a model is
asked for counts and relations too, in JSON whose schema has the palette's classes alone:

    from fgdm.llm import LanguageModel

    model = LanguageModel("http://127.0.0.1:8000/v1", "qwen")
    reading = model.read("a pair of puppies, one of them by the sea", engine.palette)
    result = engine.generate(prompt, requirements=reading, select="compliance")

`result.reading` says who read the prompt, and why if it wasn't the model. Needs ``fgdm[llm]``.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jsonschema
import numpy as np
import openai
from fgdm.compliance import check_map
from fgdm.errors import BackendError, RequestError
from fgdm.requirements import RELATIONS, Reading, Requirements
from fgdm.values import required_integer, required_real, text

#: Where the key of the endpoint is taken from if none is given; servers of one's own need none.
KEY_VARIABLE = "FGDM_LLM_API_KEY"

#: Bytes of an answer; what is longer is no list of requirements.
_MOST_ANSWER = 2**20

_TASK = """\
You are ObjectGPT. From the description of a picture you list what the picture must hold, using \
only the available classes. Answer in JSON.

objects: every class that the description names or clearly implies, by the closest class. \
at_least and at_most: how many of it, both the same for an exact number ("two"), at_least alone \
for "several" (3) or "some" (2), null where no number is said and for "a". color: said, or null.
relations: who stands where, "subject relation object"; "between" has two objects, others have \
one. count: how many of the class are meant, null for one. which: null, or 2 (3, ...) where the \
description speaks of other things of a class than in the relations before.
absent: classes that must not be there ("no", "without").
Leave out what no class fits.
Available classes: {classes}
Of these there is no number, null is right: {background}"""


class _BadAnswerError(Exception):
    """The model answered, but not with requirements."""


@dataclass
class LanguageModel:
    """A model behind an OpenAI-compatible endpoint, which reads prompts into requirements.

    base_url: of the endpoint, such as http://127.0.0.1:8000/v1. model: its name there.
    api_key: default: $FGDM_LLM_API_KEY, else none. timeout: seconds for a prompt, all attempts
    together. attempts: 1 or more; an answer that isn't valid is told to the model, which is asked
    again. shots: 0, or 1: the model sees an example first. example: that one, a prompt and its
    requirements as ``Engine.submit`` takes them; default: one made of two of the palette's classes.
    fallback: "prompt" lets the engine's own grammar read the prompt where the model fails, "error"
    raises BackendError then.

    Raises RequestError for what isn't allowed.
    """

    base_url: str
    model: str
    api_key: str | None = field(default=None, repr=False)
    timeout: float = 30.0
    attempts: int = 2
    shots: int = 1
    example: tuple[str, Requirements] | None = None
    fallback: str = "prompt"

    def __post_init__(self) -> None:
        text("base_url", self.base_url)
        text("model", self.model)
        if not self.base_url.startswith(("http://", "https://")):
            raise RequestError(
                f"base_url is {self.base_url!r:.200}, expected an address such as "
                "http://127.0.0.1:8000/v1"
            )
        if not 0.0 < required_real("timeout", self.timeout) <= 3600.0:
            raise RequestError(f"timeout is {self.timeout}, expected seconds, above 0 up to 3600")
        if not 1 <= required_integer("attempts", self.attempts) <= 10:
            raise RequestError(f"attempts is {self.attempts}, expected 1 to 10")
        if required_integer("shots", self.shots) not in (0, 1):
            raise RequestError(f"shots is {self.shots}, expected 0 or 1")
        if self.fallback not in ("prompt", "error"):
            raise RequestError(f'fallback is {self.fallback!r}, expected "prompt" or "error"')
        self._client = _client(self.base_url, self.api_key)
        self._has_json_schema = True

    def read(self, prompt: str, palette: Mapping[str, Any] | None) -> Reading:
        """What `prompt` requires, in the classes of a palette (``Engine.palette``).

        Of the model's answer nothing is taken that the schema or the engine's own check refuses.
        Raises RequestError for a bundle without a palette, and with fallback "error" BackendError.
        """
        text("prompt", prompt)
        if palette is None:
            raise RequestError("the bundle has no palette, so no prompt names a class of it")
        begin = time.monotonic()
        problem, attempt = "", 0
        messages = self._messages(prompt, palette)
        for attempt in range(1, self.attempts + 1):
            answer = ""
            try:
                answer = self._ask(messages, palette, begin + self.timeout)
                requirements = _requirements(answer, palette)
            except _BadAnswerError as error:
                problem = str(error)
                messages += [
                    {"role": "assistant", "content": answer or "{}"},
                    {"role": "user", "content": f"That isn't valid: {problem}. Answer again."},
                ]
                continue
            except BackendError as error:
                problem = str(error)
                break
            return self._reading(requirements, "", attempt, begin)
        if self.fallback == "error":
            raise BackendError(
                f"the language model {self.model} at {self.base_url} didn't read the prompt: "
                f'{problem}; fallback="prompt" lets the grammar read it'
            )
        return self._reading(None, problem, attempt, begin)

    def _reading(
        self, requirements: dict[str, Any] | None, problem: str, attempts: int, begin: float
    ) -> Reading:
        return Reading(
            requirements,
            source="prompt" if requirements is None else "llm",
            model=self.model,
            problem=problem,
            attempts=attempts,
            seconds=time.monotonic() - begin,
        )

    def _messages(self, prompt: str, palette: Mapping[str, Any]) -> list[dict[str, str]]:
        things, background = _classes(palette)
        task = _TASK.format(
            classes=", ".join(things + background), background=", ".join(background) or "none"
        )
        messages = [{"role": "system", "content": task}]
        if self.shots:
            example, required = self.example or _example(things + background)
            messages += [
                {"role": "user", "content": example},
                {"role": "assistant", "content": json.dumps(_answer(required))},
            ]
        return [*messages, {"role": "user", "content": prompt}]

    def _ask(
        self, messages: Sequence[Mapping[str, str]], palette: Mapping[str, Any], deadline: float
    ) -> str:
        """The text of the model's answer. BackendError for an endpoint that gives none in time."""
        schema = _schema(palette)
        while True:
            # llama-cpp-python's server knows a schema only in this form, and refuses the other.
            form = (
                {
                    "type": "json_schema",
                    "json_schema": {"name": "requirements", "strict": True, "schema": schema},
                }
                if self._has_json_schema
                else {"type": "json_object", "schema": schema}
            )
            try:
                return _content(self._body(messages, form, deadline))
            except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
                if not self._has_json_schema:
                    raise BackendError(f"it refused the question: {error!s:.300}") from None
                self._has_json_schema = False
            except (openai.APITimeoutError, TimeoutError):
                raise BackendError(f"no answer within {self.timeout:g} s") from None
            except openai.APIStatusError as error:
                raise BackendError(f"it answered with status {error.status_code}") from None
            except openai.APIConnectionError as error:
                cause = error.__cause__ or error
                raise BackendError(f"it can't be reached: {cause!s:.300}") from None

    def _body(
        self, messages: Sequence[Mapping[str, str]], form: Mapping[str, object], deadline: float
    ) -> bytes:
        """The bytes of an answer. The client's time-out is for each read; this one is for all."""
        left = deadline - time.monotonic()
        if left <= 0.0:
            raise TimeoutError
        create: Any = self._client.chat.completions.with_streaming_response.create
        body = b""
        with create(
            model=self.model,
            messages=list(messages),
            response_format=form,
            temperature=0.0,
            timeout=left,
        ) as response:
            parts = response.iter_bytes()
            while True:
                try:
                    part = next(parts, None)
                except Exception as error:  # of whatever HTTP library the client uses
                    if time.monotonic() >= deadline:
                        raise TimeoutError from None
                    raise BackendError(f"its answer broke off: {error!s:.300}") from None
                if part is None:
                    return body
                body += part
                if len(body) > _MOST_ANSWER:
                    raise BackendError(f"its answer is longer than {_MOST_ANSWER} bytes")
                if time.monotonic() > deadline:
                    raise TimeoutError


def _client(base_url: str, api_key: str | None) -> openai.OpenAI:
    # Never the environment's OPENAI_API_KEY, which isn't meant for whatever endpoint is named.
    key = api_key or os.environ.get(KEY_VARIABLE) or "none"
    return openai.OpenAI(base_url=base_url, api_key=key, max_retries=0)


def _content(body: bytes) -> str:
    """The message in the body of a chat completion."""
    try:
        content = json.loads(body)["choices"][0]["message"]["content"]
    except (ValueError, LookupError, TypeError, RecursionError):
        raise BackendError(f"its answer is no chat completion: {body[:200]!r}") from None
    if not isinstance(content, str):
        raise BackendError(f"its answer has no text but {type(content).__name__}")
    return content


def _classes(palette: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Names of the things and of the background classes of a palette."""
    entries = palette["classes"]
    things = [str(one["name"]) for one in entries if one.get("kind", "thing") == "thing"]
    return things, [str(one["name"]) for one in entries if str(one["name"]) not in things]


def _schema(palette: Mapping[str, Any]) -> dict[str, Any]:
    """Of an answer: every key is required, as strict servers want it; null stands for none."""
    things, background = _classes(palette)
    name = {"type": "string", "enum": things + background}
    number = {"type": ["integer", "null"]}

    def record(**properties: object) -> dict[str, object]:
        return {
            "type": "object",
            "additionalProperties": False,
            "required": list(properties),
            "properties": properties,
        }

    end = record(**{"class": name, "count": number, "which": number})
    thing = record(
        **{
            "class": name,
            "at_least": number,
            "at_most": number,
            "color": {"type": ["string", "null"]},
        }
    )
    relation = record(
        subject=end,
        relation={"type": "string", "enum": list(RELATIONS)},
        objects={"type": "array", "items": end},
    )
    return record(
        objects={"type": "array", "items": thing},
        relations={"type": "array", "items": relation},
        absent={"type": "array", "items": name},
    )


def _requirements(answer: str, palette: Mapping[str, Any]) -> dict[str, Any]:
    """An answer as requests take requirements. _BadAnswerError if it is none."""
    try:
        value = json.loads(answer)
    except (ValueError, RecursionError) as error:
        raise _BadAnswerError(f"it is no JSON: {error!s:.200}") from None
    problem = jsonschema.exceptions.best_match(
        jsonschema.Draft202012Validator(_schema(palette)).iter_errors(value)
    )
    if problem is not None:
        raise _BadAnswerError(f"{problem.json_path}: {problem.message:.200}")
    requirements = {
        "objects": [_given(one) for one in value["objects"]],
        "relations": [_relation(one) for one in value["relations"]],
        "absent": value["absent"],
    }
    try:  # as a request's are checked; the map doesn't matter
        check_map(np.full((1, 1), 255, np.uint8), requirements, palette)
    except RequestError as error:
        raise _BadAnswerError(str(error)) from None
    return requirements


def _given(record: Mapping[str, Any]) -> str | dict[str, Any]:
    """What isn't null; the class alone if that is all."""
    given = {key: value for key, value in record.items() if value is not None}
    return given if len(given) > 1 else str(given["class"])


def _relation(record: Mapping[str, Any]) -> dict[str, Any]:
    objects = [_given(one) for one in record["objects"]]
    return {
        "subject": _given(record["subject"]),
        "relation": record["relation"],
        "object": objects[0] if len(objects) == 1 else objects,
    }


def _answer(required: Requirements) -> dict[str, Any]:
    """Requirements as the model is to answer them."""

    def full(given: object, keys: Sequence[str]) -> dict[str, Any]:
        record = dict(given) if isinstance(given, Mapping) else {"class": given}
        if (count := record.pop("count", None)) is not None:
            record |= {"at_least": count, "at_most": count} if "at_least" in keys else {}
            record |= {"count": count} if "count" in keys else {}
        return {key: record.get(key) for key in keys}

    def relation(one: Mapping[str, Any]) -> dict[str, Any]:
        ends = one["object"]
        many = ends if isinstance(ends, Sequence) and not isinstance(ends, str) else [ends]
        keys = ("class", "count", "which")
        return {
            "subject": full(one["subject"], keys),
            "relation": one["relation"],
            "objects": [full(end, keys) for end in many],
        }

    return {
        "objects": [
            full(one, ("class", "at_least", "at_most", "color"))
            for one in required.get("objects", ())
        ],
        "relations": [relation(one) for one in required.get("relations", ())],
        "absent": list(required.get("absent", ())),
    }


def _example(classes: Sequence[str]) -> tuple[str, Requirements]:
    """One that any palette can say."""
    first, second = classes[0], classes[-1]
    return f"A photo with the {first} in front of the {second}", {
        "objects": list(dict.fromkeys((first, second))),
        "relations": []
        if first == second
        else [{"subject": first, "relation": "in front of", "object": second}],
        "absent": [],
    }
