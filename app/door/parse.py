"""A strict HTTP/1.x head parser (RFC 9112): one reading of the bytes or none.

What two parsers could read differently (bare LF, folded lines, repeated Host, lengths or codings) is refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

MAX_HEAD = 32 * 1024
MAX_FIELDS = 128
MAX_LENGTH_DIGITS = 12

_REQUEST_LINE = re.compile(rb"([A-Z]{1,16}) ([\x21-\x7e]+) HTTP/([0-9])\.([0-9])")
_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9][0-9])(?: ([\x20-\x7e\x80-\xff\t]*))?")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):([\t\x20-\x7e\x80-\xff]*)")
_DIGITS = re.compile(rf"[0-9]{{1,{MAX_LENGTH_DIGITS}}}")


class HttpError(Exception):
    """A message that is refused: the status for the client and a text that names the rule."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


class Framing(Enum):
    """How the end of a body is known."""

    NONE = "none"
    LENGTH = "length"
    CHUNKED = "chunked"
    UNTIL_CLOSE = "until-close"


Fields = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class RequestHead:
    """A request's head; field names are lower-case, values as sent."""

    method: str
    target: str
    minor: int
    fields: Fields
    framing: Framing
    length: int
    keep_alive: bool

    def get(self, name: str) -> str | None:
        """The value of the first field of that (lower-case) name."""
        return field_value(self.fields, name)


@dataclass(frozen=True, slots=True)
class ResponseHead:
    """A response's head; field names are lower-case, values as sent."""

    status: int
    reason: str
    fields: Fields
    framing: Framing
    length: int
    keep_alive: bool

    def get(self, name: str) -> str | None:
        """The value of the first field of that (lower-case) name."""
        return field_value(self.fields, name)


def field_value(fields: Fields, name: str) -> str | None:
    """The value of the first field of that (lower-case) name."""
    for key, value in fields:
        if key == name:
            return value
    return None


def find_head_end(buffer: bytearray, scanned: int) -> int:
    """The index after the blank line, or 0 when it has not come; refuses what can never become a strict head.

    `scanned` = how many bytes an earlier call has seen, so that one-byte arrivals cost linear time.
    """
    end = buffer.find(b"\r\n\r\n", max(0, scanned - 3))
    stop = end + 4 if end >= 0 else len(buffer)
    if stop > MAX_HEAD:
        raise HttpError(431, f"the head is longer than {MAX_HEAD} bytes")
    start = max(0, scanned - 1)
    at = buffer.find(b"\n", start, stop)
    while at >= 0:
        if at == 0 or buffer[at - 1] != 13:
            raise HttpError(400, "a line ends with CRLF; a bare LF is refused")
        at = buffer.find(b"\n", at + 1, stop)
    if buffer.find(b"\0", start, stop) >= 0:
        raise HttpError(400, "a head has no NUL")
    return end + 4 if end >= 0 else 0


def parse_request(head: bytes) -> RequestHead:
    """Read a whole request head, blank line included."""
    first, lines = _lines(head)
    matched = _REQUEST_LINE.fullmatch(first)
    if matched is None:
        raise HttpError(400, "the request line is not METHOD SP target SP HTTP/1.1")
    method, target, major, minor = (part.decode("ascii") for part in matched.groups())
    if major != "1" or minor not in "01":
        raise HttpError(505, "only HTTP/1.1 and HTTP/1.0 are spoken here")
    if "#" in target:
        raise HttpError(400, "a target has no fragment")
    fields = _fields(lines)
    _check_host(fields, int(minor))
    framing, length = _framing(fields, int(minor))
    return RequestHead(method, target, int(minor), fields, framing, length, _keep_alive(fields, int(minor)))


def parse_response(head: bytes, method: str) -> ResponseHead:
    """Read a whole response head to a request of that method."""
    first, lines = _lines(head)
    matched = _STATUS_LINE.fullmatch(first)
    if matched is None:
        raise HttpError(502, "the status line is malformed")
    minor, status = int(matched[1]), int(matched[2])
    reason = (matched[3] or b"").decode("latin-1")
    fields = _fields(lines)
    framing, length = _framing(fields, minor)
    keep_alive = _keep_alive(fields, minor)
    if method == "HEAD" or status in (204, 304) or status < 200:
        framing, length = Framing.NONE, 0
    elif framing is Framing.NONE:
        framing, keep_alive = Framing.UNTIL_CLOSE, False
    return ResponseHead(status, reason, fields, framing, length, keep_alive)


def connection_names(fields: Fields) -> frozenset[str]:
    """The field names that Connection nominates as hop-by-hop, lower-case."""
    names: set[str] = set()
    for key, value in fields:
        if key in ("connection", "proxy-connection"):
            names.update(part.strip().lower() for part in value.split(","))
    return frozenset(names)


def _lines(head: bytes) -> tuple[bytes, list[bytes]]:
    if not head.endswith(b"\r\n\r\n"):
        raise HttpError(400, "the head does not end with a blank line")
    lines = head[:-4].split(b"\r\n")
    return lines[0], lines[1:]


def _fields(lines: list[bytes]) -> Fields:
    if len(lines) > MAX_FIELDS:
        raise HttpError(431, f"more than {MAX_FIELDS} header fields")
    fields: list[tuple[str, str]] = []
    for line in lines:
        matched = _FIELD.fullmatch(line)
        if matched is None:
            raise HttpError(400, "a header field is malformed (folded, blank before the colon, or a control character)")
        fields.append((matched[1].decode("ascii").lower(), matched[2].strip(b" \t").decode("latin-1")))
    return tuple(fields)


def _check_host(fields: Fields, minor: int) -> None:
    hosts = sum(1 for key, _ in fields if key == "host")
    if hosts > 1 or (hosts == 0 and minor == 1):
        raise HttpError(400, "a request has exactly one Host field")


def _framing(fields: Fields, minor: int) -> tuple[Framing, int]:
    lengths = [value for key, value in fields if key == "content-length"]
    codings = [value for key, value in fields if key == "transfer-encoding"]
    if len(lengths) + len(codings) > 1:
        raise HttpError(400, "one Content-Length or one Transfer-Encoding, not both and not twice")
    if codings:
        if codings[0].lower() != "chunked" or minor == 0:
            raise HttpError(400, "the only transfer coding is chunked, in HTTP/1.1")
        return Framing.CHUNKED, 0
    if lengths:
        if _DIGITS.fullmatch(lengths[0]) is None:
            raise HttpError(400, "Content-Length is a decimal number")
        return Framing.LENGTH, int(lengths[0])
    return Framing.NONE, 0


def _keep_alive(fields: Fields, minor: int) -> bool:
    names = connection_names(fields)
    return "close" not in names and (minor == 1 or "keep-alive" in names)
