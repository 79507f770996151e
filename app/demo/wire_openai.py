"""OpenAI's chat completions format: one answer as a JSON body or as the chunks of a stream."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterator, Mapping

from app.demo.chunks import pieces, words
from app.demo.play import Turn

_ERROR_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
MODELS = ("gpt-5", "gpt-5-mini")


def error_body(status: int, message: str) -> dict[str, object]:
    kind = _ERROR_TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    code = {401: "invalid_api_key", 404: "not_found", 429: "rate_limit_exceeded"}.get(status)
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def models_body() -> dict[str, object]:
    rows = [{"id": name, "object": "model", "created": 1767225600, "owned_by": "helm-demo"} for name in MODELS]
    return {"object": "list", "data": rows}


def usage_body(usage: Mapping[str, int]) -> dict[str, object]:
    """The same tokens as in Anthropic's fields; here the prompt counts the cached part too."""
    cached = usage["cache_read_input_tokens"]
    prompt = usage["input_tokens"] + usage["cache_creation_input_tokens"] + cached
    return {
        "prompt_tokens": prompt,
        "completion_tokens": usage["output_tokens"],
        "total_tokens": prompt + usage["output_tokens"],
        "prompt_tokens_details": {"cached_tokens": cached, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    }


def completion_body(turn: Turn, model: str, usage: Mapping[str, int]) -> dict[str, object]:
    message: dict[str, object] = {"role": "assistant", "content": _text(turn), "refusal": None}
    if turn.calls:
        message["tool_calls"] = [_call(turn, n, json.dumps(use.call.input)) for n, use in enumerate(turn.calls)]
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _finish(turn)}
    return {**_envelope("chat.completion", model), "choices": [choice], "usage": usage_body(usage)}


def completion_events(turn: Turn, model: str, usage: Mapping[str, int], with_usage: bool) -> Iterator[bytes]:
    """The stream; the last chunk before [DONE] carries the usage when the caller asked for it."""
    envelope = _envelope("chat.completion.chunk", model)
    yield _chunk(envelope, {"role": "assistant", "content": ""})
    for part in words(_text(turn) or ""):
        yield _chunk(envelope, {"content": part})
    for n, use in enumerate(turn.calls):
        yield _chunk(envelope, {"tool_calls": [{"index": n, **_call(turn, n, "")}]})
        for part in pieces(json.dumps(use.call.input)):
            yield _chunk(envelope, {"tool_calls": [{"index": n, "function": {"arguments": part}}]})
    yield _chunk(envelope, {}, _finish(turn))
    if with_usage:
        yield _data({**envelope, "choices": [], "usage": usage_body(usage)})
    yield b"data: [DONE]\n\n"


def error_event(status: int, message: str) -> bytes:
    return _data(error_body(status, message))


def _chunk(envelope: Mapping[str, object], delta: Mapping[str, object], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    return _data({**envelope, "choices": [choice]})


def _data(value: Mapping[str, object]) -> bytes:
    return f"data: {json.dumps(value, ensure_ascii=False)}\n\n".encode()


def _call(turn: Turn, n: int, arguments: str) -> dict[str, object]:
    use = turn.calls[n]
    call_id = use.id.replace("toolu_", "call_", 1)
    return {"id": call_id, "type": "function", "function": {"name": use.call.tool, "arguments": arguments}}


def _text(turn: Turn) -> str | None:
    return "\n\n".join(turn.texts) or None


def _finish(turn: Turn) -> str:
    return "tool_calls" if turn.calls else "stop"


def _envelope(kind: str, model: str) -> dict[str, object]:
    return {"id": f"chatcmpl-demo-{secrets.token_hex(8)}", "object": kind, "created": int(time.time()), "model": model}
