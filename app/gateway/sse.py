"""Server-sent events of an MCP server, taken apart and written anew: what the agent's client reads is what was read
here, however it splits lines (WHATWG HTML, 9.2)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from app.domain.errors import TooLarge

MAX_EVENT: Final = 16 * 1024 * 1024
_END: Final = re.compile(rb"\r\n|\n|\r")
_FIELD: Final = re.compile(r"[\x20-\x7e]{0,200}")


@dataclass(frozen=True, slots=True)
class SseEvent:
    """One event; `data` None: a sign of life without any."""

    data: str | None = None
    name: str = ""
    id: str | None = None
    retry: str = ""

    def encode(self, data: str | None = None) -> bytes:
        """The event as bytes, with other data where it is given."""
        told = self.data if data is None else data
        if told is None:
            return b":\n\n"
        lines = [f"event: {self.name}"] if self.name else []
        lines += [f"id: {self.id}"] if self.id is not None else []
        lines += [f"retry: {self.retry}"] if self.retry else []
        lines += [f"data: {line}" for line in told.split("\n")]
        return ("\n".join(lines) + "\n\n").encode("utf-8", "replace")


class SseParser:
    """Takes bytes in any split. Raises TooLarge when one event is past 16 MiB."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._searched = self._size = 0
        self._first = True
        self._data: list[str] = []
        self._fields: dict[str, str] = {}

    def feed(self, chunk: bytes) -> Iterator[SseEvent]:
        """The events that are whole now."""
        self._rest += chunk
        if self._first and len(self._rest) >= 3:
            self._first = False
            if self._rest.startswith(b"\xef\xbb\xbf"):
                del self._rest[:3]
                self._searched = 0
        start, at = 0, self._searched  # what was searched once is not searched again: the pieces may be small
        while (end := _END.search(self._rest, at)) is not None:
            if end.group() == b"\r" and end.end() == len(self._rest):
                break  # its other half may come with the next bytes
            line, start = bytes(self._rest[start : end.start()]), end.end()
            at = start
            event = self._line(line) if line else self._dispatch()
            if event is not None:
                yield event
        del self._rest[:start]
        self._searched = max(0, len(self._rest) - 1)
        self._count(len(self._rest))

    def _line(self, raw: bytes) -> SseEvent | None:
        self._size += len(raw)
        self._count(0)
        field, _, value = raw.decode("utf-8", "replace").partition(":")
        value = value.removeprefix(" ")
        if field == "data":
            self._data.append(value)
        elif field in ("event", "id", "retry") and _FIELD.fullmatch(value) is not None:
            self._fields[field] = value
        return SseEvent() if raw.startswith(b":") and not self._data else None

    def _dispatch(self) -> SseEvent | None:
        fields, data = self._fields, "\n".join(self._data) if self._data else None
        self._data, self._fields, self._size = [], {}, 0
        if data is None:
            return None
        return SseEvent(data, fields.get("event", ""), fields.get("id"), fields.get("retry", ""))

    def _count(self, more: int) -> None:
        if self._size + more > MAX_EVENT:
            raise TooLarge("an event of the server is past 16 MiB")
