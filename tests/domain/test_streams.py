"""Readers of model answers: any split gives the same reading, garbage gives an unread one, nothing raises."""

from __future__ import annotations

import json

import pytest
from app.domain.streams import AnthropicDialect, BlindReader, Dialect, JsonReader, Reading, SseReader, ToolUse
from app.domain.streams_openai import ChatDialect, ResponsesDialect
from hypothesis import given
from hypothesis import strategies as st

ANTHROPIC = b"".join(
    [
        b'event: message_start\ndata: {"type":"message_start","message":{"id":"msg_1","model":"claude-x","content":[],'
        b'"usage":{"input_tokens":10,'
        b'"cache_creation_input_tokens":3,"cache_read_input_tokens":4,"output_tokens":1}}}\n\n',
        b'event: content_block_start\ndata: {"type":"content_block_start","content_block":{"type":"text"}}\n\n',
        b"event: ping\ndata: {}\n\n",
        'event: content_block_delta\ndata: {"delta":{"text":"ünï\\u2028"}}\n\n'.encode(),
        b'event: content_block_start\r\ndata: {"type":"content_block_start",\r\ndata: "content_block":'
        b'{"type":"tool_use","id":"toolu_1","name":"Bash"}}\r\n\r\n',
        b'event: content_block_start\ndata: {"type":"content_block_start","content_block":'
        b'{"type":"server_tool_use","id":"srv_1","name":"web_search"}}\n\n',
        b": a comment\n\n",
        b'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"tool_use"},'
        b'"usage":{"output_tokens":77}}\n\n',
        b'event: message_stop\ndata: {"type":"message_stop"}\n\n',
    ]
)
CHAT = (
    b"".join(
        b"data: " + json.dumps(value).encode() + b"\n\n"
        for value in (
            {"id": "c1", "model": "gpt-x", "choices": [{"delta": {"role": "assistant"}}]},
            {
                "id": "c1",
                "choices": [{"delta": {"tool_calls": [{"index": 0, "id": "call_1", "function": {"name": "f"}}]}}],
            },
            {"id": "c1", "choices": [{"delta": {"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]}}]},
            {"id": "c1", "choices": [{"delta": {}, "finish_reason": "tool_calls"}]},
            {"id": "c1", "choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 5}},
        )
    )
    + b"data: [DONE]\n\n"
)
RESPONSES = b"".join(
    f"event: {value['type']}\ndata: {json.dumps(value)}\n\n".encode()
    for value in (
        {"type": "response.created", "response": {"id": "r1", "model": "gpt-x", "status": "in_progress"}},
        {"type": "response.output_text.delta", "delta": "hi"},
        {"type": "response.output_item.added", "item": {"type": "function_call", "call_id": "call_1", "name": "f"}},
        {
            "type": "response.completed",
            "response": {
                "id": "r1",
                "status": "completed",
                "output": [{"type": "function_call", "call_id": "call_1", "name": "f"}],
                "usage": {"input_tokens": 9, "output_tokens": 5, "input_tokens_details": {"cached_tokens": 2}},
            },
        },
    )
)


SHAPES = (
    *("type", "message", "usage", "content", "choices", "delta", "tool_calls", "function", "output", "response"),
    *("item", "content_block", "error", "input_tokens", "prompt_tokens"),
)


def read(dialect: Dialect, data: bytes, sizes: list[int]) -> Reading:
    reader = SseReader(dialect)
    at = 0
    for size in sizes:
        reader.feed(data[at : at + size])
        at += size
    reader.feed(data[at:])
    reader.finish()
    return reader.reading()


@given(st.lists(st.integers(0, 60), max_size=60))
def test_an_anthropic_stream_reads_the_same_in_any_split(sizes: list[int]) -> None:
    assert read(AnthropicDialect(), ANTHROPIC, sizes) == Reading(
        usage={
            "input_tokens": 10,
            "output_tokens": 77,
            "cache_creation_input_tokens": 3,
            "cache_read_input_tokens": 4,
        },
        model="claude-x",
        message_id="msg_1",
        stop_reason="tool_use",
        tool_uses=(ToolUse("toolu_1", "Bash"),),
        done=True,
        error="",
        unread=False,
    )


@given(st.lists(st.integers(0, 60), max_size=60))
def test_a_chat_stream_reads_the_same_in_any_split(sizes: list[int]) -> None:
    reading = read(ChatDialect(), CHAT, sizes)
    assert reading.usage == {"input_tokens": 9, "output_tokens": 5, "cache_read_input_tokens": 0}
    assert (reading.model, reading.stop_reason, reading.done) == ("gpt-x", "tool_calls", True)
    assert reading.tool_uses == (ToolUse("call_1", "f"),)


@given(st.lists(st.integers(0, 60), max_size=60))
def test_a_responses_stream_reads_the_same_in_any_split(sizes: list[int]) -> None:
    reading = read(ResponsesDialect(), RESPONSES, sizes)
    assert reading.usage == {"input_tokens": 7, "output_tokens": 5, "cache_read_input_tokens": 2}
    assert (reading.model, reading.stop_reason, reading.done) == ("gpt-x", "completed", True)
    assert reading.tool_uses == (ToolUse("call_1", "f"),)


@pytest.mark.parametrize("dialect", [AnthropicDialect(), ChatDialect(), ResponsesDialect()])
@given(data=st.data())
def test_no_bytes_raise(dialect: Dialect, data: st.DataObject) -> None:
    pieces = st.sampled_from(
        [
            b"data: ",
            b"event: ",
            b"\n",
            b"\r",
            b"{",
            b"}",
            b"[",
            b'"usage":',
            b"1",
            b":",
            b"null",
            b'"type":"message_start"',
        ]
    )
    fragments = data.draw(st.lists(st.one_of(pieces, st.binary(max_size=8)), max_size=60))
    for reader in (SseReader(dialect), JsonReader(dialect)):
        for fragment in fragments:
            reader.feed(fragment)
        reader.finish()
        assert isinstance(reader.reading(), Reading)


@pytest.mark.parametrize("dialect", [AnthropicDialect(), ChatDialect(), ResponsesDialect()])
@given(
    value=st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=4)),
        lambda inner: st.one_of(
            st.lists(inner, max_size=3),
            st.dictionaries(
                st.sampled_from(SHAPES),
                inner,
                max_size=4,
            ),
        ),
        max_leaves=20,
    )
)
def test_no_shape_of_json_raises(dialect: Dialect, value: object) -> None:
    text = json.dumps(value).encode()
    stream, whole = SseReader(dialect), JsonReader(dialect)
    stream.feed(b"data: " + text + b"\n\n")
    whole.feed(text)
    stream.finish()
    whole.finish()
    assert all(count >= 0 for reader in (stream, whole) for count in reader.reading().usage.values())


def test_a_cut_stream_keeps_what_was_read_and_is_not_done() -> None:
    cut = ANTHROPIC[: ANTHROPIC.index(b"event: message_delta") + 30]
    reading = read(AnthropicDialect(), cut, [])
    assert reading.usage["output_tokens"] == 1
    assert (reading.done, reading.stop_reason) == (False, "")


def test_an_error_in_the_stream_is_told() -> None:
    data = b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error"}}\n\n'
    assert read(AnthropicDialect(), data, []).error == "overloaded_error"


def test_without_usage_an_answer_is_unread() -> None:
    assert read(ChatDialect(), b'data: {"choices": []}\n\ndata: [DONE]\n\n', []).unread
    assert BlindReader().reading().unread


def test_a_whole_message_is_read_at_its_end() -> None:
    reader = JsonReader(AnthropicDialect())
    for byte in b'{"id":"m","model":"x","stop_reason":"end_turn","content":[{"type":"tool_use","id":"t","name":"n"}],':
        reader.feed(bytes([byte]))
    reader.feed(b'"usage":{"input_tokens":1,"output_tokens":2}}')
    assert not reader.done
    reader.finish()
    reading = reader.reading()
    assert (reading.usage, reading.done) == ({"input_tokens": 1, "output_tokens": 2}, True)
    assert reading.tool_uses == (ToolUse("t", "n"),)


def test_a_line_without_end_is_bounded() -> None:
    reader = SseReader(AnthropicDialect())
    reader.feed(ANTHROPIC.split(b"event: ping")[0])
    for _ in range(40):
        reader.feed(b"x" * (1024 * 1024))
    reader.feed(b"\n\n" + b'event: message_stop\ndata: {"type":"message_stop"}\n\n')
    assert reader.reading().unread
    assert reader.done
