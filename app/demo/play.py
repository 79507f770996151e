"""Which step comes next is a function of the request alone.

The ids of tool calls carry the number of their step, so the server keeps nothing between requests: it may be killed and
started again in the middle of a run, and any number of conversations play at once without mixing.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from app.demo.conversation import Conversation, Message, Result
from app.demo.scenario import MAIN, Call, Fault, Part, Scenario, ScenarioError, Step, parse_script

_MARKER = re.compile(r"\[scenario:([a-z0-9-]+)(?:/([a-z0-9-]+))?\]")
_MODEL = re.compile(r"^demo/([a-z0-9-]+)(?:/([a-z0-9-]+))?$")
_CALL_ID = re.compile(r"^(?:toolu|call)_s(\d{3})p\d{1,2}_[0-9a-f]{16}$")
_CWD = re.compile(r"[Ww]orking directory: (/\S+)")
_VARIABLE = re.compile(r"\{\{(\w+)\}\}")
_HOOK = re.compile(r"^PreToolUse:\S+ hook (?:blocking )?error:?\s*")
_ALIASES = {"Agent": "Task", "Task": "Agent"}
SCRIPT = "script"
MAX_QUOTE = 400

_UNKNOWN = Part(
    steps=(
        Step(
            id="hello",
            say=(
                "I am Helm's scripted demo model. I play prepared pieces of work and cannot take on a new task.\n\n"
                "Start one of the demo blueprints (market-brief, code-migration, rotate-secret), "
                "or store a key with `helm key set anthropic` to run this task on a real model."
            ),
            end=True,
        ),
    ),
    finished="I can only play the prepared demo blueprints. With a real key the same run would go on from here.",
)


@dataclass(frozen=True, slots=True)
class ToolUse:
    """A call with the id that marks its step."""

    id: str
    call: Call


@dataclass(frozen=True, slots=True)
class Turn:
    """One answer of the model, ready for either wire format."""

    scenario: str
    part: str
    step: str
    texts: tuple[str, ...]
    calls: tuple[ToolUse, ...] = ()
    delay_ms: int = 0
    hold_ms: int = 0
    usage: Mapping[str, int] = field(default_factory=dict)
    error: Fault | None = None

    @property
    def ends(self) -> bool:
        return not self.calls


@dataclass(frozen=True, slots=True)
class _Heard:
    """What came in since the model last spoke."""

    results: tuple[Result, ...] = ()
    steer: str = ""

    def and_also(self, message: Message) -> _Heard:
        steer = "\n".join(filter(None, (self.steer, message.steer)))
        return _Heard(self.results + message.results, steer)

    @property
    def failed(self) -> bool:
        return any(result.failed for result in self.results)

    @property
    def text(self) -> str:
        return "\n".join(result.text for result in self.results)


class Stage:
    """The scenarios that can be played, and the values that their texts may name."""

    def __init__(self, scenarios: Mapping[str, Scenario], variables: Mapping[str, str]) -> None:
        self._scenarios = dict(scenarios)
        self._variables = dict(variables)

    def next_turn(self, talk: Conversation) -> Turn:
        """The answer to this request; never fails, an unknown task gets a polite one."""
        name, role = _cast(talk)
        try:
            part = self._part(name, role, talk)
        except ScenarioError as error:
            part = Part(steps=(Step(id="broken", say=f"The script in this task cannot be played: {error}", end=True),))
        at, heard, steered = _position(part, talk)
        turn = _gather(part, at, name, role)
        if steered:
            turn = (
                replace(turn, texts=(steered, *turn.texts)) if at < len(part.steps) else replace(turn, texts=(steered,))
            )
        return self._fill(turn, heard, talk)

    def _part(self, name: str, role: str, talk: Conversation) -> Part:
        if name == SCRIPT:
            return parse_script(_script(talk))
        scenario = self._scenarios.get(name)
        return _UNKNOWN if scenario is None else scenario.parts.get(role, _UNKNOWN)

    def _fill(self, turn: Turn, heard: _Heard, talk: Conversation) -> Turn:
        failures = [_HOOK.sub("", result.text).strip() for result in heard.results if result.failed]
        values = {
            **self._variables,
            "cwd": _cwd(talk),
            "steer": heard.steer,
            "result": heard.text.strip()[:MAX_QUOTE],
            "reason": (failures[0] if failures else "")[:MAX_QUOTE],
        }
        calls = tuple(
            ToolUse(use.id, Call(_offered(use.call.tool, talk.tools), _filled(use.call.input, values)))
            for use in turn.calls
        )
        return replace(turn, texts=tuple(_substitute(text, values) for text in turn.texts), calls=calls)


def _cwd(talk: Conversation) -> str:
    """The folder that the agent's CLI says it works in."""
    found = _CWD.search(talk.system) or _CWD.search(talk.opening)
    return found[1] if found else "/workspace"


def _cast(talk: Conversation) -> tuple[str, str]:
    """Scenario and part: a sub-agent's own prompt is named before the task, and the task before the model's name."""
    found = _MARKER.search(talk.system) or _MARKER.search(talk.opening) or _MODEL.match(talk.model)
    return (found[1], found[2] or MAIN) if found else ("default", MAIN)


def _script(talk: Conversation) -> object:
    """The first JSON list after the marker. A decoder finds its end, so a script may hold a script for a sub-agent."""
    text = talk.opening if f"[scenario:{SCRIPT}]" in talk.opening else talk.system + talk.opening
    after = text.find("]", max(text.find(f"[scenario:{SCRIPT}]"), 0)) + 1
    start = text.find("[", after)
    if start < 0:
        raise ScenarioError("no JSON list follows the marker")
    try:
        value, _ = json.JSONDecoder(strict=False).raw_decode(text, start)
    except (json.JSONDecodeError, RecursionError) as error:
        raise ScenarioError(f"the JSON does not parse: {error}") from error
    return value


def _position(part: Part, talk: Conversation) -> tuple[int, _Heard, str]:
    """Index of the step to play, what was heard since the last answer, and what to say about a person's message."""
    messages = talk.messages
    last, called = _last_call(part, messages)
    at, heard = 0, _Heard()
    steers = _steers(messages)
    pending = called  # the step whose results are still to come
    spoken = called is not None
    for message in messages[last + 1 :]:
        if message.role != "assistant":
            heard = heard.and_also(message)
        elif message.spoken:
            at = _jump(part, _follow(part, pending, at, heard, steers), heard, spoken)
            turn = _gather(part, at, "", "")
            at = turn_end(part, at) if turn.ends else at
            pending, heard, spoken = None, _Heard(), True
    at = _follow(part, pending, at, heard, steers)
    moved = _jump(part, at, heard, spoken)
    reaction = _reaction(part, heard.steer) if spoken else None
    return moved, heard, reaction or ""


def _steers(messages: tuple[Message, ...]) -> str:
    """Everything that people said after the task; a branch may ask for it long after it was answered."""
    first = next((n for n, message in enumerate(messages) if message.role == "assistant"), len(messages))
    return "\n".join(filter(None, (message.steer for message in messages[first:])))


def _last_call(part: Part, messages: tuple[Message, ...]) -> tuple[int, int | None]:
    for index in range(len(messages) - 1, -1, -1):
        for call_id in messages[index].call_ids:
            found = _CALL_ID.match(call_id)
            if found and int(found[1]) < len(part.steps):
                return index, int(found[1])
    return -1, None


def _follow(part: Part, called: int | None, at: int, heard: _Heard, steers: str) -> int:
    if called is None:
        return at
    step = part.steps[called]
    for branch in step.branches:
        if branch.holds(heard.text, heard.failed, steers):
            return part.index(branch.then)
    return part.index(step.next) if step.next is not None else called + 1


def _jump(part: Part, at: int, heard: _Heard, spoken: bool) -> int:
    """A person's message may send the work to another step, but never back to life once it has ended."""
    if not (spoken and heard.steer) or at >= len(part.steps):
        return at
    for reaction in part.reactions:
        if reaction.if_contains is None or reaction.if_contains.lower() in heard.steer.lower():
            return at if reaction.then is None else part.index(reaction.then)
    return at


def _reaction(part: Part, steer: str) -> str | None:
    if not steer:
        return None
    for reaction in part.reactions:
        if reaction.if_contains is None or reaction.if_contains.lower() in steer.lower():
            return reaction.say
    return None


def turn_end(part: Part, at: int) -> int:
    """Index after the last step that is spoken in the turn that begins at `at`."""
    while at < len(part.steps):
        step = part.steps[at]
        if step.stops:
            return at + 1 if not step.end else (part.index(step.next) if step.next is not None else at + 1)
        at = part.index(step.next) if step.next is not None and part.index(step.next) > at else at + 1
    return at


def _gather(part: Part, at: int, name: str, role: str) -> Turn:
    """Steps are spoken together until one calls a tool or ends the turn."""
    texts: list[str] = []
    step = Step(id="finished", say=part.finished)
    first = at
    while at < len(part.steps):
        step = part.steps[at]
        texts += [step.say] if step.say else []
        if step.stops:
            break
        at = part.index(step.next) if step.next is not None and part.index(step.next) > at else at + 1
    if first >= len(part.steps) or (not texts and not step.calls and step.error is None):
        texts.append(part.finished)
    calls = tuple(ToolUse(f"toolu_s{at:03d}p{n}_{secrets.token_hex(8)}", call) for n, call in enumerate(step.calls))
    delay = part.delay_ms if step.delay_ms is None else step.delay_ms
    return Turn(name, role, step.id, tuple(texts), calls, delay, step.hold_ms, step.usage, step.error)


def _offered(tool: str, offered: frozenset[str]) -> str:
    """The sub-agent tool changed its name between releases of the CLI; any other name is called as it is written."""
    alias = _ALIASES.get(tool)
    return alias if tool not in offered and alias in offered else tool


def _filled(value: Mapping[str, object], values: Mapping[str, str]) -> dict[str, object]:
    return {key: _fill_value(item, values) for key, item in value.items()}


def _fill_value(value: object, values: Mapping[str, str]) -> object:
    if isinstance(value, str):
        return _substitute(value, values)
    if isinstance(value, Mapping):
        return {key: _fill_value(item, values) for key, item in value.items()}
    return [_fill_value(item, values) for item in value] if isinstance(value, list) else value


def _substitute(text: str, values: Mapping[str, str]) -> str:
    """Names in double braces that are known here are filled in; a script for a sub-agent stays whole."""
    if f"[scenario:{SCRIPT}]" in text:
        return text
    return _VARIABLE.sub(lambda found: values.get(found[1], found[0]), text)
