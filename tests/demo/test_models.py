"""The scripted models speak the real protocols: the official SDKs of both providers understand every answer."""

from __future__ import annotations

import json
from collections.abc import Iterator

import anthropic
import httpx
import openai
import pytest
from app.demo import World
from openai.types.chat import ChatCompletionMessageParam

from tests.demo.agent import script

TASK = script(
    {"say": "I look around first, as one should."},
    {"tool": "Bash", "input": {"command": "ls -la"}},
    {"say": "Done: {{result}}"},
)
BASH: anthropic.types.ToolParam = {"name": "Bash", "input_schema": {"type": "object"}}


@pytest.fixture
def claude(world: World) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(api_key=world.key, base_url=world.anthropic, max_retries=0) as client:
        yield client


@pytest.fixture
def gpt(world: World) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(api_key=world.key, base_url=f"{world.openai}/v1", max_retries=0) as client:
        yield client


def test_anthropic_message(claude: anthropic.Anthropic) -> None:
    answer = claude.messages.create(
        model="claude-sonnet-5", max_tokens=500, tools=[BASH], messages=[{"role": "user", "content": TASK}]
    )
    assert [block.type for block in answer.content] == ["text", "tool_use"]
    assert (answer.stop_reason, answer.model, answer.role) == ("tool_use", "claude-sonnet-5", "assistant")
    call = answer.content[1]
    assert isinstance(call, anthropic.types.ToolUseBlock)
    assert (call.name, call.input) == ("Bash", {"command": "ls -la"})
    assert answer.usage.input_tokens > 0
    assert answer.usage.cache_creation_input_tokens is not None
    follow = claude.messages.create(
        model="claude-sonnet-5",
        max_tokens=500,
        messages=[
            {"role": "user", "content": TASK},
            {"role": "assistant", "content": answer.content},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "a.txt"}]},
        ],
    )
    text = follow.content[0]
    assert isinstance(text, anthropic.types.TextBlock)
    assert (text.text, follow.stop_reason) == ("Done: a.txt", "end_turn")
    assert (follow.usage.cache_read_input_tokens or 0) > 0


def test_anthropic_stream(claude: anthropic.Anthropic) -> None:
    with claude.messages.stream(
        model="claude-sonnet-5", max_tokens=500, tools=[BASH], messages=[{"role": "user", "content": TASK}]
    ) as stream:
        texts = list(stream.text_stream)
        final = stream.get_final_message()
    assert len(texts) > 1
    assert "".join(texts) == "I look around first, as one should."
    assert [block.type for block in final.content] == ["text", "tool_use"]
    assert final.usage.output_tokens > 1


def test_stream_and_message_report_the_same_usage(claude: anthropic.Anthropic) -> None:
    whole = claude.messages.create(model="m", max_tokens=5, messages=[{"role": "user", "content": TASK}])
    with claude.messages.stream(model="m", max_tokens=5, messages=[{"role": "user", "content": TASK}]) as stream:
        streamed = stream.get_final_message()
    assert abs(whole.usage.input_tokens - streamed.usage.input_tokens) <= 1
    assert whole.usage.output_tokens == streamed.usage.output_tokens


def test_stated_usage_wins(claude: anthropic.Anthropic) -> None:
    task = script({"say": "x", "usage": {"input_tokens": 1000, "output_tokens": 77, "cache_read_input_tokens": 9}})
    usage = claude.messages.create(model="m", max_tokens=5, messages=[{"role": "user", "content": task}]).usage
    assert (usage.input_tokens, usage.output_tokens, usage.cache_read_input_tokens) == (1000, 77, 9)


def test_count_tokens_and_models(claude: anthropic.Anthropic) -> None:
    counted = claude.messages.count_tokens(model="claude-sonnet-5", messages=[{"role": "user", "content": "x" * 4000}])
    assert 900 < counted.input_tokens < 1200
    assert "claude-sonnet-5" in [model.id for model in claude.models.list()]


def test_a_bearer_key_is_a_key(world: World) -> None:
    with anthropic.Anthropic(auth_token=world.key, api_key=None, base_url=world.anthropic, max_retries=0) as client:
        assert client.messages.create(model="m", max_tokens=5, messages=[{"role": "user", "content": "hi"}]).content


def test_errors_are_the_sdks_own(world: World) -> None:
    with anthropic.Anthropic(api_key="sk-wrong", base_url=world.anthropic, max_retries=0) as client:
        with pytest.raises(anthropic.AuthenticationError, match="invalid x-api-key"):
            client.messages.create(model="m", max_tokens=5, messages=[{"role": "user", "content": "hi"}])
        with pytest.raises(anthropic.AuthenticationError):
            client.models.list()
    with (
        openai.OpenAI(api_key="sk-wrong", base_url=f"{world.openai}/v1", max_retries=0) as other,
        pytest.raises(openai.AuthenticationError),
    ):
        other.chat.completions.create(model="m", messages=[{"role": "user", "content": "hi"}])


def test_a_step_may_be_an_error(claude: anthropic.Anthropic) -> None:
    task = script({"error": {"status": 403, "message": "the budget is used up"}})
    with pytest.raises(anthropic.PermissionDeniedError, match="the budget is used up"):
        claude.messages.create(model="m", max_tokens=5, messages=[{"role": "user", "content": task}])


@pytest.mark.parametrize("port", ["anthropic", "openai"])
def test_unknown_paths_and_bad_bodies_have_the_shape_of_an_error(world: World, port: str) -> None:
    base = {"anthropic": world.anthropic, "openai": world.openai}[port]
    path = {"anthropic": "/v1/messages", "openai": "/v1/chat/completions"}[port]
    with httpx.Client(base_url=base, headers={"x-api-key": world.key}, trust_env=False) as client:
        answers = [
            (client.get("/v1/files"), 404),
            (client.get(path), 405),
            (client.post(path, content=b"{"), 400),
            (client.post(path, json=[]), 400),
            (client.post(path, json={"model": "m", "messages": []}), 400),
            (client.post(path, json={"messages": [{}]}), 400),
            (client.post(path, content=b"[" * 100_000), 400),
            (client.post("/__control", json={"explode": True}), 400),
        ]
    for answer, status in answers:
        assert answer.status_code == status
        error = answer.json()["error"]
        assert error["type"] and error["message"]
        assert "Traceback" not in answer.text


def test_openai_completion(gpt: openai.OpenAI) -> None:
    messages: list[ChatCompletionMessageParam] = [{"role": "user", "content": TASK}]
    first = gpt.chat.completions.create(model="gpt-5", messages=messages)
    assert first.choices[0].finish_reason == "tool_calls"
    calls = first.choices[0].message.tool_calls or []
    assert isinstance(calls[0], openai.types.chat.ChatCompletionMessageFunctionToolCall)
    assert (calls[0].function.name, json.loads(calls[0].function.arguments)) == ("Bash", {"command": "ls -la"})
    assert first.usage is not None
    assert first.usage.total_tokens == first.usage.prompt_tokens + first.usage.completion_tokens
    function = {"name": "Bash", "arguments": calls[0].function.arguments}
    messages.append(
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": calls[0].id, "type": "function", "function": {"name": function["name"], "arguments": "{}"}}
            ],
        }
    )
    messages.append({"role": "tool", "tool_call_id": calls[0].id, "content": "a.txt"})
    last = gpt.chat.completions.create(model="gpt-5", messages=messages)
    assert (last.choices[0].message.content, last.choices[0].finish_reason) == ("Done: a.txt", "stop")


def test_openai_stream(gpt: openai.OpenAI) -> None:
    texts, arguments, finishes, usage = [], "", [], None
    stream = gpt.chat.completions.create(
        model="gpt-5", messages=[{"role": "user", "content": TASK}], stream=True, stream_options={"include_usage": True}
    )
    for chunk in stream:
        usage = chunk.usage or usage
        for choice in chunk.choices:
            texts += [choice.delta.content] if choice.delta.content else []
            for call in choice.delta.tool_calls or []:
                arguments += (call.function.arguments or "") if call.function else ""
            finishes += [choice.finish_reason] if choice.finish_reason else []
    assert len(texts) > 1
    assert ("".join(texts), json.loads(arguments)) == ("I look around first, as one should.", {"command": "ls -la"})
    assert finishes == ["tool_calls"]
    assert usage is not None
    assert usage.completion_tokens > 0


def test_openai_models(gpt: openai.OpenAI) -> None:
    assert [model.object for model in gpt.models.list()] == ["model", "model"]


def test_a_side_question_with_a_schema_gets_an_object(world: World) -> None:
    schema = {"type": "object", "properties": {"title": {"type": "string"}}}
    body = {
        "model": "m",
        "max_tokens": 9,
        "tools": [],
        "output_config": {"format": {"type": "json_schema", "schema": schema}},
        "messages": [{"role": "user", "content": TASK}],
    }
    answer = httpx.post(
        f"{world.anthropic}/v1/messages", json=body, headers={"x-api-key": world.key}, trust_env=False
    ).json()
    assert json.loads(answer["content"][0]["text"]) == {"title": "Helm demo"}
    assert answer["stop_reason"] == "end_turn"
