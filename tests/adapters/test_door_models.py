"""The model proxy: routes, credentials, reservation, streaming, metering, and the end told exactly once."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest

from tests.adapters.door_world import KEY, RUN, WAIT, Seen, World, body_of, reply, status_of, world

BODY = json.dumps(
    {
        "model": "claude-x",
        "max_tokens": 100,
        "stream": True,
        "unknown": {"kept": [1, 2.5]},
        "messages": [
            {"role": "system", "content": "odd but passed"},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "is_error": True}]},
        ],
    }
).encode()


def event(kind: str, **facts: object) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **facts})}\n\n".encode()


START = event(
    "message_start",
    message={"id": "msg_1", "model": "claude-x-1", "usage": {"input_tokens": 7, "output_tokens": 1}},
)
TOOL = event("content_block_start", index=0, content_block={"type": "tool_use", "id": "toolu_2", "name": "Bash"})
DELTA = event("content_block_delta", index=0, delta={"type": "text_delta", "text": "hello"})
STOP = event("message_delta", delta={"stop_reason": "tool_use"}, usage={"output_tokens": 42}) + event("message_stop")
SSE = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\nrequest-id: req_9\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


async def stream(_: Seen, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(SSE + b"alt-svc: h3\r\nset-cookie: a=b\r\n\r\n")
    for part in (START, TOOL, DELTA, STOP):
        writer.write(chunk(part))
        await writer.drain()
    writer.write(b"0\r\n\r\n")


@pytest.fixture
async def door(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    monkeypatch.chdir(tmp_path)
    async with world(tmp_path) as made:
        made.provider.respond = stream
        yield made


async def the_end(door: World) -> dict[str, object]:
    ends = await door.gateway.until(1, "/door/model/end")
    assert len(ends) == 1
    return ends[0].json()


async def test_a_streamed_call_is_reserved_passed_on_metered_and_settled(door: World) -> None:
    answer = await door.post("/anthropic/v1/messages?beta=true", BODY, "x-claude-code-agent-id: sub-1")

    assert status_of(answer) == 200
    assert body_of(answer) == START + TOOL + DELTA + STOP
    asked = door.gateway.of("/door/model")[0]
    assert asked.get("x-helm-run") == RUN
    question = asked.json()
    assert question.pop("body_sha256")
    assert question == {
        "provider": "anthropic",
        "method": "POST",
        "path": "/v1/messages",
        "model": "claude-x",
        "agent": "sub-1",
        "stream": True,
        "max_tokens": 100,
        "body_bytes": len(BODY),
        "tool_results": [{"id": "toolu_1", "is_error": True}],
    }
    assert await the_end(door) == {
        "ticket": "t-1",
        "status": "executed",
        "http_status": 200,
        "request_id": "req_9",
        "model": "claude-x-1",
        "usage": {"input_tokens": 7, "output_tokens": 42},
        "tool_uses": [{"id": "toolu_2", "name": "Bash"}],
        "stop_reason": "tool_use",
        "error": "",
    }


async def test_the_provider_gets_the_untouched_body_and_helms_key_only(door: World) -> None:
    answer = await door.post(
        "/anthropic/v1/messages?beta=true",
        BODY,
        "x-api-key: sk-attacker",
        "authorization: Bearer sk-attacker",
        "cookie: a=b",
        "proxy-authorization: Basic x",
        "x-forwarded-for: 1.2.3.4",
        "forwarded: for=1.2.3.4",
        "x-helm-run: other",
        "accept-encoding: gzip",
        "x-nominated: hop",
        "connection: x-nominated",
        "anthropic-version: 2023-06-01",
        "anthropic-beta: one,two",
    )

    seen = door.provider.seen[0]
    assert (seen.target, seen.body) == ("/v1/messages?beta=true", BODY)
    assert sorted(seen.headers) == sorted(
        [
            ("host", f"127.0.0.1:{door.provider_port}"),
            ("x-api-key", KEY),
            ("anthropic-version", "2023-06-01"),
            ("anthropic-beta", "one,two"),
            ("accept-encoding", "identity"),
            ("content-length", str(len(BODY))),
        ]
    )
    assert b"alt-svc" not in answer.lower()
    assert b"set-cookie" not in answer.lower()
    assert KEY.encode() not in answer


@pytest.mark.parametrize(
    ("verdict", "status"),
    [
        ((200, {"verdict": "DENY", "status": 403, "reason_code": "BUDGET_SPENT", "message": "spent"}), 403),
        ((200, {"verdict": "DENY"}), 403),
        ((200, {"verdict": "ALLOW"}), 403),
        ((200, {}), 403),
        ((500, {"verdict": "ALLOW", "ticket": "t"}), 529),
        ((404, {"verdict": "ALLOW", "ticket": "t"}), 529),
    ],
)
async def test_without_an_allow_nothing_is_sent(
    door: World, verdict: tuple[int, Mapping[str, object]], status: int
) -> None:
    door.decide["/door/model"] = lambda _: verdict

    answer = await door.post("/anthropic/v1/messages", BODY)

    assert status_of(answer) == status
    error = json.loads(body_of(answer))
    assert error["type"] == "error"
    assert door.provider.seen == []
    assert door.gateway.of("/door/model/end") == []


async def test_a_gateway_that_is_gone_is_an_overload_that_asks_to_retry(door: World) -> None:
    door.gateway.stop()
    os.unlink("gateway.sock")

    answer = await door.post("/anthropic/v1/messages", BODY)

    assert status_of(answer) == 529
    assert b"retry-after: 2" in answer
    assert json.loads(body_of(answer))["error"]["type"] == "overloaded_error"
    assert door.provider.seen == []


@pytest.mark.parametrize(
    "target",
    [
        "/anthropic/v1/files",
        "/anthropic/v1/messages/batches",
        "/anthropic/v1/organizations/usage",
        "/anthropic/v1/messages/",
        "/anthropic//v1/messages",
        "/anthropic/v1/../v1/messages",
        "/anthropic/v1/./messages",
        "/anthropic/v1/%6dessages",
        "/anthropic/v1/messages%2f..",
        "/anthropic/v1/messages;x=1",
        "/anthropic/v1/messages?beta=true;x",
        "/anthropic/v1/messages?url=http://evil",
        "/anthropic/v1/messages\\..\\files",
        "/anthropic/v1/chat/completions",
        "/anthropic",
        "/openai/v1/messages",
        "/openai/v1/files",
        "/openai/v1/fine_tuning/jobs",
        "/v1/messages",
        "/",
    ],
)
async def test_other_paths_are_not_found(door: World, target: str) -> None:
    answer = await door.post(target, BODY)

    assert status_of(answer) == 404
    assert door.provider.seen == []
    assert door.gateway.seen == []


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "GET"])
async def test_other_methods_do_not_reach_a_route(door: World, method: str) -> None:
    answer = await door.raw(f"{method} /anthropic/v1/messages HTTP/1.1\r\nhost: x\r\n\r\n".encode())

    assert status_of(answer) == 404
    assert door.provider.seen == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{",
        b'{"model": "m", "model": "n", "max_tokens": 1}',
        b'{"model": "m", "messages": [{"role": "user", "role": "user"}]}',
        b'{"model": 5}',
        b'{"model": "m", "max_tokens": -1}',
        b'{"model": "m", "max_tokens": NaN}',
        b'{"model": "m", "max_tokens": "9"}',
        b'{"model": "m", "stream": "yes"}',
        '{"model": "m"}'.encode("utf-16"),
        b'{"model": "\xff"}',
        b'{"model": "m", "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
)
async def test_a_body_that_cannot_be_read_one_way_is_refused(door: World, body: bytes) -> None:
    answer = await door.post("/anthropic/v1/messages", body)

    assert status_of(answer) == 400
    assert json.loads(body_of(answer))["error"]["type"] == "invalid_request_error"
    assert door.provider.seen == []
    assert door.gateway.seen == []


async def test_counting_tokens_and_listing_models_ask_nobody(door: World) -> None:
    async def count(_: Seen, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(reply(200, b'{"input_tokens": 3}'))

    door.provider.respond = count

    assert body_of(await door.post("/anthropic/v1/messages/count_tokens", BODY)) == b'{"input_tokens": 3}'
    assert status_of(await door.get("/anthropic/v1/models/claude-x")) == 200
    assert status_of(await door.get("/openai/v1/models")) == 200
    assert door.gateway.seen == []
    assert [seen.get("authorization") for seen in door.provider.seen] == [None, None, f"Bearer {KEY}"]


async def test_openai_calls_are_metered_in_the_same_terms(door: World) -> None:
    async def complete(_: Seen, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answer = {
            "id": "chatcmpl-1",
            "model": "gpt-x",
            "choices": [
                {
                    "finish_reason": "tool_calls",
                    "message": {"tool_calls": [{"id": "call_1", "function": {"name": "f", "arguments": "{}"}}]},
                }
            ],
            "usage": {"prompt_tokens": 10, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 4}},
        }
        writer.write(reply(200, json.dumps(answer).encode(), "content-type: application/json"))

    door.provider.respond = complete
    body = {
        "model": "gpt-x",
        "max_completion_tokens": 50,
        "n": 2,
        "messages": [{"role": "tool", "tool_call_id": "call_0", "content": "x"}],
    }

    await door.post("/openai/v1/chat/completions", json.dumps(body).encode())

    question = door.gateway.of("/door/model")[0].json()
    assert (question["max_tokens"], question["tool_results"]) == (100, [{"id": "call_0", "is_error": False}])
    end = await the_end(door)
    assert end["usage"] == {"input_tokens": 6, "cache_read_input_tokens": 4, "output_tokens": 5}
    assert end["tool_uses"] == [{"id": "call_1", "name": "f"}]
    assert (end["status"], end["stop_reason"], end["request_id"]) == ("executed", "tool_calls", "chatcmpl-1")


async def test_a_client_that_leaves_cancels_the_provider_and_settles_what_is_known(door: World) -> None:
    async def endless(_: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(SSE + b"\r\n" + chunk(START))
        await writer.drain()
        await reader.read(1)
        raise ConnectionError

    door.provider.respond = endless
    reader, writer = await door.connect()
    writer.write(
        f"POST /anthropic/v1/messages HTTP/1.1\r\nhost: x\r\ncontent-length: {len(BODY)}\r\n\r\n".encode() + BODY
    )
    async with asyncio.timeout(WAIT):
        await reader.readuntil(b"message_start")
    writer.close()

    end = await the_end(door)
    assert (end["status"], end["error"]) == ("cancelled", "client-gone")
    assert end["usage"] == {"input_tokens": 7, "output_tokens": 1}
    await door.provider.until_closed(1)


async def test_a_client_that_leaves_while_the_server_decides_leaves_nothing_reserved(door: World) -> None:
    decided = asyncio.Event()

    async def later(request: Seen, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await decided.wait()
        writer.write(reply(200, json.dumps({"verdict": "ALLOW", "ticket": "late"}).encode()))

    del door.decide["/door/model"]
    door.forward = later
    _, writer = await door.connect()
    writer.write(
        f"POST /anthropic/v1/messages HTTP/1.1\r\nhost: x\r\ncontent-length: {len(BODY)}\r\n\r\n".encode() + BODY
    )
    await door.gateway.until(1, "/door/model")
    writer.close()
    await writer.wait_closed()
    decided.set()

    end = await the_end(door)
    assert (end["ticket"], end["status"]) == ("late", "cancelled")
    assert door.provider.seen == []


async def test_a_cut_stream_is_a_failure_and_the_client_sees_a_cut(door: World) -> None:
    async def cut(_: Seen, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(SSE + b"\r\n" + chunk(START))
        await writer.drain()
        raise ConnectionError

    door.provider.respond = cut
    answer = await door.post("/anthropic/v1/messages", BODY)

    assert not answer.endswith(b"0\r\n\r\n")
    end = await the_end(door)
    assert (end["status"], end["error"]) == ("failed", "stream-cut")
    assert end["usage"] == {"input_tokens": 7, "output_tokens": 1}


async def test_an_end_that_nobody_took_is_told_when_the_server_is_back(door: World) -> None:
    async def stop_midway(_: Seen, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        door.gateway.stop()
        os.unlink("gateway.sock")
        door.house.gateway.pool.close()
        await stream(_, __, writer)

    door.provider.respond = stop_midway
    answer = await door.post("/anthropic/v1/messages", BODY)
    assert body_of(answer).endswith(STOP)
    assert door.gateway.of("/door/model/end") == []
    await door.gateway.start_unix("gateway.sock")

    end = await the_end(door)
    assert (end["status"], end["ticket"]) == ("executed", "t-1")


async def test_an_error_of_the_provider_passes_and_is_a_failure(door: World) -> None:
    async def overloaded(_: Seen, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(reply(529, b'{"type":"error"}', "retry-after: 3"))

    door.provider.respond = overloaded
    answer = await door.post("/anthropic/v1/messages", BODY)

    assert status_of(answer) == 529
    assert b"retry-after: 3" in answer
    end = await the_end(door)
    assert (end["status"], end["http_status"], end["error"]) == ("failed", 529, "upstream-status")


async def test_a_provider_that_cannot_be_reached_is_an_overload(door: World) -> None:
    door.provider.stop()
    answer = await door.post("/anthropic/v1/messages", BODY)

    assert status_of(answer) == 529
    end = await the_end(door)
    assert (end["status"], end["error"]) == ("failed", "upstream-unreachable")


async def test_a_redirect_is_passed_back_and_not_followed(door: World) -> None:
    async def elsewhere(_: Seen, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(reply(302, b"", "location: http://evil.test/v1/messages"))

    door.provider.respond = elsewhere
    answer = await door.post("/anthropic/v1/messages", BODY)

    assert status_of(answer) == 302
    assert len(door.provider.seen) == 1
    assert KEY.encode() not in answer


@pytest.mark.parametrize("split", [0, 1, 5, len(KEY) - 1])
async def test_a_key_that_comes_back_is_starred_out(door: World, split: int) -> None:
    async def echo(_: Seen, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head, tail = KEY[:split].encode(), KEY[split:].encode()
        writer.write(SSE + f"x-echo: {KEY}\r\n".encode() + b"\r\n" + chunk(START + b": " + head))
        await writer.drain()
        writer.write(chunk(tail + b"\n\n" + STOP) + b"0\r\n\r\n")

    door.provider.respond = echo
    answer = await door.post("/anthropic/v1/messages", BODY)

    assert KEY.encode() not in answer
    assert KEY.encode() not in body_of(answer)
    assert body_of(answer) == START + b": " + b"*" * len(KEY) + b"\n\n" + STOP
    end = await the_end(door)
    assert (end["status"], end["error"]) == ("executed", "key-echoed")


async def test_an_answer_that_comes_compressed_passes_unread(door: World) -> None:
    async def zipped(_: Seen, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(reply(200, b"\x1f\x8bxyz", "content-encoding: gzip", "content-type: text/event-stream"))

    door.provider.respond = zipped
    answer = await door.post("/anthropic/v1/messages", BODY)

    assert body_of(answer) == b"\x1f\x8bxyz"
    end = await the_end(door)
    assert (end["status"], end["usage"], end["error"]) == ("executed", {}, "usage-unread")


async def test_the_next_question_waits_until_the_last_end_is_taken(door: World) -> None:
    reader, writer = await door.connect()
    request = f"POST /anthropic/v1/messages HTTP/1.1\r\nhost: x\r\ncontent-length: {len(BODY)}\r\n\r\n".encode() + BODY
    for _ in range(5):
        writer.write(request)
        async with asyncio.timeout(WAIT):
            await reader.readuntil(b"message_stop")
            await reader.readuntil(b"0\r\n\r\n")
    writer.close()
    await door.gateway.until(5, "/door/model/end")

    assert [seen.target for seen in door.gateway.seen] == ["/door/model", "/door/model/end"] * 5
    assert door.provider.connections == 1


async def test_no_question_overtakes_an_end_that_is_being_told(door: World) -> None:
    door.hold_ends = asyncio.Event()
    door.forward = stream
    reader, writer = await door.connect()
    request = f"POST /anthropic/v1/messages HTTP/1.1\r\nhost: x\r\ncontent-length: {len(BODY)}\r\n\r\n".encode() + BODY
    writer.write(request)
    async with asyncio.timeout(WAIT):
        await reader.readuntil(b"0\r\n\r\n")
    await door.gateway.until(1, "/door/model/end")
    writer.write(request)
    await writer.drain()
    # Another request goes through the door and back: the question would have been asked by now.
    assert status_of(await door.post("/gate", b"{}")) == 200
    assert len(door.gateway.of("/door/model")) == 1
    door.hold_ends.set()
    await door.gateway.until(2, "/door/model")
    writer.close()


async def test_a_run_without_a_key_is_told_the_remedy(door: World) -> None:
    os.unlink("keys/anthropic")
    await door.control.obey({"op": "keys"})

    answer = await door.post("/anthropic/v1/messages", BODY)

    assert status_of(answer) == 403
    assert b"helm key set anthropic" in answer
    assert door.gateway.seen == []


async def test_an_oversized_body_is_refused_before_it_is_read(door: World) -> None:
    answer = await door.raw(b"POST /anthropic/v1/messages HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999\r\n\r\n")

    assert status_of(answer) == 413
    assert json.loads(body_of(answer))["error"]["type"] == "request_too_large"
