"""Every way in which receipts that are well formed and well signed can contradict each other has its own code
(EVIDENCE 8, M45-M58 and M76-M92): the forger here holds every key and makes everything else right again."""

from __future__ import annotations

import pickle
from collections.abc import Callable

import pytest
from app.domain.canonical import b64, canonical_bytes, strict_loads, unb64
from app.domain.events import Draft, Local
from app.domain.logcheck import LogCheck
from app.domain.receipt import POLICY, Actor, genesis_prev, receipt_id
from app.domain.times import text_of

from tests.log_kit import (
    AGENT,
    ANA,
    HOUR_MS,
    START_MS,
    TRUSTED,
    Fields,
    Pen,
    answer,
    at,
    check,
    created,
    dispatch,
    intent,
    note,
    opened,
    outcome,
    question,
    rewrite,
    sealed_args,
    story,
    verdict,
)

STORY = story()
LINES = STORY.lines
BOB = Actor("human", "bob", "client")
OTHER_LOG = "helm.local/log/" + "cd" * 16

Lines = list[bytes]
Mutation = Callable[[], Lines]
CASES: dict[str, tuple[Mutation, set[str]]] = {}


def case(*codes: str) -> Callable[[Mutation], Mutation]:
    """Register a mutation and the codes that must be among the errors."""

    def register(mutation: Mutation) -> Mutation:
        CASES[mutation.__name__] = mutation, set(codes)
        return mutation

    return register


def base() -> Pen:
    """A log with one open run."""
    pen = Pen()
    pen.write("_sys", Draft(opened()))
    pen.write("r1", Draft(created(1), ANA))
    return pen


def changed(kind: str, action: str = "", n: int = 0, **body: object) -> Lines:
    return rewrite(LINES, lambda bodies: at(bodies, kind, action, n)["body"].update(body))


# --- chain -----------------------------------------------------------------------------------------------------------


@case("E_SEQ_GAP", "E_RUN_SEQ", "E_RUN_PREV")
def m45_delete_middle_receipt() -> Lines:
    return [*LINES[:5], *LINES[6:]]


@case("E_PREFIX_ROOT")
def m46_delete_and_renumber_resigned() -> Lines:
    def change(bodies: list[Fields]) -> list[Fields]:
        return [body for body in bodies if body["kind"] != "control"]

    return rewrite(LINES, change, keep=("root",))


@case("E_SEQ_ORDER")
def m47_swap_two_receipts() -> Lines:
    return [*LINES[:5], LINES[6], LINES[5], *LINES[7:]]


@case("E_SEQ_DUP")
def m48_duplicate_receipt() -> Lines:
    return [*LINES[:6], *LINES[5:]]


@case("E_PREFIX_ROOT", "E_SEQ_DUP", "E_RUN_PREV")
def m49_insert_forged_with_the_key() -> Lines:
    def extra(bodies: list[Fields]) -> list[Fields]:
        return [*bodies[:7], {**bodies[-1], "run": "r1", "_id": ""}]

    forged = rewrite(LINES, extra)[-1]
    return [*LINES[:7], forged, *LINES[7:]]


@case("E_RUN_SEQ", "E_RUN_PREV")
def m50_transplant_receipt_from_other_run() -> Lines:
    moved = ("run_seq", "prev", "lamport")
    return rewrite(LINES, lambda bodies: at(bodies, "intent", "act4").update(run="r1", _keep=moved))


@case("E_RUN_GENESIS", "E_RUN_SEQ")
def m50b_receipt_starts_a_run_of_its_own() -> Lines:
    return rewrite(LINES, lambda bodies: bodies[-1].update(run="r9", _keep=("prev",)))


@case("E_LOG_MISMATCH")
def m51_transplant_from_other_log() -> Lines:
    return rewrite(LINES, lambda bodies: bodies[7].update(log=OTHER_LOG))


@case("E_RUN_GENESIS")
def m52_run_genesis_prev_altered() -> Lines:
    prev = genesis_prev(OTHER_LOG, "r1")
    return rewrite(LINES, lambda bodies: at(bodies, "run.open").update(prev=prev, _keep=("prev",)))


@case("E_RUN_AFTER_CLOSE")
def m53_append_after_run_close() -> Lines:
    return rewrite(LINES, lambda bodies: bodies[-1].update(run="r1"))


@case("E_CLOSE_COUNT")
def m54_close_count_wrong() -> Lines:
    return changed("run.close", count=3)


@case("E_CLOSE_COUNT")
def m54b_close_totals_wrong() -> Lines:
    return changed("run.close", spent_micro=99)


@case("E_LAMPORT")
def m55_lamport_regress() -> Lines:
    return rewrite(LINES, lambda bodies: bodies[8].update(lamport=1, _keep=("lamport",)))


@case("E_REF_MISSING", "E_REF_FORWARD")
def m56_forward_reference() -> Lines:
    pen = base()
    pen.write("r1", Draft(intent("a", args=sealed_args("a")), AGENT))
    pen.write("r1", Draft(verdict("a", "ALLOW"), POLICY, {"intent": receipt_id(pen.lines[2])}))
    # The later one is signed first; so it cannot know the root over the one that refers to it.
    first, later = pen.lines[2:]
    ahead = rewrite([*pen.lines[:2], later], lambda bodies: bodies[-1]["refs"].update(intent=receipt_id(first)))
    return [*ahead, first]


@case("E_REF_KIND")
def m57_reference_wrong_kind() -> Lines:
    def change(bodies: list[Fields]) -> None:
        given = at(bodies, "verdict", "act1")
        at(bodies, "dispatch", "act1")["refs"]["intent"] = given["_id"]

    return rewrite(LINES, change)


@case("E_PREFIX_ROOT")
def m58_wrong_prefix_root_in_body() -> Lines:
    root = "sha256:" + "e" * 64
    return rewrite(LINES, lambda bodies: bodies[9].update(root=root, _keep=("root",)))


@case("E_RUN_NO_GAP")
def m74_whole_run_removed_and_resequenced() -> Lines:
    return rewrite(LINES, lambda bodies: [body for body in bodies if body["run"] != "r2"])


@case("E_RUN_MIXED")
def m_a_runs_receipt_in_the_logs_own_chain() -> Lines:
    return rewrite(LINES, lambda bodies: bodies[-1].update(run="_sys"))


@case("E_LOG_MISMATCH")
def m_log_opened_twice() -> Lines:
    return rewrite(LINES, lambda bodies: [*bodies, {**bodies[0], "_id": ""}])


@case("E_RUN_SEQ")
def m_run_opened_twice() -> Lines:
    return rewrite(LINES, lambda bodies: [*bodies, {**at(bodies, "run.open", n=2), "_id": ""}])


# --- actions ---------------------------------------------------------------------------------------------------------


@case("E_ACT_DENIED_DISPATCHED")
def m76_deny_verdict_then_dispatch() -> Lines:
    return changed("verdict", "act1", decision="DENY")


@case("E_ACT_DENIED_DISPATCHED", "E_ACT_NO_VERDICT")
def m76b_dispatch_while_a_person_is_asked() -> Lines:
    def change(bodies: list[Fields]) -> list[Fields]:
        return [
            body
            for body in bodies
            if body["kind"] != "approval.decision" and body is not at(bodies, "verdict", "act3", 1)
        ]

    return rewrite(LINES, change)


@case("E_ACT_NO_VERDICT")
def m76c_dispatch_without_a_verdict() -> Lines:
    return rewrite(LINES, lambda bodies: [b for b in bodies if b is not at(bodies, "verdict", "act1")])


@case("E_ACT_VERDICT_DIGEST")
def m78_outcome_points_to_superseded_verdict() -> Lines:
    def change(bodies: list[Fields]) -> None:
        at(bodies, "outcome", "act3")["refs"]["verdict"] = at(bodies, "verdict", "act3", 0)["_id"]

    return rewrite(LINES, change)


@case("E_ACT_VERDICT_DIGEST")
def m78b_a_decided_action_is_decided_again() -> Lines:
    def change(bodies: list[Fields]) -> list[Fields]:
        given = at(bodies, "verdict", "act1")
        again = {**given, "refs": {**given["refs"], "supersedes": given["_id"]}, "_id": ""}
        where = bodies.index(given)
        return [*bodies[: where + 1], again, *bodies[where + 1 :]]

    return rewrite(LINES, change)


@case("E_ACT_ARGS_MISMATCH")
def m79_args_commitment_differs_intent_vs_dispatch() -> Lines:
    return changed("dispatch", "act1", args_digest=sealed_args("other").digest)


@case("E_ACT_EXPIRED")
def m80_dispatch_after_verdict_expiry() -> Lines:
    return changed("verdict", "act1", expires=text_of(START_MS - 1))


@case("E_ACT_DUP_OUTCOME")
def m81_second_outcome_for_dispatch() -> Lines:
    return rewrite(LINES, lambda bodies: doubled(bodies, at(bodies, "outcome", "act1")))


@case("E_ACT_DUP_OUTCOME")
def m81b_second_outcome_for_a_refusal() -> Lines:
    return rewrite(LINES, lambda bodies: doubled(bodies, at(bodies, "outcome", "act2")))


@case("E_ACT_OUTCOME_BEFORE_DISPATCH")
def m82_outcome_without_dispatch() -> Lines:
    return rewrite(LINES, lambda bodies: [b for b in bodies if b is not at(bodies, "dispatch", "act1")])


@case("E_ACT_OUTCOME_BEFORE_DISPATCH")
def m82b_executed_and_never_dispatched() -> Lines:
    return changed("outcome", "act2", status="executed")


@case("E_ACT_OUTCOME_BEFORE_DISPATCH")
def m82c_forwarded_after_the_outcome() -> Lines:
    def change(bodies: list[Fields]) -> None:
        first, second = bodies.index(at(bodies, "event")), bodies.index(at(bodies, "outcome", "act3"))
        bodies[first], bodies[second] = bodies[second], bodies[first]

    return rewrite(LINES, change)


@case("E_ACT_NO_OUTCOME")
def m83_orphan_dispatch_in_closed_run() -> Lines:
    return rewrite(LINES, lambda bodies: [b for b in bodies if b is not at(bodies, "outcome", "act1")])


@case("E_ACT_DUP_OUTCOME")
def m84_unknown_outcome_relabelled_executed_without_reconcile() -> Lines:
    def change(bodies: list[Fields]) -> list[Fields]:
        lost = at(bodies, "outcome", "act5")
        return doubled(bodies, {**lost, "body": {**lost["body"], "status": "executed"}}, beside=lost)

    return rewrite(LINES, change)


@case("E_ACT_DUP_DISPATCH")
def m_dispatched_twice() -> Lines:
    return rewrite(LINES, lambda bodies: doubled(bodies, at(bodies, "dispatch", "act1")))


@case("E_ACT_DUP_DISPATCH")
def m_released_effect_forwarded_twice() -> Lines:
    return rewrite(LINES, lambda bodies: doubled(bodies, at(bodies, "event")))


@case("E_ACT_DUP_INTENT")
def m_second_intent_of_one_key() -> Lines:
    return rewrite(LINES, lambda bodies: doubled(bodies, at(bodies, "intent", "act1")))


@case("E_ACT_NO_INTENT")
def m_verdict_on_another_action_than_its_intent() -> Lines:
    return changed("verdict", "act1", action_id="act2")


@case("E_ACT_NO_VERDICT")
def m_question_left_open_at_the_close() -> Lines:
    pen = base()
    pen.asked("r1", "a", "apr")
    pen.close("r1", calls=1)
    return pen.lines


@case("E_POLICY_DIGEST")
def m93_policy_that_nobody_announced() -> Lines:
    return changed("verdict", "act1", policy_digest="sha256:" + "9" * 64)


def doubled(bodies: list[Fields], again: Fields, beside: Fields | None = None) -> list[Fields]:
    where = bodies.index(beside or again) + 1
    return [*bodies[:where], {**again, "_id": ""}, *bodies[where:]]


# --- approvals -------------------------------------------------------------------------------------------------------


def restated(**said: object) -> Lines:
    def change(bodies: list[Fields]) -> None:
        body = at(bodies, "approval.decision")["body"]
        statement = strict_loads(unb64(body["statement"]), max_bytes=10_000)
        body["statement"] = b64(canonical_bytes({**statement, **said}))

    return rewrite(LINES, change)


@case("E_APPR_BINDING")
def m85_approval_for_other_intent_replayed() -> Lines:
    pen = base()
    first, second = pen.asked("r1", "a", "apr_a"), pen.asked("r1", "b", "apr_b")
    pen.write("r1", Draft(answer(first[2], sealed_args("b").digest, at_ms=pen.ms), ANA, {"request": second[2].id}))
    return pen.lines


@case("E_APPR_BINDING")
def m85b_allowed_by_the_answer_to_another_question() -> Lines:
    pen = base()
    first, second = pen.asked("r1", "a", "apr_a"), pen.asked("r1", "b", "apr_b")
    given = pen.approved("r1", "a", first)
    refs = {"intent": second[0].id, "supersedes": second[1].id, "request": first[2].id, "approval": given[0].id}
    pen.write("r1", Draft(verdict("b", "ALLOW"), POLICY, refs))
    return pen.lines


@case("E_APPR_BINDING")
def m85c_statement_says_other_arguments() -> Lines:
    return restated(args=sealed_args("other").digest)


@case("E_APPR_BINDING")
def m85d_statement_says_the_opposite() -> Lines:
    return restated(decision="deny")


@case("E_APPR_BINDING")
def m85e_statement_is_no_json() -> Lines:
    return changed("approval.decision", statement=b64(b"\xff{"))


@case("E_APPR_BINDING")
def m85f_another_log_was_seen() -> Lines:
    def change(bodies: list[Fields]) -> None:
        at(bodies, "approval.decision")["body"]["seen"]["root"] = "sha256:" + "d" * 64

    return rewrite(LINES, change)


@case("E_APPR_BINDING")
def m85g_dispatched_without_naming_the_answer() -> Lines:
    return rewrite(LINES, lambda bodies: at(bodies, "dispatch", "act3")["refs"].pop("approval") and None)


@case("E_APPR_REPLAY")
def m86_approval_nonce_reused() -> Lines:
    pen = base()
    pen.asked("r1", "a", "same")
    pen.write(
        "r1",
        Draft(intent("b", args=sealed_args("b")), AGENT),
        Draft(verdict("b", "ESCALATE"), POLICY, {"intent": Local(0)}),
        Draft(question("b", "same"), refs={"intent": Local(0), "verdict": Local(1)}),
    )
    return pen.lines


@case("E_APPR_REPLAY")
def m86b_answered_twice() -> Lines:
    return rewrite(LINES, lambda bodies: doubled(bodies, at(bodies, "approval.decision")))


@case("E_APPR_SIG")
def m87_proof_that_nobody_can_read() -> Lines:
    return changed("approval.decision", proof={"type": "sshsig", "data": "AAAA"})


@case("E_APPR_QUORUM")
def m89_quorum_2_met_by_one_person() -> Lines:
    pen = base()
    pen.approved("r1", "a", pen.asked("r1", "a", "apr", quorum=2))
    return pen.lines


@case("E_APPR_QUORUM")
def m89b_quorum_2_met_by_the_same_person_twice() -> Lines:
    pen = base()
    pen.approved("r1", "a", pen.asked("r1", "a", "apr", quorum=2), ANA, ANA)
    return pen.lines


@case("E_APPR_QUORUM")
def m89c_allowed_though_it_was_denied() -> Lines:
    def change(bodies: list[Fields]) -> None:
        body = at(bodies, "approval.decision")["body"]
        statement = strict_loads(unb64(body["statement"]), max_bytes=10_000)
        body.update(decision="deny", statement=b64(canonical_bytes({**statement, "decision": "deny"})))

    return rewrite(LINES, change)


@case("E_APPR_TIMELOCK")
def m90_approved_before_timelock() -> Lines:
    return changed("approval.request", not_before=text_of(START_MS + HOUR_MS))


@case("E_APPR_EXPIRED")
def m91_approval_after_expiry() -> Lines:
    return changed("approval.request", expires=text_of(START_MS - 1))


@case("E_APPR_EXPIRED")
def m91b_recorded_long_after_the_expiry_and_dated_back() -> Lines:
    def change(bodies: list[Fields]) -> None:
        late = bodies.index(at(bodies, "approval.decision"))
        for body in bodies[late:]:
            body["ts"] = text_of(START_MS + 2 * HOUR_MS)

    return rewrite(LINES, change)


@case("E_APPR_SELF")
def m92_requester_self_approves() -> Lines:
    return rewrite(LINES, lambda bodies: at(bodies, "approval.decision").update(actor=at(bodies, "intent")["actor"]))


@pytest.mark.parametrize("name", CASES)
def test_a_contradiction_is_named(name: str) -> None:
    mutation, codes = CASES[name]
    report = check(mutation())
    assert not report.ok
    assert codes <= report.error_counts.keys()


def test_a_rewritten_history_is_right_again_unless_it_is_changed() -> None:
    assert check(rewrite(LINES, lambda bodies: None)).ok


def test_two_people_meet_a_quorum_of_two() -> None:
    pen = base()
    pen.approved("r1", "a", pen.asked("r1", "a", "apr", quorum=2), ANA, BOB)
    assert check(pen.lines).ok


def test_a_failed_attempt_may_be_followed_by_another() -> None:
    pen = base()
    args = sealed_args("a")
    refs = {"intent": Local(0), "verdict": Local(1)}
    pen.write(
        "r1",
        Draft(intent("a", args=args), AGENT),
        Draft(verdict("a", "ALLOW"), POLICY, {"intent": Local(0)}),
        Draft(dispatch("a", args.digest), refs=refs),
        Draft(outcome("a", "failed"), refs={**refs, "dispatch": Local(2)}),
        Draft(dispatch("a", args.digest, attempt=2), refs=refs),
        Draft(outcome("a"), refs={**refs, "dispatch": Local(4)}),
    )
    assert check(pen.lines).ok


def test_m114_a_clock_that_steps_back_is_a_warning() -> None:
    pen = base()
    pen.ms -= 10_000
    pen.write("r1", Draft(note()))
    report = check(pen.lines)
    assert report.ok and report.warning_counts["W_CLOCK_BACKWARDS"] == 1


def test_a_time_that_nobody_saw_is_a_warning() -> None:
    def change(bodies: list[Fields]) -> None:
        at(bodies, "approval.decision")["body"]["seen"]["size"] = 3

    report = check(rewrite(LINES, change))
    assert report.ok and report.warning_counts["W_APPR_SEEN_UNCHECKED"] == 1


def test_what_is_kept_of_a_closed_run_is_its_name() -> None:
    pen = base()
    for number in range(60):
        pen.allowed("r1", f"act{number}", cost=1)
    pen.close("r1", spent=60, tokens_in=13 * 60, tokens_out=5 * 60, calls=60)
    check = LogCheck(TRUSTED)
    for seq, line in enumerate(pen.lines):
        check.feed(seq, line)
    assert check.finish().ok
    assert len(pickle.dumps(check)) < 8_000
