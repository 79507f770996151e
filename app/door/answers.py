"""Answers of the door itself, in the shape that the caller's software understands; none holds a key or a traceback."""

from __future__ import annotations

import json
from http import HTTPStatus

from app.door.parse import HttpError
from app.door.wire import Wire

_ANTHROPIC_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    529: "overloaded_error",
}
RETRY_SECONDS = 2


class Refusal(HttpError):
    """A refusal with a reason code; `retry` tells the caller when to come back."""

    def __init__(self, status: int, text: str, reason_code: str, receipt_id: str = "", retry: int = 0) -> None:
        super().__init__(status, text)
        self.reason_code = reason_code
        self.receipt_id = receipt_id
        self.retry = retry


def phrase(status: int) -> str:
    """The standard reason phrase, or nothing."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Overloaded" if status == 529 else ""


def anthropic_body(error: HttpError) -> bytes:
    """Anthropic's error object; the CLI shows its message and stops at 403."""
    kind = _ANTHROPIC_TYPES.get(error.status, "api_error")
    return _dump({"type": "error", "error": {"type": kind, "message": _with_reason(error)}})


def openai_body(error: HttpError) -> bytes:
    """OpenAI's error object."""
    code = error.reason_code if isinstance(error, Refusal) else ""
    kind = "server_error" if error.status >= 500 else "invalid_request_error"
    return _dump({"error": {"message": _with_reason(error), "type": kind, "param": None, "code": code or None}})


def gateway_body(error: HttpError) -> bytes:
    """Helm's own error object; never readable as a hook's permission."""
    reason = error.reason_code if isinstance(error, Refusal) else "BAD_REQUEST"
    receipt = error.receipt_id if isinstance(error, Refusal) else ""
    return _dump(
        {"error": {"code": error.status, "message": error.text, "reason_code": reason, "receipt_id": receipt or None}}
    )


def send_error(wire: Wire, error: HttpError, body: bytes, content_type: str, keep_alive: bool) -> None:
    """Write one whole error answer."""
    retry = error.retry if isinstance(error, Refusal) else 0
    lines = [
        f"HTTP/1.1 {error.status} {phrase(error.status)}",
        f"content-type: {content_type}",
        f"content-length: {len(body)}",
        "cache-control: no-store",
    ]
    if retry:
        lines.append(f"retry-after: {retry}")
    if not keep_alive:
        lines.append("connection: close")
    wire.send("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body)


def send_text(wire: Wire, error: HttpError) -> None:
    """Refuse in plain text and say that the connection ends."""
    send_error(wire, error, (error.text + "\n").encode(), "text/plain; charset=utf-8", keep_alive=False)


def send_json(wire: Wire, error: HttpError, body: bytes, keep_alive: bool = False) -> None:
    """Refuse with a JSON body."""
    send_error(wire, error, body, "application/json", keep_alive)


def _with_reason(error: HttpError) -> str:
    if isinstance(error, Refusal) and error.reason_code:
        tail = f", receipt {error.receipt_id}" if error.receipt_id else ""
        return f"{error.text} [{error.reason_code}{tail}]"
    return error.text


def _dump(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")
