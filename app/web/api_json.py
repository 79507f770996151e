"""Runs, inbox items, blueprints and health as programs get them. Money in micro-dollars, times as in receipts."""

from __future__ import annotations

import json
from typing import Any

from app.domain.approval import Offer
from app.domain.blueprint import Blueprint
from app.domain.run import Action, Evidence, Run, Steering
from app.domain.standing import Grant, Notice, ToolPin
from app.domain.times import ms_of, text_of
from app.services.bulk import Bulk
from app.services.grants import Preview
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
        "parked": run.parked,
        "evidence": [evidence_json(proof) for _, proof in sorted(run.evidence.items())],
        "owed": dict(run.owed),
        "first_seq": run.opened_seq,
        "last_seq": run.last_seq,
    }


def evidence_json(proof: Evidence) -> dict[str, Any]:
    """A proof beside a run."""
    return {"kind": proof.kind, "ref": proof.ref, "digest": proof.digest, "by": proof.by, "at": proof.ts}


def item_json(action: Action, title: str, offer: Offer) -> dict[str, Any]:
    """An item of the inbox: a question, or an outcome that nobody knows. `available` is what can be answered now by who
    asks; where allowing is not among it, `blocked` says why."""
    unknown = action.status == "unknown"
    return {
        "key": item_key(action),
        "kind": "permission" if action.approval and not unknown else "unknown",
        "approval": action.approval,
        "action": action.id,
        "run": action.run,
        "run_title": title,
        "title": action.title or action.target,
        "tool": action.tool,
        "target": action.target,
        "effect_class": action.effect_class,
        "agent": action.agent,
        "risk": action.risk,
        "rule": action.rule,
        "reason_code": action.reason_code,
        "message": action.message,
        "grade": action.grade,
        "args_digest": action.args,
        "opened": action.opened_ts,
        "expires": action.expires,
        "seq": action.request_seq or action.opened_seq,
        "available": ["dismiss"] if unknown else list(offer.choices),
        **_terms_json(action, offer),
        "state": answer_state(action).value if action.approval else action.status,
        "answer": answer_word(action) or action.answer,
        "answered_by": action.answered_by,
        "answered": action.answered_ts,
        "reason": action.answer_reason,
        "receipt_id": action.outcome or action.dispatch or action.verdict,
    }


def _terms_json(action: Action, offer: Offer) -> dict[str, Any]:
    """What an answer needs, what it is bound to, and what it gave."""
    return {
        "blocked": offer.blocked,
        "not_before": action.not_before,
        "proof": action.proof,
        "quorum": action.quorum,
        "approvals": list(action.approvals),
        "roles": list(action.roles),
        "not_requester": action.not_requester,
        "obligations": list(action.obligations),
        "files": [{"path": mark.path, "state": mark.state, "digest": mark.digest or ""} for mark in action.files],
        "binding": action.binding,
        "edited": action.edited,
        "scope": action.scope,
        "grant": action.grant,
    }


def statement_json(statement: bytes) -> dict[str, Any]:
    """The bytes that are signed, as the text that they are, with what an answer must send back."""
    said = json.loads(statement)
    return {"statement": statement.decode("utf-8"), "challenge": said.get("challenge", ""), "at": said.get("at", "")}


def bulk_json(bulk: Bulk) -> dict[str, Any]:
    """A bulk answer: held until a time, then applied, or taken back before."""
    return {
        "id": bulk.id,
        "answer": bulk.answer,
        "ids": list(bulk.ids),
        "until": text_of(bulk.until_ms),
        "state": bulk.state,
        "results": dict(bulk.results),
    }


def grant_json(grant: Grant, now_ms: int) -> dict[str, Any]:
    """A grant and how it stands."""
    state = "standing" if grant.left else "used"
    if grant.revoked_by:
        state = "revoked"
    elif grant.left and ms_of(grant.expires) <= now_ms:
        state = "expired"
    return {
        "id": grant.id,
        "state": state,
        "run": grant.run,
        "scope": grant.scope,
        "blueprint": grant.blueprint,
        "workspace": grant.workspace,
        "tool": grant.tool,
        "rule": grant.rule,
        "pattern": grant.pattern,
        "uses": grant.uses,
        "used": grant.used,
        "left": grant.left if state == "standing" else 0,
        "by": grant.by,
        "given": grant.given_ts,
        "given_seq": grant.given_seq,
        "expires": grant.expires,
        "revoked_by": grant.revoked_by,
        "revoked": grant.revoked_ts,
    }


def preview_json(preview: Preview) -> dict[str, Any]:
    """What a pattern would have covered."""
    return {"matched": preview.matched, "looked_at": preview.looked_at, "examples": list(preview.examples)}


def notice_json(notice: Notice) -> dict[str, Any]:
    """A notice of the inbox."""
    return {
        "id": notice.id,
        "kind": notice.kind,
        "title": notice.title,
        "text": notice.text,
        "run": notice.run,
        "seq": notice.seq,
        "at": notice.ts,
    }


def tool_json(pin: ToolPin) -> dict[str, Any]:
    """A pinned tool."""
    return {
        "server": pin.server,
        "tool": pin.tool,
        "state": pin.state,
        "digest": pin.digest,
        "drifted": pin.drifted,
        "quarantined": pin.quarantined,
        "seq": pin.seq,
        "at": pin.ts,
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
