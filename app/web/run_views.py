"""A run and its actions as the views of lists, headers and cards. Pure: what must be read is read by the callers."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from app.domain.approval import Answerer, offer
from app.domain.events import Event
from app.domain.run import Action, Run
from app.domain.standing import Freeze, Standing
from app.web.action_rows import LEAD, answer_state, answer_word, at, remedy_of, status_of
from app.web.rows import AnswerState, SteerMode, Tone
from app.web.text import span
from app.web.views import Answer, Card, EvidenceTab, InboxItem, ItemKind, Money, RunHead, RunRow
from app.web.views_gate import Ceremony, EvidenceNote, FrozenNote, Owed

HOUR_MS: Final = 3_600_000
_COST: Final = {
    "irreversible": "cannot be undone",
    "high": "high risk",
    "medium": "medium risk",
    "low": "low risk",
}


def money_of(run: Run) -> Money:
    """What a run has spent, what is reserved, and its cap."""
    return Money(run.spent_micro, max(0, run.held_micro), run.budget_micro)


def name_of(run: Run) -> str:
    """What people call a run."""
    return run.title or f"Run {run.no}"


def head_of(run: Run, task: str, standing: Standing | None = None) -> RunHead:
    """The header of a run's page. Steering is offered while an agent can still read it."""
    waiting = run.waiting()
    steerable = run.live and not run.stopping and not run.interrupted
    says, todo = state_words(run)
    freeze = standing.frozen(run.id, run.blueprint) if standing is not None and run.live else None
    return RunHead(
        run_id=run.id,
        name=name_of(run),
        task=task,
        blueprint=run.blueprint,
        status=status_of(run),
        money=money_of(run),
        started_ms=at(run.opened_ts),
        ended_ms=at(run.closed_ts) or None,
        heard_ms=at(run.last_ts),
        can_stop=run.live and not run.stopping,
        modes=(SteerMode.QUEUE, SteerMode.STEER, SteerMode.INTERRUPT) if steerable else (),
        approval=waiting[0].approval if waiting else "",
        says=says,
        todo=todo,
        unknown=run.unknown,
        frozen=frozen_note(freeze, name_of(run)) if freeze is not None else None,
    )


def with_proofs(tab: EvidenceTab, run: Run) -> EvidenceTab:
    """The tab with what was laid beside the run, and what the run owes."""
    attached = [EvidenceNote(one.kind, one.ref, one.by, at(one.ts), one.digest) for one in run.evidence.values()]
    owed = [Owed(name, action) for name, action in run.owed.items()]
    return replace(tab, attached=tuple(sorted(attached, key=lambda one: -one.at_ms)), owed=tuple(owed))


def state_words(run: Run) -> tuple[str, str]:
    """What happened to a run that does not go on by itself, and what a person can do; nothing for one that goes on."""
    match run.status:
        case "stopping":
            return "Its container is being killed.", "It counts as stopped only when all of it is gone."
        case "parked":
            if run.parked == "slot":
                return (
                    "It can go on, and waits for a free slot.",
                    "It goes on by itself as soon as a run ends or is parked.",
                )
            return (
                "All of it waits for you.",
                "Its container stands still and its slot is free. It goes on with the answer.",
            )
        case "interrupted":
            return sentence(run.message), "Nothing of it runs now. Stop it to close its log, or run it again."
        case "failed":
            return sentence(run.message or run.reason_code), remedy_of(run.reason_code)
        case "stopped":
            return sentence(run.message) or "A person stopped it.", "Its log stays."
        case "finished":
            return "The agent says that it is done.", "Its log stays."
        case _:
            return "", ""


def sentence(words: str) -> str:
    """Words with a stop at their end, so that others can follow."""
    bare = words.strip()
    return f"{bare}." if bare and bare[-1] not in ".!?…" else bare


def row_of(run: Run, task: str, now_ms: int) -> RunRow:
    """A line of the runs table."""
    needs, tone = _needs(run, now_ms)
    return RunRow(
        run_id=run.id,
        name=name_of(run),
        task=task,
        blueprint=run.blueprint,
        status=status_of(run),
        money=money_of(run),
        heard_ms=at(run.last_ts),
        needs=needs,
        needs_tone=tone,
    )


def _needs(run: Run, now_ms: int) -> tuple[str, Tone]:
    waiting = run.waiting()
    if waiting:
        words = f"{len(waiting)} permission{'s' if len(waiting) > 1 else ''}"
        soonest = min((at(action.expires) for action in waiting if action.expires), default=0)
        return (f"{words}, {span(soonest - now_ms)}" if soonest > now_ms else words), Tone.NEED
    if run.live and run.interrupted:
        return "Stop it or run it again", Tone.NEED
    if run.unknown:
        return f"Check {run.unknown} effect{'s' if run.unknown > 1 else ''}", Tone.NEED
    return (run.message[:200] if run.status == "failed" else ""), Tone.QUIET


def agent_path(action: Action) -> tuple[str, ...]:
    """Every agent from the lead down to the one that asks."""
    return tuple(name for name in action.agent.split("/") if name) or ("lead",)


def agent_words(action: Action) -> tuple[str, bool]:
    """The agent behind an action, and whether it is a sub-agent. `lead/researcher` is the researcher."""
    name = action.agent.rpartition("/")[2]
    return ("", False) if name in LEAD else (name, True)


def item_key(action: Action) -> str:
    """The key of an inbox item: its approval while somebody is asked, otherwise the action itself."""
    return action.approval if action.state == "waiting" else action.id


def item_of(action: Action, run: Run, now_ms: int) -> InboxItem:
    """A line of the inbox."""
    agent, _ = agent_words(action)
    expires = at(action.expires) or None
    if action.state != "waiting":
        title = f"Did it run? {action.title or action.target or action.tool}"
        return InboxItem(
            action.id,
            ItemKind.UNKNOWN,
            title,
            name_of(run),
            agent,
            _COST.get(action.risk, ""),
            "Outcome unknown",
            at(action.ended_ts or action.opened_ts),
            None,
            status_of(run),
        )
    soon = expires is not None and expires - now_ms < HOUR_MS
    group = "Expires soon" if soon else "Cannot be undone" if action.risk == "irreversible" else "When you can"
    return InboxItem(
        action.approval,
        ItemKind.PERMISSION,
        action.title or action.target,
        name_of(run),
        agent,
        _COST.get(action.risk, ""),
        group,
        at(action.opened_ts),
        expires,
        status_of(run),
        pickable=True,
    )


def sorted_items(actions: list[Action], now_ms: int) -> list[Action]:
    """By the cost of waiting: expires within the hour, cannot be undone, the rest, then unknown outcomes."""

    def cost(action: Action) -> tuple[int, int, int]:
        expires = at(action.expires)
        if action.state != "waiting":
            return 3, -action.opened_seq, 0
        if expires and expires - now_ms < HOUR_MS:
            return 0, expires, action.opened_seq
        return (1 if action.risk == "irreversible" else 2), expires, action.opened_seq

    return sorted(actions, key=cost)


def answer_of(action: Action, account: str) -> Answer:
    """What was answered and what became of it, for one person."""
    state = answer_state(action)
    return Answer(
        state=state,
        answer=answer_word(action),
        by=action.answered_by,
        at_ms=at(action.answered_ts) or None,
        reason=action.answer_reason,
        note=f"outcome {action.status}" if state is AnswerState.FAILED else "",
        mine=action.answered_by == account,
        how="edited" if action.edited else action.scope or "once",
    )


def foot_card(action: Action, run: Run, account: str, next_key: str = "") -> Card:
    """As much of a card as its foot draws."""
    return Card(
        key=action.approval or action.id,
        kind=ItemKind.PERMISSION,
        title=action.title or action.target,
        run_id=run.id,
        run_name=name_of(run),
        agent="",
        blueprint=run.blueprint,
        seq=action.request_seq or action.opened_seq,
        position=0,
        total=0,
        since_ms=at(action.opened_ts),
        money=money_of(run),
        expires_ms=at(action.expires) or None,
        answer=answer_of(action, account),
        next_key=next_key,
    )


def offered(card: Card, action: Action, run: Run, standing: Standing, who: Answerer, now_ms: int) -> Card:
    """The foot with what this person may do now, and why not more."""
    found = offer(action, run, standing, who, now_ms)
    return replace(
        card,
        available=found.choices,
        blocked=found.blocked,
        not_before_ms=at(found.not_before) or None,
        signs=found.proof == "key",
        ceremony=ceremony_of(action),
    )


def ceremony_of(action: Action) -> Ceremony | None:
    """What allowing takes beyond one press; None where one press is all."""
    waits = at(action.not_before) > at(action.opened_ts)
    plain = action.quorum == 1 and action.proof != "key" and not action.roles and not action.not_requester
    if action.state != "waiting" or (plain and not waits):
        return None
    return Ceremony(
        quorum=action.quorum,
        allowed_by=action.approvals,
        not_before_ms=at(action.not_before) if waits else None,
        signed=action.proof == "key",
        roles=action.roles,
        not_requester=action.not_requester,
        command=f"helm inbox allow {action.approval} --sign ~/.ssh/id_ed25519",
    )


def frozen_note(freeze: Freeze, name: str = "") -> FrozenNote:
    """A freeze in words; `name` is what people call the run that it is about."""
    what = {"all": "everything", "blueprint": f"blueprint {freeze.target}", "run": f"run {name or freeze.target}"}
    return FrozenNote(freeze.scope, freeze.target, what[freeze.scope], freeze.by, at(freeze.ts), freeze.reason)


def words_before(events: list[Event], agent: str) -> str:
    """The agent's own last words before an intent; "" where it said nothing."""
    for event in reversed(events):
        if event.name == "model.output" and getattr(event.payload, "agent", "") == agent:
            return event.text("text")[:1_000]
    return ""
