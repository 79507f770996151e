"""The step that is played depends on the request alone."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from app.demo.conversation import read_anthropic, read_openai
from app.demo.play import Stage
from app.demo.scenario import Call, ScenarioError, parse_scenario

from tests.demo.agent import Agent, script


def test_an_unknown_task_gets_a_polite_answer() -> None:
    turn = Agent("Please reorganise my holiday photos.").play()
    assert turn.scenario == "default"
    assert "market-brief" in turn.texts[0]


def test_an_unknown_scenario_is_no_error() -> None:
    assert "scripted demo model" in Agent("[scenario:nobody-wrote-this]").play().texts[0]


def test_a_script_in_the_task_plays_its_steps_in_order() -> None:
    agent = Agent(script({"say": "Looking."}, {"tool": "Bash", "input": {"command": "ls"}}, {"say": "Seen."}))
    first, last = agent.step(), agent.step()
    assert (first.texts, [use.call for use in first.calls]) == (("Looking.",), [Call("Bash", {"command": "ls"})])
    assert last.texts == ("Seen.",)
    assert last.ends


def test_a_script_that_ends_with_a_call_is_closed_with_a_word() -> None:
    agent = Agent(script({"tool": "Bash", "input": {"command": "true"}}))
    assert agent.play().texts == ("Done.",)


def test_several_calls_in_one_turn_have_ids_of_their_own() -> None:
    calls = [{"tool": "Bash", "input": {"command": f"echo {n}"}} for n in range(3)]
    turn = Agent(script({"tools": calls})).step()
    assert len({use.id for use in turn.calls}) == 3


def test_a_script_may_hold_the_script_of_a_sub_agent() -> None:
    inner = script({"tool": "Read", "input": {"file_path": "/workspace/a"}}, {"say": "Read: {{result}}"})
    main = Agent(
        script(
            {"tool": "Bash", "input": {"command": "ls"}},
            {"tool": "Agent", "input": {"description": "read", "prompt": inner}},
            {"say": "It has read it."},
        ),
        tool=lambda call: ('a "quoted" line\nand another', False),
    )
    main.step()
    child = Agent(str(main.step().calls[0].call.input["prompt"]))
    assert child.play().texts == ("Read: ok",)
    assert [call.tool for call in child.calls] == ["Read"]
    assert main.step().texts == ("It has read it.",)


def test_the_prompt_of_a_sub_agent_is_named_before_its_task() -> None:
    child = Agent("Write the brief.", system="You write briefs. [scenario:market-brief/researcher]")
    assert (child.step().scenario, child.turns[0].part) == ("market-brief", "researcher")


def test_the_model_name_names_a_scenario() -> None:
    stage = Stage({"small": parse_scenario({"name": "small", "main": [{"say": "Hello."}]})}, {})
    talk = read_anthropic({"model": "demo/small", "messages": [{"role": "user", "content": "go"}]})
    assert stage.next_turn(talk).texts == ("Hello.",)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[scenario:script] nothing here", "no JSON list"),
        ('[scenario:script] [{"say": ', "does not parse"),
        ('[scenario:script] [{"shout": "x"}]', "unknown key shout"),
        ("[scenario:script] []", "between 1 and"),
        ('[scenario:script] [{"tool": ""}]', "tool must be a text"),
        ('[scenario:script] [{"say": "a", "next": "b"}]', "no step is named b"),
        ("[scenario:script] " + "[" * 5000, "does not parse"),
    ],
)
def test_a_script_that_does_not_parse_says_why(text: str, reason: str) -> None:
    turn = Agent(text).play()
    assert reason in turn.texts[0]


@pytest.mark.parametrize(
    ("answer", "failed", "said"),
    [("fine", False, "It worked."), ("boom", True, "It failed: boom"), ("a warning", False, "With a warning.")],
)
def test_a_step_branches_on_what_its_call_gave(answer: str, failed: bool, said: str) -> None:
    steps: list[Mapping[str, object]] = [
        {
            "tool": "Bash",
            "input": {"command": "make"},
            "branch": [{"if_error": True, "then": "bad"}, {"if_contains": "WARNING", "then": "warned"}],
        },
        {"say": "It worked.", "end": True},
        {"id": "bad", "say": "It failed: {{reason}}", "end": True},
        {"id": "warned", "say": "With a warning.", "end": True},
    ]
    agent = Agent(script(*steps), tool=lambda call: (answer, failed))
    assert agent.play().texts == (said,)


def test_the_reason_of_a_denial_is_told_without_the_hook_s_words() -> None:
    steps = script({"tool": "Bash", "input": {"command": "x"}}, {"say": "Denied: {{reason}}"})
    agent = Agent(steps, tool=lambda call: ("PreToolUse:Bash hook error: not on a Saturday", True))
    assert agent.play().texts == ("Denied: not on a Saturday",)


def test_a_steering_message_is_answered_once_and_the_work_goes_on() -> None:
    calls = [{"tool": "Bash", "input": {"command": f"echo {n}"}} for n in range(3)]
    agent = Agent(script(*calls))
    agent.step()
    agent.steer("Cite your sources.")
    steered = agent.step()
    assert steered.texts == ("Understood: Cite your sources.",)
    assert [use.call.input for use in steered.calls] == [{"command": "echo 1"}]
    assert agent.step().texts == ()


def test_a_message_after_the_end_is_answered_and_nothing_is_done_again() -> None:
    agent = Agent(script({"tool": "Bash", "input": {"command": "true"}}, {"say": "All done."}))
    agent.play()
    agent.say("Anything else?")
    assert agent.play().texts == ("Understood: Anything else?",)
    assert len(agent.calls) == 1


def test_steps_after_an_end_wait_for_the_next_message() -> None:
    agent = Agent(
        script({"say": "First half.", "end": True}, {"tool": "Bash", "input": {"command": "ls"}}, {"say": "Second."})
    )
    assert agent.play().texts == ("First half.",)
    agent.say("Go on.")
    assert agent.play().texts == ("Second.",)
    assert len(agent.calls) == 1


def test_an_interrupted_call_is_not_repeated_after_a_resume() -> None:
    agent = Agent(
        script({"tool": "Bash", "input": {"command": "deploy"}}, {"tool": "Bash", "input": {"command": "check"}}),
        tool=lambda call: ("[Tool call interrupted: the outcome is unknown]", True),
    )
    agent.step()
    agent.say("No response requested.", "assistant")
    agent.say("Please continue.")
    assert [use.call.input for use in agent.step().calls] == [{"command": "check"}]


def test_a_half_spoken_answer_does_not_count_as_a_turn() -> None:
    agent = Agent(script({"say": "I begin.", "tool": "Bash", "input": {"command": "one"}}))
    agent.say("I beg", "assistant")
    agent.say("[Request interrupted by user]")
    agent.say("Go on.")
    assert [use.call.input for use in agent.step().calls] == [{"command": "one"}]


def test_system_reminders_are_not_taken_for_people() -> None:
    agent = Agent(script({"tool": "Bash", "input": {}}, {"say": "End."}))
    agent.step()
    agent.say("<system-reminder>The date has changed.</system-reminder>")
    assert agent.step().texts == ("End.",)


def test_the_tool_for_sub_agents_is_called_by_the_name_that_is_offered() -> None:
    agent = Agent(script({"tool": "Agent", "input": {}}), offered=("Task", "Bash"))
    assert agent.step().calls[0].call.tool == "Task"


def test_both_formats_are_read_as_the_same_conversation() -> None:
    task = script({"tool": "ls", "input": {}}, {"say": "{{result}}"})
    turn = Stage({}, {}).next_turn(read_openai({"model": "gpt-5", "messages": [{"role": "user", "content": task}]}))
    call_id = turn.calls[0].id.replace("toolu_", "call_")
    messages = [
        {"role": "system", "content": "You are an agent."},
        {"role": "user", "content": task},
        {"role": "assistant", "content": None, "tool_calls": [{"id": call_id, "function": {"name": "ls"}}]},
        {"role": "tool", "tool_call_id": call_id, "content": "a b c"},
    ]
    assert Stage({}, {}).next_turn(read_openai({"model": "gpt-5", "messages": messages})).texts == ("a b c",)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"messages": "text", "system": 7, "tools": {}},
        {"messages": [1, None, {"role": "user", "content": [{"type": "text"}, {"type": "tool_result"}]}]},
        {"messages": [{"role": "assistant", "content": [{"type": "tool_use", "id": 5}]}]},
        {"messages": [{"role": "assistant", "content": [{"type": "tool_use", "id": "toolu_s999p0_0123456789abcdef"}]}]},
    ],
)
def test_odd_requests_are_answered(body: dict[str, object]) -> None:
    assert Stage({}, {}).next_turn(read_anthropic(body)).texts
    assert Stage({}, {}).next_turn(read_openai(body)).texts


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        ({"main": [{"say": "x"}]}, "name"),
        ({"name": "x"}, "main: a list"),
        ({"name": "x", "main": []}, "between"),
        ({"name": "x", "main": [{"id": "a"}, {"id": "a"}]}, "same id"),
        ({"name": "x", "main": [{"say": "x"}], "surprise": 1}, "surprise"),
        ({"name": "x", "main": [{"say": "x", "error": {"status": 200}}]}, "status"),
        ({"name": "x", "main": [{"say": "x", "delay_ms": -1}]}, "delay_ms"),
    ],
)
def test_a_broken_scenario_is_refused_with_its_reason(table: dict[str, object], reason: str) -> None:
    with pytest.raises(ScenarioError, match=reason):
        parse_scenario(table)
