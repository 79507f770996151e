"""What a bundle would have said to the calls that a log holds: from the inputs that were recorded where they suffice,
else from the call's arguments and the state of its run at that moment. What cannot be known is said to be so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from app.domain.canonical import Json, strict_loads
from app.domain.errors import InvalidInput
from app.domain.events import Event
from app.domain.expressions import FIELDS
from app.domain.fold import evolve
from app.domain.payloads import IntentRecorded, RunClosed, VerdictGiven
from app.domain.policy import Bundle, decide_again
from app.domain.policy_inputs import evidence_view, input_value, joined_inputs
from app.domain.reasons import Reason
from app.domain.run import Run
from app.domain.verdict import (
    WORKSPACE,
    AgentFacts,
    BudgetFacts,
    Decision,
    EffectClass,
    Grade,
    Request,
    RunFacts,
)

MAX_ARGS: Final = 1_048_576
_FORM: Final = frozenset({Reason.SCHEMA_VIOLATION.value, Reason.INPUT_TOO_LARGE.value})
_FORCED: Final = {"model": EffectClass.MODEL, "egress": EffectClass.NETWORK}
_NEEDS_ARGS: Final = frozenset({"args", "shell", "file"})
_NEVER_REBUILT: Final = frozenset({"grants"})
_NEEDS_PLACE: Final = frozenset({"host", "port", "egress_listed"})
_NEEDS_CWD: Final = frozenset({"shell", "file", "cwd"})


@dataclass(frozen=True, slots=True)
class Recorded:
    """One intent with the policy's own verdict on it (not a person's answer), as the log tells it. `args` is None where
    the log does not hold them whole any more; `request` is the question as far as it can be put again."""

    seq: int
    ts: str
    run: str
    run_no: int
    policy: str
    action: str
    tool: str
    target: str
    verdict: VerdictGiven
    inputs: dict[str, Json] | None
    args: Json
    request: Request


@dataclass(frozen=True, slots=True)
class Row:
    """How one recorded intent would be decided. `decision` None: it cannot be told, and `note` says why."""

    recorded: Recorded
    decision: Decision | None
    rebuilt: bool = False
    note: str = ""

    @property
    def old(self) -> tuple[str, str]:
        """Verdict and rule as they were."""
        return self.recorded.verdict.decision, next(iter(self.recorded.verdict.rule_ids), "")

    @property
    def new(self) -> tuple[str, str]:
        """Verdict and rule as they would be."""
        found = self.decision
        return (found.verdict.value, next(iter(found.rule_ids), "")) if found is not None else ("?", "")

    @property
    def changed(self) -> bool:
        """Whether the verdict would be another one."""
        return self.decision is not None and self.old[0] != self.new[0]


class Recall:
    """Reads a log's events in order and gives each intent together with the policy's verdict on it."""

    def __init__(self) -> None:
        self._runs: dict[str, Run] = {}
        self._open: dict[str, tuple[Event, IntentRecorded, Run]] = {}

    def take(self, event: Event) -> Recorded | None:
        """The next event of the log; what it completes. Total over every event."""
        payload, before = event.payload, self._runs.get(event.run)
        if isinstance(payload, IntentRecorded) and before is not None:
            self._open[event.id] = (event, payload, before)
        found = None
        if isinstance(payload, VerdictGiven) and "supersedes" not in event.refs:
            asked = self._open.pop(event.refs.get("intent", ""), None)
            found = _recorded(event, payload, *asked) if asked is not None else None
        self._follow(event, before)
        return found

    def _follow(self, event: Event, before: Run | None) -> None:
        if event.kind in ("log.open", "policy.set", "recover"):
            return
        if isinstance(event.payload, RunClosed):
            self._runs.pop(event.run, None)
            return
        if before is not None or event.kind == "run.open":
            self._runs[event.run] = evolve(before, event).run


def redecide(bundle: Bundle, recorded: Recorded) -> Row:
    """What `bundle` says to a recorded intent."""
    verdict, tool = recorded.verdict, recorded.tool
    if not verdict.evaluator.startswith("helm-policy/"):
        return Row(recorded, None, note=f"refused before the policy counted: {verdict.reason_code}")
    if verdict.reason_code in _FORM and not verdict.rule_ids and set(recorded.inputs or ()) <= {"tool"}:
        return Row(recorded, None, note=f"refused for its form: {verdict.reason_code}")
    effect = _FORCED.get(recorded.request.tool) or bundle.effect_class(tool)
    if bundle.effect_class(tool) is None or effect is None:
        return Row(recorded, decide_again(bundle, {"tool": tool}, None))
    return _from_reads(bundle, recorded, effect)


def _from_reads(bundle: Bundle, recorded: Recorded, effect: EffectClass) -> Row:
    inputs: dict[str, Json] = {"tool": recorded.tool}
    notes: list[str] = []
    rebuilt = False
    for name, fields in sorted(bundle.plan(recorded.tool).reads.items()):
        if name == "tool":
            continue
        if name == "effect_class":
            inputs[name] = effect.value
            continue
        known = _known(recorded, name, fields)
        if known is None:
            lacking = _lacking(recorded, name)
            if lacking:
                return Row(recorded, None, note=f"the bundle reads {name}, and {lacking}")
            known = (input_value(name, fields, recorded.request, effect),)
            rebuilt = True
            if name in _NEEDS_CWD and "cwd" not in (recorded.inputs or {}):
                notes.append(f"{name}: in {WORKSPACE}, as the folder was not recorded")
        inputs[name] = known[0]
    if "grants" in (recorded.inputs or {}):
        inputs = joined_inputs(recorded.inputs or {}, inputs)  # grants that were tried may answer again
    return Row(recorded, decide_again(bundle, inputs, effect), rebuilt, "; ".join(notes))


def _known(recorded: Recorded, name: str, fields: frozenset[str] | None) -> tuple[Json] | None:
    """What was recorded of a variable, when it is all that the bundle reads of it."""
    held = recorded.inputs or {}
    if name not in held:
        return None
    value = held[name]
    if name not in FIELDS:
        return (value,)
    wanted = fields if fields is not None else FIELDS[name]
    if wanted is None:
        return (value,) if name == "args" and recorded.args is not None and value == recorded.args else None
    lacking = wanted - set(value)
    if name == "args" and recorded.args is not None:
        lacking &= set(recorded.args)
    return None if lacking else ({key: value[key] for key in sorted(wanted) if key in value},)


def _lacking(recorded: Recorded, name: str) -> str:
    """Why a variable cannot be put together again; empty when it can."""
    if name in _NEEDS_ARGS and recorded.args is None:
        return "the arguments are not kept whole in the log"
    listed = name == "egress_listed" and recorded.tool == "egress"
    if name in _NEVER_REBUILT or (name in _NEEDS_PLACE and (recorded.tool == "WebFetch" or listed)):
        return "it was not recorded"
    return ""


def _recorded(event: Event, verdict: VerdictGiven, asked: Event, intent: IntentRecorded, run: Run) -> Recorded:
    inputs = _json(event, "inputs")
    args = _json(asked, "args")
    held = inputs if isinstance(inputs, dict) else None
    return Recorded(
        seq=event.seq,
        ts=event.ts,
        run=run.id,
        run_no=run.no,
        policy=run.policy,
        action=intent.action_id,
        tool=intent.tool,
        target=intent.target,
        verdict=verdict,
        inputs=held,
        args=args if isinstance(args, dict) else None,
        request=_request(asked, intent, run, args, held or {}),
    )


def _request(asked: Event, intent: IntentRecorded, run: Run, args: Json, held: Mapping[str, Any]) -> Request:
    path = tuple(intent.requested_by.split("/"))
    place = args if intent.door == "egress" and isinstance(args, dict) else {}
    host, port = place.get("host"), place.get("port")
    return Request(
        tool=intent.tool,
        args=args if isinstance(args, dict) else {},
        run=RunFacts(run.id, run.no, run.title),
        now=asked.ts,
        agent=AgentFacts(asked.actor.id, path[-1], len(path) - 1, path),
        blueprint={"name": run.blueprint},
        budget=BudgetFacts(run.spent_micro, run.held_micro, run.budget_micro),
        host=host if isinstance(host, str) else "",
        port=port if isinstance(port, int) else 0,
        grade=Grade(intent.grade),
        evidence=evidence_view(run.evidence),
        cwd=str(held.get("cwd", WORKSPACE)),
    )


def _json(event: Event, name: str) -> Json:
    """A recorded content as JSON; None where it was withheld, cut, or is no JSON."""
    content = event.contents.get(name)
    if content is None or content.data is None or content.redacted or content.truncated_from:
        return None
    try:
        return strict_loads(content.data, max_bytes=MAX_ARGS)
    except InvalidInput:
        return None
