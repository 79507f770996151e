"""One event of a run as one line for people. An event that is not known here still shows, by its name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from rich.text import Text

from app.cli.output import clock, money, safe

Body: TypeAlias = Mapping[str, Any]
_LONG: Final = 240
_MARKS: Final = {"ALLOW": ("✓", "green"), "DENY": ("✗", "red"), "ESCALATE": ("?", "bold yellow")}
_ENDS: Final = {"complete": "finished", "failed": "failed", "cancelled": "stopped", "interrupted": "interrupted"}


@dataclass(slots=True)
class Lines:
    """Draws events in order; it remembers what each action was called."""

    names: dict[str, str] = field(default_factory=dict)
    doors: dict[str, str] = field(default_factory=dict)

    def line(self, event: Mapping[str, Any]) -> Text | None:
        """The event's line, or None for one that says nothing to people by itself."""
        body = event.get("body", {})
        draw = _DRAW.get(str(event.get("name")))
        told = (str(event.get("name")), "dim") if draw is None else draw(self, event, body)
        if told is None:
            return None
        words, style = told
        line = Text(f"{clock(event.get('ts'))}  ", style="dim")
        line.append(safe(words, 400), style=style)
        return line

    def name_of(self, body: Body) -> str:
        """The tool and target of the action that an event is about."""
        return self.names.get(str(body.get("action_id")), "an action")

    def hidden(self, body: Body) -> bool:
        """Model calls and the like happen all the time: they show only when they are refused."""
        return self.doors.get(str(body.get("action_id"))) == "model"


Told: TypeAlias = "tuple[str, str] | None"
Draw: TypeAlias = Callable[[Lines, Mapping[str, Any], Body], Told]


def _created(lines: Lines, event: Mapping[str, Any], body: Body) -> Told:
    return f"run #{body['run_no']} {body['title']} ({body['blueprint']}, {body['model']})", "bold"


def _started(lines: Lines, event: Mapping[str, Any], body: Body) -> Told:
    return f"container {str(body['container'])[:12]} started", "dim"


def _connected(lines: Lines, event: Mapping[str, Any], body: Body) -> Told:
    return "the agent is ready" if body["lease"] == 1 else "the agent is back", "dim"


def _interrupted(lines: Lines, event: Mapping[str, Any], body: Body) -> Told:
    return f"interrupted: {body['message']}", "yellow"


def _parked(lines: Lines, event: Mapping[str, Any], body: Body) -> Told:
    if body["reason"] == "slot":
        return "it can go on, and waits for a free slot", "yellow"
    return "parked: all of it waits for you; its slot is free for others", "yellow"


def _said(lines: Lines, event: Mapping[str, Any], body: Body) -> Told:
    who = f"{body['agent']}: " if body.get("agent") else ""
    return f"“{who}{safe(event.get('text', ''), _LONG)}”", ""


def _spawned(lines: Lines, event: Mapping[str, Any], body: Body) -> Told:
    return f"sub-agent {body['agent_type']} begins", "cyan"


def _agent_ended(lines: Lines, event: Mapping[str, Any], body: Body) -> Told:
    return f"sub-agent {body['agent_type']} ended", "cyan"


def _intent(lines: Lines, event: Mapping[str, Any], body: Body) -> Told:
    action = str(body["action_id"])
    target = safe(body.get("target", ""), 120)
    lines.names[action] = f"{body['tool']} {target}".strip()
    lines.doors[action] = str(body.get("door"))
    return None


def _verdict(lines: Lines, event: Mapping[str, Any], body: Body) -> Told:
    decision = str(body["decision"])
    if lines.hidden(body) and decision == "ALLOW":
        return None
    mark, style = _MARKS.get(decision, ("✗", "red"))
    rule = f" by {body['rule_ids'][0]}" if body.get("rule_ids") else ""
    return f"{mark} {decision} {lines.name_of(body)} ({body['reason_code']}{rule})", style


def _asked(lines: Lines, event: Mapping[str, Any], body: Body) -> Told:
    return f"waits for you: {body['title']}  [helm inbox allow {body['approval_id']}]", "bold yellow"


def _decided(lines: Lines, event: Mapping[str, Any], body: Body) -> Told:
    word = "allowed" if body["decision"] == "approve" else "denied"
    return f"{body['approver']} {word} it", "green" if word == "allowed" else "red"


def _outcome(lines: Lines, event: Mapping[str, Any], body: Body) -> Told:
    status = str(body["status"])
    action = str(body["action_id"])
    name, model = lines.names.pop(action, "an action"), lines.doors.pop(action, "") == "model"
    if model:
        usage = body.get("usage") or {}
        return (f"model call, {money(usage['cost_micro'])}", "dim") if usage.get("cost_micro") else None
    if status in ("executed", "refused"):
        return (f"  done {safe(name, 80)}", "dim") if status == "executed" else None
    return f"  {status} {safe(name, 80)}", "red"


def _controlled(lines: Lines, event: Mapping[str, Any], body: Body) -> Told:
    who = event.get("actor", {}).get("id", "somebody")
    if body["verb"] == "steer":
        return f"{who} says ({body['mode']}): {safe(event.get('text', ''), _LONG)}", "magenta"
    return f"{who}: {body['verb']}", "magenta"


def _noted(lines: Lines, event: Mapping[str, Any], body: Body) -> Told:
    return str(event.get("text", "")), {"error": "red", "warning": "yellow"}.get(str(body.get("level")), "dim")


def _retried(lines: Lines, event: Mapping[str, Any], body: Body) -> Told:
    return f"the model API failed ({body['error']}), attempt {body['attempt']}", "yellow"


def _closed(lines: Lines, event: Mapping[str, Any], body: Body) -> Told:
    status = end_of(body)
    reason = body.get("message") or body["reason_code"]
    style = "bold green" if status == "finished" else "bold red"
    return f"{status}: {reason}; {body['count']} receipts, {money(body['spent_micro'])}", style


def _silent(lines: Lines, event: Mapping[str, Any], body: Body) -> Told:
    return None


def _words(words: str, style: str = "dim") -> Draw:
    return lambda lines, event, body: (words, style)


def end_of(body: Body) -> str:
    """The status word of a closed run."""
    return _ENDS.get(str(body.get("status")), "failed")


_DRAW: Final[dict[str, Draw]] = {
    "run.created": _created,
    "run.started": _started,
    "runner.connected": _connected,
    "run.interrupted": _interrupted,
    "run.parked": _parked,
    "run.unparked": _words("goes on again, in a slot", "cyan"),
    "run.noted": _noted,
    "run.resulted": _silent,
    "run.closed": _closed,
    "turn.started": _silent,
    "turn.ended": _silent,
    "model.output": _said,
    "model.thinking": _silent,
    "agent.spawned": _spawned,
    "agent.ended": _agent_ended,
    "intent.recorded": _intent,
    "verdict.given": _verdict,
    "approval.requested": _asked,
    "approval.decided": _decided,
    "action.dispatched": _silent,
    "mcp.forwarded": _silent,
    "outcome.recorded": _outcome,
    "control.requested": _controlled,
    "steering.delivered": _words("  the message was delivered"),
    "steering.seen": _words("  the agent has seen the message", "magenta"),
    "api.retried": _retried,
}
