"""Failures, holds, cut streams and echoes, as tests of the door need them; and the tally to compare spend with."""

from __future__ import annotations

import asyncio

import anthropic
import httpx
import pytest
from app.demo import World
from app.demo.tally import fingerprint

from tests.demo.agent import script

LONG = script({"say": "word " * 2000})
SAY = script({"say": "One two three four five six seven eight nine ten."})


async def ask(
    world: World, task: str = SAY, *, stream: bool = False, headers: dict[str, str] | None = None
) -> httpx.Response:
    body = {
        "model": "claude-sonnet-5",
        "max_tokens": 9,
        "stream": stream,
        "messages": [{"role": "user", "content": task}],
    }
    async with httpx.AsyncClient(trust_env=False, timeout=20) as client:
        sent = {"x-api-key": world.key, **(headers or {})}
        return await client.post(f"{world.anthropic}/v1/messages", json=body, headers=sent)


async def test_n_requests_fail_and_the_next_one_works(own_world: World) -> None:
    own_world.control(fail={"status": 529, "times": 2, "retry_after": "0"})
    answers = [await ask(own_world) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [529, 529, 200]
    assert answers[0].headers["retry-after"] == "0"
    assert answers[0].json()["error"]["type"] == "overloaded_error"


async def test_a_failure_may_be_meant_for_one_conversation(own_world: World) -> None:
    own_world.control(fail={"status": 429, "times": 1, "match": "the other one"})
    assert (await ask(own_world)).status_code == 200
    assert (await ask(own_world, script({"say": "the other one"}))).status_code == 429


async def test_a_stream_is_cut_or_ends_with_an_error_event(own_world: World) -> None:
    own_world.control(fail={"mode": "cut"})
    with pytest.raises(httpx.RemoteProtocolError):
        await ask(own_world, stream=True)
    own_world.control(fail={"mode": "event"})
    broken = await ask(own_world, stream=True)
    assert "overloaded_error" in broken.text
    assert "message_stop" not in broken.text
    assert [line["complete"] for line in own_world.ledger()] == [False, False]


async def test_an_answer_is_held_until_it_is_released(own_world: World) -> None:
    own_world.control(hold={"at": "headers", "times": 1})
    held = asyncio.create_task(ask(own_world))
    await asyncio.to_thread(own_world.wait, open_answers=1)
    assert (await ask(own_world)).status_code == 200
    assert not held.done()
    own_world.control(release=True)
    async with asyncio.timeout(10):
        assert (await held).status_code == 200


async def test_a_stream_is_held_after_its_first_event(own_world: World) -> None:
    own_world.control(hold={"at": "stream"})
    body = {"model": "m", "max_tokens": 9, "stream": True, "messages": [{"role": "user", "content": SAY}]}
    async with (
        asyncio.timeout(10),
        httpx.AsyncClient(trust_env=False, headers={"x-api-key": own_world.key}) as client,
        client.stream("POST", f"{own_world.anthropic}/v1/messages", json=body) as answer,
    ):
        lines = answer.aiter_lines()
        assert await anext(lines) == "event: message_start"
        own_world.control(release=True)
        assert "event: message_stop" in [line async for line in lines]


async def test_headers_are_echoed_as_a_careless_provider_would(own_world: World) -> None:
    own_world.control(echo={"header": "x-api-key", "into": "header"})
    assert (await ask(own_world)).headers["x-demo-echo"] == own_world.key
    own_world.control(echo={"header": "x-api-key", "into": "text"})
    assert own_world.key in (await ask(own_world, stream=True)).text
    own_world.control(echo={"header": "x-api-key", "into": "error"})
    assert own_world.key in (await ask(own_world)).json()["error"]["message"]
    own_world.control(reset=True)
    assert own_world.key not in (await ask(own_world)).text


async def test_the_tally_has_one_line_per_request(own_world: World) -> None:
    answer = await ask(
        own_world,
        headers={"x-claude-code-session-id": "s-1", "x-claude-code-agent-id": "a-1", "authorization": "Bearer x"},
    )
    await ask(own_world, headers={"x-api-key": "sk-wrong"})
    good, bad = own_world.ledger()
    assert good["usage"] == {key: answer.json()["usage"][key] for key in good["usage"]}  # type: ignore[attr-defined]
    assert (good["session"], good["agent"], good["path"], good["status"]) == ("s-1", "a-1", "/v1/messages", 200)
    assert good["key"] == fingerprint(own_world.key)
    assert sorted(good["credentials"]) == ["authorization", "x-api-key"]  # type: ignore[call-overload]
    assert (bad["status"], bad["usage"]) == (401, {})
    assert own_world.key not in (own_world.home / "model-ledger.jsonl").read_text()
    assert (await ask_tally(own_world))["entries"] == [good, bad]


async def test_a_reader_that_leaves_is_in_the_tally(own_world: World) -> None:
    own_world.control(slow={"chunk_ms": 50})
    talk: list[anthropic.types.MessageParam] = [{"role": "user", "content": LONG}]
    async with (
        anthropic.AsyncAnthropic(api_key=own_world.key, base_url=own_world.anthropic, max_retries=0) as client,
        client.messages.stream(model="m", max_tokens=9, messages=talk) as stream,
    ):
        await anext(aiter(stream))
    await asyncio.to_thread(own_world.wait, answered=1)
    assert own_world.ledger()[0]["complete"] is False


async def test_many_conversations_play_at_once(world: World) -> None:
    async def one(name: str) -> str:
        task = script({"tool": "Bash", "input": {"command": f"echo {name}"}}, {"say": f"{name} says {{{{result}}}}"})
        async with anthropic.AsyncAnthropic(api_key=world.key, base_url=world.anthropic, max_retries=0) as client:
            messages: list[anthropic.types.MessageParam] = [{"role": "user", "content": task}]
            first = await client.messages.create(model="m", max_tokens=9, messages=messages)
            call = first.content[0]
            assert isinstance(call, anthropic.types.ToolUseBlock)
            assert call.input == {"command": f"echo {name}"}
            messages.append({"role": "assistant", "content": first.content})
            messages.append(
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": name}]}
            )
            last = (await client.messages.create(model="m", max_tokens=9, messages=messages)).content[0]
            return last.text if isinstance(last, anthropic.types.TextBlock) else ""

    names = [f"agent-{n}" for n in range(20)]
    async with asyncio.timeout(30):
        assert await asyncio.gather(*map(one, names)) == [f"{name} says {name}" for name in names]


async def ask_tally(world: World) -> dict[str, object]:
    async with httpx.AsyncClient(trust_env=False) as client:
        found: dict[str, object] = (
            await client.get(f"{world.anthropic}/__ledger", headers={"x-api-key": world.key})
        ).json()
        return found
