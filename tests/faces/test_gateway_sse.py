"""Events of an MCP server: the same however they are split, and written as they were read."""

from __future__ import annotations

import time
from itertools import pairwise

import pytest
from app.domain.errors import TooLarge
from app.gateway.sse import MAX_EVENT, SseEvent, SseParser
from hypothesis import given
from hypothesis import strategies as st

STREAM = (
    '\ufeff: hi\n\nid: 7\nevent: message\ndata: {"a":\ndata:  1}\n\nretry: 100\rdata:x\r\rdata: \u00e4\r\n\r\ndata\n\n'
    "event: lost\n\ndata: half"
).encode()
EVENTS = [
    SseEvent(),
    SseEvent('{"a":\n 1}', "message", "7"),
    SseEvent("x", retry="100"),
    SseEvent("ä"),
    SseEvent(""),
]


def read(*chunks: bytes) -> list[SseEvent]:
    parser = SseParser()
    return [event for chunk in chunks for event in parser.feed(chunk)]


@given(st.lists(st.integers(0, len(STREAM)), max_size=20))
def test_events_do_not_depend_on_the_split(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(STREAM)]
    assert read(*[STREAM[a:b] for a, b in pairwise(edges)]) == EVENTS


def test_what_is_written_is_what_was_read() -> None:
    assert read(*[event.encode() for event in EVENTS]) == EVENTS
    assert read(EVENTS[1].encode("other")) == [SseEvent("other", "message", "7")]


def test_small_pieces_of_a_long_line_are_read_in_linear_time() -> None:
    parser, begun = SseParser(), time.process_time()
    for _ in range(300_000):
        assert list(parser.feed(b"x" * 10)) == []
    assert time.process_time() - begun < 10


def test_an_event_without_an_end_is_cut_off() -> None:
    for line in (b"x" * 1_000_000, b"data: " + b"x" * 1_000_000 + b"\n"):
        parser = SseParser()
        with pytest.raises(TooLarge):
            for _ in range(MAX_EVENT // 1_000_000 + 2):
                list(parser.feed(line))
