"""Body framing (RFC 9112 section 6 and 7.1): decoders that take any split of the bytes, and the chunk encoder.

Strict as the head parser: no extensions, no trailers, no signs or prefixes, CRLF only. Answers may carry extensions
and trailers, as the RFC lets them; they are dropped, since every body is framed anew for the client.
"""

from __future__ import annotations

import re
from typing import Protocol

from app.door.parse import Framing, HttpError

LAST_CHUNK = b"0\r\n\r\n"
_SIZE = re.compile(rb"[0-9A-Fa-f]{1,8}")
_MAX_STRICT_LINE = 10
_MAX_LENIENT_LINE = 1024
_MAX_TRAILERS = 64


class Decoder(Protocol):
    """Takes bytes off a connection and gives the body's bytes."""

    done: bool
    rest: bytes

    def feed(self, data: bytes) -> bytes:
        """The body bytes in `data`; what lies behind the body's end is kept in `rest`. Raises HttpError."""

    def finish(self) -> bool:
        """The connection has ended; whether the body is complete."""


class LengthDecoder:
    """A body of a known length."""

    __slots__ = ("_left", "done", "rest")

    def __init__(self, length: int) -> None:
        self._left = length
        self.done = length == 0
        self.rest = b""

    def feed(self, data: bytes) -> bytes:
        """The body bytes in `data`."""
        if len(data) < self._left:
            self._left -= len(data)
            return data
        body, self.rest = data[: self._left], self.rest + data[self._left :]
        self._left, self.done = 0, True
        return body

    def finish(self) -> bool:
        """Complete when every byte came."""
        return self.done


class CloseDecoder:
    """A body that ends with its connection."""

    __slots__ = ("done", "rest")

    def __init__(self) -> None:
        self.done = False
        self.rest = b""

    def feed(self, data: bytes) -> bytes:
        """All of it is body."""
        return data

    def finish(self) -> bool:
        """The end is the end."""
        self.done = True
        return True


class ChunkedDecoder:
    """A chunked body; `lenient` skips extensions and trailers."""

    __slots__ = ("_buffer", "_left", "_lenient", "_most", "_state", "_trailers", "done", "rest")

    def __init__(self, lenient: bool = False) -> None:
        self._lenient = lenient
        self._most = _MAX_LENIENT_LINE if lenient else _MAX_STRICT_LINE
        self._trailers = 0
        self._buffer = b""
        self._left = 0
        self._state = "size"
        self.done = False
        self.rest = b""

    def feed(self, data: bytes) -> bytes:
        """The body bytes in `data`, chunk framing taken off."""
        if self.done:
            self.rest += data
            return b""
        if self._buffer:
            data, self._buffer = self._buffer + data, b""
        out: list[bytes] = []
        at = 0
        while at < len(data) and not self.done:
            if self._state == "data":
                part = data[at : at + self._left]
                out.append(part)
                at += len(part)
                self._left -= len(part)
                if self._left == 0:
                    self._state = "after"
                continue
            end = self._line_end(data, at)
            if end < 0:
                self._buffer = data[at:]
                break
            self._line(data[at:end])
            at = end + 2
        if self.done:
            self.rest = data[at:]
        return out[0] if len(out) == 1 else b"".join(out)

    def finish(self) -> bool:
        """Complete when the last chunk and its blank line came."""
        return self.done

    def _line_end(self, data: bytes, at: int) -> int:
        end = data.find(b"\r\n", at, at + self._most)
        if end >= 0:
            return end
        if len(data) - at >= self._most or b"\n" in data[at:]:
            raise HttpError(400, "a chunk size is up to eight hex digits and CRLF, without extensions")
        return -1

    def _line(self, line: bytes) -> None:
        if self._state == "size":
            line = line.partition(b";")[0].rstrip(b" \t") if self._lenient else line
            if _SIZE.fullmatch(line) is None:
                raise HttpError(400, "a chunk size is up to eight hex digits and CRLF, without extensions")
            self._left = int(line, 16)
            self._state = "data" if self._left else "end"
            return
        if line and self._lenient and self._state == "end" and self._trailers < _MAX_TRAILERS:
            self._trailers += 1
            return
        if line:
            raise HttpError(400, "a chunk ends with CRLF and the last one carries no trailers")
        self.done = self._state == "end"
        self._state = "size"


def decoder_of(framing: Framing, length: int, lenient: bool = False) -> Decoder:
    """The decoder for a head's framing; `lenient` for answers."""
    if framing is Framing.CHUNKED:
        return ChunkedDecoder(lenient)
    if framing is Framing.UNTIL_CLOSE:
        return CloseDecoder()
    return LengthDecoder(length)


def chunk(data: bytes) -> bytes:
    """`data` as one chunk; nothing for no data (an empty chunk would be the end)."""
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""
