"""A scenario is data: an ordered list of steps per agent, read from TOML files or from JSON inside a task.

The values here are immutable and know nothing about any wire format; a file that does not parse names itself, the step
and the reason.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

MAIN = "main"
MAX_STEPS = 500


class ScenarioError(ValueError):
    """A scenario that cannot be played; the text says where and why."""


@dataclass(frozen=True, slots=True)
class Call:
    """One tool call as the model asks for it."""

    tool: str
    input: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Branch:
    """Where to go after a step when everything named here holds; conditions left out do not count."""

    then: str
    if_error: bool | None = None
    if_contains: str | None = None
    if_steer: str | None = None

    def holds(self, results: str, failed: bool, steer: str) -> bool:
        if self.if_error is not None and self.if_error != failed:
            return False
        if self.if_contains is not None and self.if_contains.lower() not in results.lower():
            return False
        return self.if_steer is None or self.if_steer.lower() in steer.lower()


@dataclass(frozen=True, slots=True)
class Fault:
    """The answer of this step is always this HTTP error."""

    status: int
    message: str


@dataclass(frozen=True, slots=True)
class Step:
    """Something said, something called, or both; without calls it is spoken together with the next, unless it ends."""

    id: str
    say: str = ""
    calls: tuple[Call, ...] = ()
    branches: tuple[Branch, ...] = ()
    next: str | None = None
    end: bool = False
    delay_ms: int | None = None
    hold_ms: int = 0
    usage: Mapping[str, int] = field(default_factory=dict)
    error: Fault | None = None

    @property
    def stops(self) -> bool:
        """True where the model's turn ends with this step."""
        return bool(self.calls) or self.end or self.error is not None


@dataclass(frozen=True, slots=True)
class Reaction:
    """What to say, once, when a person writes in the middle of the work; `then` names a step to go on from."""

    say: str
    if_contains: str | None = None
    then: str | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """The steps of one agent."""

    steps: tuple[Step, ...]
    reactions: tuple[Reaction, ...] = ()
    finished: str = "That work is finished. Start a new run when there is something else to do."
    delay_ms: int = 0

    def index(self, step_id: str) -> int:
        """Position of a step; the parser has checked that every name that a scenario uses exists."""
        return next(n for n, step in enumerate(self.steps) if step.id == step_id)


@dataclass(frozen=True, slots=True)
class Scenario:
    """One part for the main agent and one for each sub-agent."""

    name: str
    parts: Mapping[str, Part]


def load_scenario(path: Path) -> Scenario:
    """Read one TOML file; raises ScenarioError naming file, step and reason."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
        return parse_scenario(table)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, ScenarioError) as error:
        raise ScenarioError(f"{path.name}: {error}") from error


def parse_scenario(table: Mapping[str, object]) -> Scenario:
    """Check and freeze a scenario's table."""
    _known(table, {"name", "delay_ms", "finished", "on_steer", MAIN, "agents"}, "scenario")
    name = _text(table, "name", "scenario")
    agents = table.get("agents", {})
    if not isinstance(agents, Mapping):
        raise ScenarioError("agents: a table of step lists is expected")
    parts = {MAIN: _part(table, table.get(MAIN), MAIN)}
    parts.update({str(agent): _part(table, steps, str(agent)) for agent, steps in agents.items()})
    return Scenario(name=name, parts=parts)


def parse_script(steps: object, finished: str = "Done.") -> Part:
    """The steps that a task carries as JSON; the same keys as in a file."""
    return _checked(
        Part(steps=_steps(steps, "script"), finished=finished, reactions=(Reaction("Understood: {{steer}}"),))
    )


def _part(table: Mapping[str, object], steps: object, where: str) -> Part:
    reactions = tuple(_reaction(row) for row in _rows(table.get("on_steer", []), "on_steer")) if where == MAIN else ()
    finished = table.get("finished", Part.__dataclass_fields__["finished"].default)
    return _checked(
        Part(
            steps=_steps(steps, where),
            reactions=reactions,
            finished=str(finished),
            delay_ms=_number(table, "delay_ms", where),
        )
    )


def _checked(part: Part) -> Part:
    names = [step.id for step in part.steps]
    if len(set(names)) != len(names):
        raise ScenarioError("two steps have the same id")
    targets = [branch.then for step in part.steps for branch in step.branches]
    targets += [step.next for step in part.steps if step.next is not None]
    targets += [reaction.then for reaction in part.reactions if reaction.then is not None]
    if missing := sorted(set(targets) - set(names)):
        raise ScenarioError(f"no step is named {', '.join(missing)}")
    return part


def _steps(rows: object, where: str) -> tuple[Step, ...]:
    steps = tuple(_step(row, f"{where} step {n}", f"{n}") for n, row in enumerate(_rows(rows, where), start=1))
    if not 1 <= len(steps) <= MAX_STEPS:
        raise ScenarioError(f"{where}: between 1 and {MAX_STEPS} steps are expected")
    return steps


_STEP_KEYS = {"id", "say", "tool", "input", "tools", "branch", "next", "end", "delay_ms", "hold_ms", "usage", "error"}


def _step(row: Mapping[str, object], where: str, number: str) -> Step:
    _known(row, _STEP_KEYS, where)
    calls = [_call(call, where) for call in _rows(row.get("tools", []), where)]
    if "tool" in row:
        calls.insert(0, _call({"tool": row["tool"], "input": row.get("input", {})}, where))
    return Step(
        id=str(row.get("id", number)),
        say=str(row.get("say", "")).strip(),
        calls=tuple(calls),
        branches=tuple(_branch(branch, where) for branch in _rows(row.get("branch", []), where)),
        next=str(row["next"]) if "next" in row else None,
        end=row.get("end") is True,
        delay_ms=_number(row, "delay_ms", where) if "delay_ms" in row else None,
        hold_ms=_number(row, "hold_ms", where),
        usage=_usage(row.get("usage", {}), where),
        error=_fault(row["error"], where) if "error" in row else None,
    )


def _call(row: Mapping[str, object], where: str) -> Call:
    _known(row, {"tool", "input"}, where)
    given = row.get("input", {})
    if not isinstance(given, Mapping):
        raise ScenarioError(f"{where}: input must be an object")
    return Call(tool=_text(row, "tool", where), input=given)


def _branch(row: Mapping[str, object], where: str) -> Branch:
    _known(row, {"then", "if_error", "if_contains", "if_steer"}, where)
    failed = row.get("if_error")
    return Branch(
        then=_text(row, "then", where),
        if_error=failed if isinstance(failed, bool) else None,
        if_contains=_text(row, "if_contains", where) if "if_contains" in row else None,
        if_steer=_text(row, "if_steer", where) if "if_steer" in row else None,
    )


def _reaction(row: Mapping[str, object]) -> Reaction:
    _known(row, {"say", "if_contains", "then"}, "on_steer")
    return Reaction(
        say=_text(row, "say", "on_steer"),
        if_contains=_text(row, "if_contains", "on_steer") if "if_contains" in row else None,
        then=_text(row, "then", "on_steer") if "then" in row else None,
    )


def _fault(row: object, where: str) -> Fault:
    if not isinstance(row, Mapping):
        raise ScenarioError(f"{where}: error must be an object")
    status = _number(row, "status", where)
    if not 400 <= status <= 599:
        raise ScenarioError(f"{where}: error.status must be between 400 and 599")
    return Fault(status=status, message=str(row.get("message", "The scripted model answers with this error.")))


_USAGE_KEYS = {"input_tokens", "output_tokens", "cache_creation_input_tokens", "cache_read_input_tokens"}


def _usage(row: object, where: str) -> dict[str, int]:
    if not isinstance(row, Mapping):
        raise ScenarioError(f"{where}: usage must be an object")
    _known(row, _USAGE_KEYS, where)
    return {str(key): _number(row, str(key), where) for key in row}


def _rows(value: object, where: str) -> Sequence[Mapping[str, object]]:
    if not isinstance(value, list) or not all(isinstance(row, Mapping) for row in value):
        raise ScenarioError(f"{where}: a list of objects is expected")
    return value


def _known(row: Mapping[str, object], keys: set[str], where: str) -> None:
    if unknown := sorted(str(key) for key in set(row) - keys):
        raise ScenarioError(f"{where}: unknown key {', '.join(unknown)}")


def _text(row: Mapping[str, object], key: str, where: str) -> str:
    value = row.get(key)
    if not isinstance(value, str) or not value.strip():
        raise ScenarioError(f"{where}: {key} must be a text")
    return value.strip()


def _number(row: Mapping[str, object], key: str, where: str) -> int:
    value = row.get(key, 0)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ScenarioError(f"{where}: {key} must be a whole number, 0 or more")
    return value
