"""What the door must know of a model request: route, model, bound on output, tool results. The bytes are not changed.

A body that two JSON parsers could read differently (duplicate keys, other encodings, NaN) is refused.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from app.door.parse import HttpError

MAX_BRACKETS = 1_000_000
MAX_COMMAS = 4_000_000
MAX_TOOL_RESULTS = 20_000
MAX_MODEL_NAME = 200
MAX_ID = 256

_SEGMENTS = re.compile(r"(?:/[A-Za-z0-9_.:-]+)+")
_QUERY = re.compile(r"[A-Za-z0-9_]{1,64}=[A-Za-z0-9_.-]{0,128}(?:&[A-Za-z0-9_]{1,64}=[A-Za-z0-9_.-]{0,128}){0,7}")
_MODEL_PAGE = re.compile(r"/v1/models/[A-Za-z0-9][A-Za-z0-9_.:-]{0,199}")


@dataclass(frozen=True, slots=True)
class Route:
    """A (method, path) that may pass. `metered` = it costs money, so it is reserved and settled."""

    path: str
    query: str
    metered: bool
    format: str


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """The facts of one metered request; `max_tokens` is None when the caller set no bound."""

    model: str
    stream: bool
    max_tokens: int | None
    tool_results: tuple[tuple[str, bool], ...]
    sha256: str
    size: int


_POST = {
    "anthropic": {"/v1/messages": (True, "messages"), "/v1/messages/count_tokens": (False, "")},
    "openai": {
        "/v1/chat/completions": (True, "chat"),
        "/v1/responses": (True, "responses"),
        "/v1/embeddings": (True, "embeddings"),
    },
}


def find_route(provider: str, method: str, target: str) -> Route:
    """The route of an origin-form target below the provider's prefix. Raises HttpError 404 for everything else."""
    path, mark, query = target.partition("?")
    if _SEGMENTS.fullmatch(path) is None or any(segment in (".", "..") for segment in path.split("/")):
        raise HttpError(404, "this path does not pass the model proxy")
    if mark and _QUERY.fullmatch(query) is None:
        raise HttpError(404, "this query does not pass the model proxy")
    if method == "POST" and path in _POST[provider]:
        metered, form = _POST[provider][path]
        return Route(path, query, metered, form)
    if method == "GET" and (path == "/v1/models" or _MODEL_PAGE.fullmatch(path) is not None):
        return Route(path, query, False, "")
    raise HttpError(404, f"{method} {path[:100]} does not pass the model proxy")


def parse_model_request(body: bytes, form: str) -> ModelRequest:
    """Read a metered request's body. Raises HttpError 400 with what is wrong."""
    value = _parse(body)
    model = value.get("model")
    if not isinstance(model, str) or not 0 < len(model) <= MAX_MODEL_NAME:
        raise HttpError(400, "model is a text of 1 to 200 characters")
    stream = value.get("stream", False)
    if not isinstance(stream, bool | None):
        raise HttpError(400, "stream is true or false")
    results: list[tuple[str, bool]] = []
    for result in _tool_results(value, form):
        results.append(result)
        if len(results) > MAX_TOOL_RESULTS:
            raise HttpError(400, f"more than {MAX_TOOL_RESULTS} tool results in one request")
    bound = _max_tokens(value, form)
    return ModelRequest(model, bool(stream), bound, tuple(results), hashlib.sha256(body).hexdigest(), len(body))


def _parse(body: bytes) -> Mapping[str, object]:
    if body.count(b"[") + body.count(b"{") > MAX_BRACKETS or body.count(b",") > MAX_COMMAS:
        raise HttpError(400, "the JSON body has too many values")
    try:
        value = json.loads(body.decode("utf-8"), object_pairs_hook=_object, parse_constant=_constant)
    except RecursionError:
        raise HttpError(400, "the JSON body is nested too deeply") from None
    except ValueError:
        raise HttpError(400, "the body is not one JSON object in UTF-8 with unique keys") from None
    if not isinstance(value, dict):
        raise HttpError(400, "the body is not a JSON object")
    return value


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("duplicate key")
    return value


def _constant(text: str) -> object:
    raise ValueError(text)


def _max_tokens(value: Mapping[str, object], form: str) -> int | None:
    if form == "embeddings":
        return 0
    names = {"messages": ("max_tokens",), "responses": ("max_output_tokens",)}
    for name in names.get(form, ("max_completion_tokens", "max_tokens")):
        bound = value.get(name)
        if bound is None:
            continue
        return _count(bound, name) * _count(value.get("n") or 1, "n") if form == "chat" else _count(bound, name)
    return None


def _count(value: object, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 2**31:
        raise HttpError(400, f"{name} is a whole number")
    return value


def _tool_results(value: Mapping[str, object], form: str) -> Iterator[tuple[str, bool]]:
    if form == "messages":
        yield from _anthropic_results(value.get("messages"))
    elif form == "chat":
        yield from _chat_results(value.get("messages"))
    elif form == "responses":
        yield from _responses_results(value.get("input"))


def _anthropic_results(messages: object) -> Iterator[tuple[str, bool]]:
    for message in _objects(messages):
        for block in _objects(message.get("content")):
            if block.get("type") == "tool_result":
                yield _identity(block.get("tool_use_id")), block.get("is_error") is True


def _chat_results(messages: object) -> Iterator[tuple[str, bool]]:
    for message in _objects(messages):
        if message.get("role") in ("tool", "function"):
            yield _identity(message.get("tool_call_id")), False


def _responses_results(items: object) -> Iterator[tuple[str, bool]]:
    for item in _objects(items):
        kind = item.get("type")
        if isinstance(kind, str) and kind.endswith("_call_output"):
            yield _identity(item.get("call_id")), False


def _identity(value: object) -> str:
    # A result without a usable id keeps its place as "": the server finds no call for it and refuses.
    return value if isinstance(value, str) and len(value) <= MAX_ID else ""


def _objects(value: object) -> Iterator[Mapping[str, object]]:
    if isinstance(value, list):
        for item in value:
            if isinstance(item, dict):
                yield item
