"""Runs, inbox items, blueprints and health as programs get them. Money in micro-dollars, times as in receipts."""

from __future__ import annotations

from typing import Any

from app.domain.blueprint import Blueprint
from app.domain.run import Action, Run, Steering
from app.services.health import HealthReport
from app.services.people_port import ApiToken
from app.web.action_rows import answer_state, answer_word
from app.web.run_views import item_key


def run_json(run: Run) -> dict[str, Any]:
    """A run as its events tell it."""
    return {
        "id": run.id,
        "no": run.no,
        "title": run.title,
        "status": run.status,
        "blueprint": run.blueprint,
        "agent": run.agent,
        "model": run.model,
        "policy": run.policy,
        "policy_digest": run.policy_digest,
        "by": run.by,
        "opened": run.opened_ts,
        "heard": run.last_ts,
        "closed": run.closed_ts,
        "reason_code": run.reason_code,
        "message": run.message,
        "turn": run.turn,
        "budget_micro": run.budget_micro,
        "spent_micro": run.spent_micro,
        "reserved_micro": max(0, run.held_micro),
        "input_tokens": run.input_tokens,
        "output_tokens": run.output_tokens,
        "tool_calls": run.tool_calls,
        "denied": run.denied,
        "unknown": run.unknown,
        "waiting": [action.approval for action in run.waiting()],
        "first_seq": run.opened_seq,
        "last_seq": run.last_seq,
    }


def item_json(action: Action, title: str) -> dict[str, Any]:
    """An item of the inbox: a question, or an outcome that nobody knows. `available` is what can be answered now."""
    waiting = action.state == "waiting"
    return {
        "key": item_key(action),
        "kind": "permission" if action.approval and action.status != "unknown" else "unknown",
        "approval": action.approval,
        "action": action.id,
        "run": action.run,
        "run_title": title,
        "title": action.title or action.target,
        "tool": action.tool,
        "target": action.target,
        "agent": action.agent,
        "risk": action.risk,
        "rule": action.rule,
        "reason_code": action.reason_code,
        "grade": action.grade,
        "args_digest": action.args,
        "opened": action.opened_ts,
        "expires": action.expires,
        "seq": action.request_seq or action.opened_seq,
        "available": ["allow", "deny"] if waiting else ["dismiss"] if action.status == "unknown" else [],
        "state": answer_state(action).value if action.approval else action.status,
        "answer": answer_word(action) or action.answer,
        "answered_by": action.answered_by,
        "answered": action.answered_ts,
        "reason": action.answer_reason,
        "receipt_id": action.outcome or action.dispatch or action.verdict,
    }


def steering_json(message: Steering) -> dict[str, Any]:
    """A message and how far it has come."""
    return {
        "id": message.id,
        "mode": message.mode,
        "by": message.by,
        "state": message.state,
        "queued_seq": message.queued_seq,
        "delivered_seq": message.delivered_seq,
        "seen_seq": message.seen_seq,
    }


def blueprint_json(plan: Blueprint) -> dict[str, Any]:
    """A blueprint whole, with its digest."""
    payload: dict[str, Any] = plan.payload()
    return {**payload, "digest": plan.digest}


def health_json(report: HealthReport) -> dict[str, Any]:
    """The state of every part; empty texts mean well."""
    return {
        "ok": report.ok,
        "ledger": report.ledger,
        "door": report.door,
        "policies": report.policies,
        "engine": {
            "ok": report.engine.ok,
            "version": report.engine.version,
            "reason": report.engine.reason,
            "remedy": report.engine.remedy,
        },
        "providers": dict(report.providers),
        "version": report.version,
        "log": report.log,
        "size": report.size,
    }


def token_json(token: ApiToken) -> dict[str, Any]:
    """An API token without its secret."""
    return {"id": token.id, "name": token.name, "created_ms": token.created_ms, "seen_ms": token.seen_ms}
