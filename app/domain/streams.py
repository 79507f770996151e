"""Reads what a model answered while its bytes pass by: usage, tool calls, stop reason, model. Never changes a byte.

A reader accepts any split of the stream and gives the same reading; what it cannot read is `unread`, never wrong.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

MAX_LINE = 16 * 1024 * 1024
MAX_BODY = 32 * 1024 * 1024
MAX_TOOL_USES = 1024
MAX_TEXT = 256

USAGE_KEYS = ("input_tokens", "output_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
_MAX_TOKENS = 2**53


@dataclass(frozen=True, slots=True)
class ToolUse:
    """A tool call that the model asked for and the caller is to run."""

    id: str
    name: str


@dataclass(frozen=True, slots=True)
class Reading:
    """What is known of an answer so far. `usage` holds only counts that were read; `done` = the stream said its end."""

    usage: Mapping[str, int]
    model: str
    message_id: str
    stop_reason: str
    tool_uses: tuple[ToolUse, ...]
    done: bool
    error: str
    unread: bool


class Reader(Protocol):
    """Takes the decoded bytes of one answer in any split and tells at any time what is known."""

    @property
    def done(self) -> bool:
        """The answer said its end."""

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the answer."""

    def finish(self) -> None:
        """The bytes have ended (or will not be read further)."""

    def reading(self) -> Reading:
        """What is known now."""


class Notes:
    """The facts gathered from one answer, whatever its format."""

    __slots__ = ("_tools", "done", "error", "message_id", "model", "stop_reason", "unread", "usage")

    def __init__(self) -> None:
        self.usage: dict[str, int] = {}
        self.model = ""
        self.message_id = ""
        self.stop_reason = ""
        self.done = False
        self.error = ""
        self.unread = False
        self._tools: dict[str, ToolUse] = {}

    def add_tool(self, tool_id: object, name: object) -> None:
        """Remember a tool call once; more than MAX_TOOL_USES makes the reading unread."""
        identity = text_of(tool_id)
        if not identity or identity in self._tools:
            return
        if len(self._tools) >= MAX_TOOL_USES:
            self.unread = True
            return
        self._tools[identity] = ToolUse(identity, text_of(name))

    def count(self, key: str, value: object) -> None:
        """Set a count; totals in these streams are cumulative, so the last one stands."""
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _MAX_TOKENS:
            self.usage[key] = value

    def reading(self) -> Reading:
        """The facts as a value."""
        tools = tuple(self._tools.values())
        unread = self.unread or not self.usage
        return Reading(
            dict(self.usage), self.model, self.message_id, self.stop_reason, tools, self.done, self.error, unread
        )


class Dialect(Protocol):
    """How one provider writes its answers."""

    skipped: frozenset[bytes]
    ended_by_done: bool

    def event(self, notes: Notes, value: Mapping[str, object]) -> None:
        """Take one streamed object."""

    def whole(self, notes: Notes, value: Mapping[str, object]) -> None:
        """Take a whole answer that was not streamed."""


class SseReader:
    """Splits server-sent events (WHATWG HTML 9.2: CRLF, LF or CR lines, data lines joined) and hands objects on."""

    __slots__ = ("_after_cr", "_data", "_data_size", "_dialect", "_event", "_line", "_notes", "_size")

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._notes = Notes()
        self._line: list[bytes] = []
        self._size = 0
        self._event = b""
        self._data: list[bytes] = []
        self._data_size = 0
        self._after_cr = False

    @property
    def done(self) -> bool:
        """The stream said its end."""
        return self._notes.done

    def feed(self, data: bytes) -> None:
        """Take bytes; complete lines are read at once, an open line is kept (at most MAX_LINE)."""
        if self._after_cr and data:
            self._after_cr = False
            if data.startswith(b"\n"):
                data = data[1:]
        if b"\r" in data:
            self._after_cr = data.endswith(b"\r")
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        lines = data.split(b"\n")
        self._keep(lines[0])
        if len(lines) == 1:
            return
        self._take(b"".join(self._line))
        for line in lines[1:-1]:
            self._take(line)
        self._line, self._size = [], 0
        self._keep(lines[-1])

    def finish(self) -> None:
        """An event without its blank line is not dispatched (the stream was cut); nothing more is read."""
        self._line, self._data, self._size = [], [], 0

    def reading(self) -> Reading:
        """What is known now."""
        return self._notes.reading()

    def _keep(self, part: bytes) -> None:
        if not part:
            return
        self._size += len(part)
        if self._size > MAX_LINE:
            self._notes.unread = True
            self._line = [b":"]
            return
        self._line.append(part)

    def _take(self, line: bytes) -> None:
        if not line:
            self._dispatch()
        elif line.startswith(b"data:"):
            self._add_data(line[5:])
        elif line.startswith(b"event:"):
            self._event = line[6:].strip(b" ")

    def _add_data(self, data: bytes) -> None:
        # Deltas are most of the stream and carry nothing that is metered.
        if self._event in self._dialect.skipped:
            return
        self._data.append(data)
        self._data_size += len(data) + 1
        if self._data_size > MAX_LINE:
            self._notes.unread, self._data = True, []

    def _dispatch(self) -> None:
        data, self._data, self._event, self._data_size = self._data, [], b"", 0
        if not data:
            return
        text = b"\n".join(data).strip()
        if text == b"[DONE]":
            self._notes.done = self._notes.done or self._dialect.ended_by_done
            return
        value = parse_object(text)
        if value is None:
            self._notes.unread = True
            return
        self._dialect.event(self._notes, value)


class JsonReader:
    """Keeps a copy of a whole JSON answer (at most MAX_BODY) and reads it at its end."""

    __slots__ = ("_dialect", "_notes", "_parts", "_size", "done")

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._notes = Notes()
        self._parts: list[bytes] = []
        self._size = 0
        self.done = False

    def feed(self, data: bytes) -> None:
        """Keep the bytes; beyond MAX_BODY nothing is kept and the reading is unread."""
        self._size += len(data)
        if self._size <= MAX_BODY:
            self._parts.append(data)
        else:
            self._parts, self._notes.unread = [], True

    def finish(self) -> None:
        """Read what was kept, once."""
        parts, self._parts = self._parts, []
        value = parse_object(b"".join(parts)) if parts else None
        if value is None:
            self._notes.unread = True
            return
        self.done = self._notes.done = True
        self._dialect.whole(self._notes, value)

    def reading(self) -> Reading:
        """What is known now."""
        return self._notes.reading()


class BlindReader:
    """Reads nothing: for an answer that came compressed or in an unknown form."""

    __slots__ = ("_notes", "done")

    def __init__(self) -> None:
        self._notes = Notes()
        self.done = False

    def feed(self, data: bytes) -> None:
        """Ignore the bytes."""

    def finish(self) -> None:
        """Nothing to read."""

    def reading(self) -> Reading:
        """Nothing known: unread."""
        return self._notes.reading()


class AnthropicDialect:
    """Anthropic Messages: message_start, content_block_start, message_delta, message_stop, error."""

    skipped = frozenset({b"content_block_delta", b"content_block_stop", b"ping"})
    ended_by_done = False

    def event(self, notes: Notes, value: Mapping[str, object]) -> None:
        """Take one streamed object by its `type`."""
        kind = value.get("type")
        if kind == "message_start":
            message = object_of(value.get("message"))
            self._message(notes, message)
        elif kind == "content_block_start":
            self._block(notes, object_of(value.get("content_block")))
        elif kind == "message_delta":
            self._usage(notes, object_of(value.get("usage")))
            notes.stop_reason = text_of(object_of(value.get("delta")).get("stop_reason")) or notes.stop_reason
        elif kind == "message_stop":
            notes.done = True
        elif kind == "error":
            notes.error = text_of(object_of(value.get("error")).get("type")) or "error"

    def whole(self, notes: Notes, value: Mapping[str, object]) -> None:
        """Take a message that was not streamed."""
        if value.get("type") == "error":
            notes.error = text_of(object_of(value.get("error")).get("type")) or "error"
            return
        self._message(notes, value)
        notes.stop_reason = text_of(value.get("stop_reason"))

    def _message(self, notes: Notes, message: Mapping[str, object]) -> None:
        notes.model = text_of(message.get("model"))
        notes.message_id = text_of(message.get("id"))
        self._usage(notes, object_of(message.get("usage")))
        for block in list_of(message.get("content")):
            self._block(notes, object_of(block))

    def _block(self, notes: Notes, block: Mapping[str, object]) -> None:
        if block.get("type") == "tool_use":
            notes.add_tool(block.get("id"), block.get("name"))

    def _usage(self, notes: Notes, usage: Mapping[str, object]) -> None:
        for key in USAGE_KEYS:
            notes.count(key, usage.get(key))


def parse_object(text: bytes) -> Mapping[str, object] | None:
    """A JSON object, or None for anything else; never raises."""
    try:
        value = json.loads(text.decode("utf-8"))
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def object_of(value: object) -> Mapping[str, object]:
    """The value when it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def list_of(value: object) -> list[object]:
    """The value when it is a list, else an empty one."""
    return value if isinstance(value, list) else []


def text_of(value: object) -> str:
    """The value when it is text, cut to MAX_TEXT characters, else nothing."""
    return value[:MAX_TEXT] if isinstance(value, str) else ""
