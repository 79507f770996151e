"""The real runner and the real CLI in the real image, against a scripted door: one promise of the contract per test."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from tests.docker.stage import Stage, bash, mark, script

pytestmark = pytest.mark.docker
Json = dict[str, Any]


async def test_a_whole_run_is_asked_for_told_in_order_and_ends(stage: Stage) -> None:
    door = await stage.play(script({"text": "Let me look.", "tools": [bash(mark())]}))
    assert stage.wrote()
    assert [each["n"] for each in door.events()] == list(range(1, len(door.events()) + 1))
    kinds = [each["type"] for each in door.events()]
    assert kinds == ["turn.started", "model.output", "model.output", "turn.ended", "run.result"]
    assert door.events("run.result")[0] | {"n": 0} == {
        "n": 0,
        "type": "run.result",
        "status": "complete",
        "text": "all done",
        "reason": "completed",
        "num_turns": 2,
    }
    assert door.seen("outcome")[0]["body"]["tool_use_id"] == "toolu_1"
    assert any(item["text"] == "Let me look." for each in door.seen("preview") for item in each["items"])


async def test_both_hooks_ask_about_one_call(stage: Stage) -> None:
    door = await stage.play(script({"tools": [bash(mark())]}))
    assert {(each["by"], each["id"]) for each in door.seen("gate")} == {("http", "toolu_1"), ("sdk", "toolu_1")}


async def test_the_model_request_carries_a_placeholder_and_the_servers_session(stage: Stage) -> None:
    door = await stage.play(script())
    headers = door.seen("model")[0]["headers"]
    assert headers["x-api-key"] == "sk-ant-placeholder-r-test"
    assert headers["x-claude-code-session-id"] == "11111111-2222-4333-8444-555555555555"
    assert [each["path"] for each in door.seen("other")] == []


async def test_a_denial_and_its_reason_reach_the_model(stage: Stage) -> None:
    rules = [{"tool": "Bash", "do": "deny", "reason": "not on a Saturday"}]
    door = await stage.play(script({"tools": [bash(mark())]}, gate=rules))
    assert not stage.wrote()
    assert "not on a Saturday" in door.results_to_model()
    assert door.seen("outcome") == []


async def test_a_changed_input_runs_and_nothing_else(stage: Stage) -> None:
    safe = {"command": mark("safe"), "description": "changed"}
    rule = {"tool": "Bash", "do": "allow", "input": safe, "context": "A person changed the input of this call."}
    door = await stage.play(script({"tools": [bash(mark())]}, gate=[rule]))
    assert "A person changed the input of this call." in door.results_to_model()
    assert stage.wrote("safe")
    assert not stage.wrote()
    assert door.seen("outcome")[0]["body"]["tool_input"]["command"] == mark("safe")


async def test_parallel_calls_are_asked_and_answered_each_for_itself(stage: Stage) -> None:
    calls = [bash(mark("one"), "toolu_1"), {"id": "toolu_2", "name": "Write", "input": _file("two")}]
    door = await stage.play(script({"tools": calls}, gate=[{"tool": "Write", "do": "deny"}]))
    assert (stage.wrote("one"), stage.wrote("two")) == (True, False)
    assert {each["id"] for each in door.seen("gate")} == {"toolu_1", "toolu_2"}


async def test_a_failing_call_reports_its_failure(stage: Stage) -> None:
    door = await stage.play(script({"tools": [bash("exit 3")]}))
    outcome = door.seen("outcome")[0]["body"]
    assert (outcome["hook_event_name"], outcome["tool_use_id"]) == ("PostToolUseFailure", "toolu_1")


async def test_a_background_command_passes_the_gate_and_dies_with_the_run(stage: Stage) -> None:
    command = bash("sleep 600; touch /workspace/late", run_in_background=True)
    door = await stage.play(script({"tools": [command]}))
    assert {each["id"] for each in door.seen("gate")} == {"toolu_1"}
    assert not stage.wrote("late")


async def test_a_sub_agents_call_passes_the_gate_under_its_own_name(stage: Stage) -> None:
    agents = {"helper": {"description": "helps", "prompt": "you help"}}
    call = {"description": "d", "prompt": "HELPME", "subagent_type": "helper"}
    steps = [{"text": "on it", "tools": [bash(mark("sub"), "toolu_9")]}, {"text": "sub done"}]
    spawn = {"tools": [{"id": "toolu_1", "name": "Agent", "input": call}]}
    door = await stage.play(script(spawn, agents={"HELPME": steps}, hello={"agents": agents}))
    spawned, ended = door.events("agent.spawned")[0], door.events("agent.ended")[0]
    assert (spawned["agent_type"], spawned["tool_use_id"]) == ("helper", "toolu_1")
    assert {each["agent"] for each in door.seen("gate", id="toolu_9")} == {spawned["agent"]}
    assert (ended["agent"], ended["summary"]) == (spawned["agent"], "sub done")
    said = {each["text"]: each["agent"] for each in door.events("model.output")}
    assert said["on it"] == spawned["agent"]
    assert stage.wrote("sub")


async def test_a_sub_agent_of_a_sub_agent_is_told_with_the_one_that_started_it_before_it_asks(stage: Stage) -> None:
    agents = {name: {"description": "helps", "prompt": "you help"} for name in ("helper", "fetcher")}

    def spawn(call: str, kind: str, prompt: str) -> Json:
        told = {"description": "d", "prompt": prompt, "subagent_type": kind}
        return {"tools": [{"id": call, "name": "Agent", "input": told}]}

    inner = [{"tools": [bash(mark("inner"), "toolu_9")]}, {"text": "inner done"}]
    middle = [spawn("toolu_2", "fetcher", "INNER"), {"text": "middle done"}]
    played = {"MIDDLE": middle, "INNER": inner}
    door = await stage.play(script(spawn("toolu_1", "helper", "MIDDLE"), agents=played, hello={"agents": agents}))
    first, second = door.events("agent.spawned")
    assert [first["agent_type"], second["agent_type"]] == ["helper", "fetcher"]
    assert (first["parent"], second["parent"]) == ("", first["agent"])
    asked = {each["agent"] for each in door.seen("gate", id="toolu_9")}
    assert asked == {second["agent"]}
    order = [each["at"] for each in door.journal if each in door.seen("gate", id="toolu_9") or _tells(each, second)]
    assert order[0] == "event", "the server knows who it is before it is asked"
    assert stage.wrote("inner")


def _tells(each: Json, event: Json) -> bool:
    return bool(each["at"] == "event" and each["event"] == event)


async def test_a_sub_agents_denied_call_does_not_run(stage: Stage) -> None:
    call = {"description": "d", "prompt": "HELPME", "subagent_type": "helper"}
    agents = {"helper": {"description": "helps", "prompt": "you help"}}
    steps = [{"tools": [bash(mark(), "toolu_9")]}, {"text": "sub done"}]
    spawn = {"tools": [{"id": "toolu_1", "name": "Agent", "input": call}]}
    denied = [{"tool": "Bash", "do": "deny"}]
    await stage.play(script(spawn, agents={"HELPME": steps}, hello={"agents": agents}, gate=denied))
    assert not stage.wrote()


async def test_an_mcp_call_passes_the_gate_before_it_reaches_the_server(stage: Stage) -> None:
    servers = {"ops": {"type": "http", "url": "http://127.0.0.1:3128/mcp/ops"}}
    calls = [{"id": "toolu_1", "name": "mcp__ops__add", "input": {"a": 2}}]
    door = await stage.play(script({"tools": calls}, hello={"mcp": servers}))
    order = [each["at"] for each in door.journal if each["at"] == "gate" or each.get("method") == "tools/call"]
    assert order == ["gate", "gate", "mcp"]
    assert "sum is 5" in door.results_to_model()


async def test_a_denied_mcp_call_never_reaches_the_server(stage: Stage) -> None:
    servers = {"ops": {"type": "http", "url": "http://127.0.0.1:3128/mcp/ops"}}
    calls = [{"id": "toolu_1", "name": "mcp__ops__add", "input": {"a": 2}}]
    door = await stage.play(script({"tools": calls}, hello={"mcp": servers}, gate=[{"do": "deny"}]))
    assert door.seen("mcp", method="tools/call") == []


async def test_a_message_mid_run_is_delivered_seen_and_reaches_the_model(stage: Stage) -> None:
    steps = [{"tools": [bash("true")]}, {"tools": [bash("true", "toolu_2")]}]
    door = await stage.begin(script(*steps, gate=[{"do": "hold"}]))
    await door.until("gate", id="toolu_1")
    door.send(op="steer", id="st1", text="look left instead", mode="steer")
    await door.until("event", type="steering.delivered", id="st1")
    assert door.events("steering.seen") == []
    door.answer("toolu_1", "allow")
    await door.until("gate", id="toolu_2")
    assert "look left instead" in door.results_to_model()
    assert [each["id"] for each in door.events("steering.seen")] == ["st1"]
    door.answer("toolu_2", "allow")
    assert (await stage.end()).code == 0


async def test_a_queued_message_is_the_next_turn(stage: Stage) -> None:
    door = await stage.begin(script({"tools": [bash("true")]}, gate=[{"do": "hold"}]))
    await door.until("gate", id="toolu_1")
    door.send(op="steer", id="st1", text="and then rest", mode="queue")
    door.answer("toolu_1", "allow")
    assert (await stage.end()).code == 0
    kinds = [each["type"] for each in door.events() if each["type"] != "model.output"]
    assert kinds == [
        "turn.started",
        "turn.ended",
        "steering.delivered",
        "turn.started",
        "steering.seen",
        "turn.ended",
        "run.result",
    ]
    assert "and then rest" in door.results_to_model()


async def test_a_message_that_is_sent_again_is_said_once(stage: Stage) -> None:
    door = await stage.begin(script({"tools": [bash("true")]}, gate=[{"do": "hold"}]))
    await door.until("gate", id="toolu_1")
    door.send(op="steer", id="st1", text="ONLYONCE", mode="steer")
    await door.until("event", type="steering.delivered")
    door.order("cut")
    await door.until("stream", count=2)
    door.send(op="steer", id="st1", text="ONLYONCE", mode="steer")
    door.answer("toolu_1", "allow")
    assert (await stage.end()).code == 0
    assert len(door.events("steering.delivered")) == 1
    assert door.results_to_model().count("ONLYONCE") == 1


async def test_an_interrupting_message_takes_back_the_waiting_call(stage: Stage) -> None:
    door = await stage.begin(script({"tools": [bash(mark())]}, gate=[{"do": "hold"}]))
    await door.until("gate", id="toolu_1")
    door.send(op="steer", id="st1", text="stop that, rest", mode="interrupt")
    assert (await stage.end()).code == 0
    assert not stage.wrote()
    assert "stop that, rest" in door.results_to_model()
    assert [each["id"] for each in door.events("steering.seen")] == ["st1"]
    assert door.events("run.result")[0]["status"] == "complete"
    abandoned = [each["body"] for each in door.seen("outcome")]
    assert [(each["tool_use_id"], each["is_interrupt"], each["released"]) for each in abandoned] == [
        ("toolu_1", True, False)
    ]


async def test_an_interrupt_alone_ends_the_run_without_the_call(stage: Stage) -> None:
    door = await stage.begin(script({"tools": [bash(mark())]}, gate=[{"do": "hold"}]))
    await door.until("gate", id="toolu_1")
    door.send(op="interrupt")
    assert (await stage.end()).code == 0
    assert not stage.wrote()
    assert door.events("run.result")[0]["status"] == "failed"


async def test_a_finish_ends_the_run_without_the_call_and_without_what_was_queued(stage: Stage) -> None:
    door = await stage.begin(script({"tools": [bash(mark())]}, gate=[{"do": "hold"}]))
    await door.until("gate", id="toolu_1")
    door.send(op="steer", id="st1", text="later", mode="queue")
    door.send(op="finish")
    assert (await stage.end()).code == 0
    assert not stage.wrote()
    assert door.events("steering.delivered") == []
    assert len(door.events("run.result")) == 1


async def test_an_order_that_makes_no_sense_is_told_and_ends_nothing(stage: Stage) -> None:
    door = await stage.begin(script({"tools": [bash(mark())]}, gate=[{"do": "hold"}]))
    await door.until("gate", id="toolu_1")
    door.send(op="steer")
    await door.until("event", type="run.note")
    door.answer("toolu_1", "allow")
    assert (await stage.end()).code == 0
    assert stage.wrote()


async def test_the_run_waits_for_a_sub_agent_that_waits_for_a_person(stage: Stage) -> None:
    call = {"description": "d", "prompt": "HELPME", "subagent_type": "helper"}
    agents = {"helper": {"description": "helps", "prompt": "you help"}}
    steps = [{"tools": [bash(mark(), "toolu_9")]}, {"text": "sub done"}]
    spawn = {"tools": [{"id": "toolu_1", "name": "Agent", "input": call}]}
    rules = [{"tool": "Bash", "do": "hold"}]
    door = await stage.begin(script(spawn, agents={"HELPME": steps}, hello={"agents": agents}, gate=rules))
    await door.until("gate", id="toolu_9")
    await door.until("event", type="turn.ended")
    await door.until("ping", count=len(door.seen("ping")) + 8)
    door.answer("toolu_9", "allow")
    assert (await stage.end()).code == 0
    assert stage.wrote()
    assert door.events("agent.ended")[0]["summary"] == "sub done"


async def test_a_sub_agent_of_a_sub_agent_is_told_with_its_parent(stage: Stage) -> None:
    agents = {
        "outer": {"description": "helps", "prompt": "you help", "tools": ["Agent", "Bash"]},
        "inner": {"description": "helps more", "prompt": "you help"},
    }
    outer = {"description": "d", "prompt": "OUTERTASK", "subagent_type": "outer"}
    inner = {"description": "d", "prompt": "INNERTASK", "subagent_type": "inner"}
    plays = {
        "OUTERTASK": [{"tools": [{"id": "toolu_2", "name": "Agent", "input": inner}]}, {"text": "outer done"}],
        "INNERTASK": [{"tools": [bash(mark(), "toolu_3")]}, {"text": "inner done"}],
    }
    spawn = {"tools": [{"id": "toolu_1", "name": "Agent", "input": outer}]}
    door = await stage.play(script(spawn, agents=plays, hello={"agents": agents}))
    spawned = {each["agent_type"]: each for each in door.events("agent.spawned")}
    assert (spawned["outer"]["parent"], spawned["outer"]["tool_use_id"]) == ("", "toolu_1")
    assert (spawned["inner"]["parent"], spawned["inner"]["tool_use_id"]) == (spawned["outer"]["agent"], "toolu_2")
    assert {each["agent"] for each in door.seen("gate", id="toolu_3")} == {spawned["inner"]["agent"]}


async def test_a_retry_of_the_model_is_told(stage: Stage) -> None:
    door = await stage.play({**script(), "main": [{"status": 529, "text": "overloaded"}, {"text": "all done"}]})
    retry = door.events("api.retry")[0]
    assert (retry["attempt"], retry["error"]) == (1, "529")
    assert retry["delay_ms"] > 0


async def test_a_trouble_of_the_server_loses_no_event_and_no_outcome(stage: Stage) -> None:
    trouble = {"/runner/events": [503, 3], "/gate/outcome": [500, 2], "/runner/preview": [500, 9]}
    door = await stage.play(script({"text": "one", "tools": [bash("true")]}, {"text": "two"}, refuse=trouble))
    assert [each["text"] for each in door.events("model.output")] == ["one", "two"]
    assert len(door.seen("outcome")) == 1


async def test_a_text_too_long_for_a_receipt_comes_in_pieces(stage: Stage) -> None:
    door = await stage.play(script({"text": "ä" * 20_000, "tools": [bash("true")]}))
    pieces = [each["text"] for each in door.events("model.output")[:-1]]
    assert "".join(pieces) == "ä" * 20_000
    assert max(len(json.dumps(piece)) for piece in pieces) < 60_000


async def test_a_refused_model_request_fails_the_run_with_its_reason(stage: Stage) -> None:
    refused = {"status": 403, "text": "the budget of this run is spent"}
    door = await stage.begin({**script(), "main": [refused]})
    assert (await stage.end()).code == 0
    result = (await door.until("event", type="run.result"))["event"]
    assert result["status"] == "failed"
    assert "the budget of this run is spent" in result["text"] + result["reason"]


async def test_a_refused_lease_ends_the_container(stage: Stage) -> None:
    await stage.begin(script({"text": "x", "hold": True}, refuse={"/runner/stream": [409, 9]}))
    assert (await stage.end()).code == 3


async def test_a_second_container_of_the_same_lease_is_refused_by_hello(stage: Stage) -> None:
    await stage.begin(script(refuse={"/runner/hello": [409, 1]}))
    assert (await stage.end()).code == 3


async def test_orders_with_a_server_past_the_door_are_refused(stage: Stage) -> None:
    await stage.begin(script(hello={"mcp": {"x": {"type": "http", "url": "http://example.com/mcp"}}}))
    assert (await stage.end()).code == 5


async def test_a_restart_of_the_server_loses_no_waiting_call(stage: Stage) -> None:
    held = script({"tools": [bash(f"echo once >> /workspace/count; {mark()}")]}, gate=[{"do": "hold"}])
    stage.grace_s = 30
    door = await stage.begin(held)
    await door.until("gate", id="toolu_1")
    await door.kill()
    assert not stage.wrote()
    again = await stage.open_door(held | {"main": [{"text": "all done"}], "upto": _last(door)})
    await again.until("stream")
    await again.until("gate", id="toolu_1")
    again.answer("toolu_1", "allow")
    assert (await stage.end()).code == 0
    assert (stage.workspace / "count").read_text() == "once\n"
    assert again.events("run.result")[0]["status"] == "complete"


async def test_a_paused_container_goes_on_as_if_no_time_had_passed(stage: Stage) -> None:
    door = await stage.begin(script({"tools": [bash(mark())]}, gate=[{"do": "hold"}]))
    await door.until("gate", id="toolu_1")
    await stage.sandbox.pause(stage.run)
    async with asyncio.timeout(60):
        pings = len(door.seen("ping"))
        await door.until("ping", count=pings + int(stage.grace_s) + 2)
    await stage.sandbox.unpause(stage.run)
    door.answer("toolu_1", "allow")
    assert (await stage.end()).code == 0
    assert stage.wrote()


def _file(name: str) -> Json:
    return {"file_path": f"/workspace/{name}", "content": "x"}


def _last(door: Any) -> int:
    return max((each["n"] for each in door.events()), default=0)
