"""Anthropic's Messages format: one answer as a JSON body or as the events of a stream."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Mapping

from app.demo.chunks import pieces, words
from app.demo.play import ToolUse, Turn

_ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    413: "request_too_large",
    429: "rate_limit_error",
    529: "overloaded_error",
}
MODELS = ("claude-opus-4-8", "claude-sonnet-5", "claude-haiku-4-5")


def error_body(status: int, message: str, request_id: str) -> dict[str, object]:
    kind = _ERROR_TYPES.get(status, "api_error" if status >= 500 else "invalid_request_error")
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": request_id}


def models_body() -> dict[str, object]:
    rows = [
        {
            "type": "model",
            "id": name,
            "display_name": name.replace("-", " ").title(),
            "created_at": "2026-01-01T00:00:00Z",
        }
        for name in MODELS
    ]
    return {"data": rows, "has_more": False, "first_id": MODELS[0], "last_id": MODELS[-1]}


def message_body(turn: Turn, model: str, usage: Mapping[str, int]) -> dict[str, object]:
    content: list[dict[str, object]] = [{"type": "text", "text": text} for text in turn.texts]
    content += [_tool_block(use, dict(use.call.input)) for use in turn.calls]
    return _envelope(model, usage, content, _stop_reason(turn))


def message_events(turn: Turn, model: str, usage: Mapping[str, int]) -> Iterator[bytes]:
    """The stream, event by event; the final event but one carries the whole usage, as the real one does."""
    start = _envelope(model, {**usage, "output_tokens": 1}, [], None)
    yield event("message_start", {"message": start})
    index = 0
    for text in turn.texts:
        yield event("content_block_start", {"index": index, "content_block": {"type": "text", "text": ""}})
        for part in words(text):
            yield event("content_block_delta", {"index": index, "delta": {"type": "text_delta", "text": part}})
        yield event("content_block_stop", {"index": index})
        index += 1
    for use in turn.calls:
        yield event("content_block_start", {"index": index, "content_block": _tool_block(use, {})})
        for part in pieces(json.dumps(use.call.input, ensure_ascii=False)):
            yield event(
                "content_block_delta", {"index": index, "delta": {"type": "input_json_delta", "partial_json": part}}
            )
        yield event("content_block_stop", {"index": index})
        index += 1
    yield event(
        "message_delta", {"delta": {"stop_reason": _stop_reason(turn), "stop_sequence": None}, "usage": dict(usage)}
    )
    yield event("message_stop", {})


def event(kind: str, fields: Mapping[str, object]) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields}, ensure_ascii=False)}\n\n".encode()


def error_event(status: int, message: str) -> bytes:
    return event("error", {"error": error_body(status, message, "")["error"]})


def _stop_reason(turn: Turn) -> str:
    return "tool_use" if turn.calls else "end_turn"


def _tool_block(use: ToolUse, given: dict[str, object]) -> dict[str, object]:
    return {"type": "tool_use", "id": use.id, "name": use.call.tool, "input": given}


def _envelope(
    model: str, usage: Mapping[str, int], content: list[dict[str, object]], stop: str | None
) -> dict[str, object]:
    written = usage.get("cache_creation_input_tokens", 0)
    return {
        "id": f"msg_demo_{secrets.token_hex(10)}",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": content,
        "stop_reason": stop,
        "stop_sequence": None,
        "usage": {
            **usage,
            "cache_creation": {"ephemeral_5m_input_tokens": written, "ephemeral_1h_input_tokens": 0},
            "service_tier": "standard",
        },
    }
