"""Signed answers under a forger who holds every key of the log, and none of its approvers': what they signed cannot be
moved, reused or left out, and keys cannot be slipped in (EVIDENCE 8: M30, M44, M85-M90, M97, M101)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from app.domain.approverkey import enrol_proof, enrol_statement
from app.domain.canonical import b64, canonical_bytes, strict_loads, unb64
from app.domain.content import SIGNED_ANSWER, SIGNED_ENROLMENT, Proof, Seen
from app.domain.events import Draft, Event, Local
from app.domain.ids import SYSTEM_RUN
from app.domain.payloads import ApprovalDecided
from app.domain.payloads_log import KeyAdded, KeyRevoked
from app.domain.receipt import POLICY, Actor, parse
from app.domain.signing import Signer
from app.domain.times import text_of

from tests.log_kit import (
    AGENT,
    ANA,
    HOUR_MS,
    LOG,
    SIGNER,
    START_MS,
    Fields,
    Pen,
    answer,
    at,
    check,
    created,
    dispatch,
    fields_of,
    intent,
    opened,
    outcome,
    question,
    rewrite,
    sealed_args,
    verdict,
)
from tests.passkey_kit import UP, SoftPasskey, eddsa
from tests.ssh_kit import PLAIN, SoftKey, armor, string

BOB = Actor("human", "bob", "client")
KEY, OTHER, TOKEN = SoftKey(Signer.of(b"a" * 32)), SoftKey(Signer.of(b"b" * 32)), SoftKey(Signer.of(b"c" * 32), "ssh:")
PASSKEY, EDDSA = SoftPasskey(), SoftPasskey(eddsa(), b"another")
CHALLENGE = b"c" * 32

Holder = SoftKey | SoftPasskey
Lines = list[bytes]


def id_of(key: Holder) -> str:
    return key.ssh.fingerprint if isinstance(key, SoftKey) else key.assertion(b"").key_id


def proof_of(key: Holder, statement: bytes, namespace: str = SIGNED_ANSWER) -> Proof:
    if isinstance(key, SoftKey):
        return Proof("sshsig", key.sign(statement, namespace))
    return Proof("webauthn", key.assertion(statement).text())


def added(key: Holder, account: str = "ana", log: str = LOG) -> KeyAdded:
    statement = enrol_statement(log, account, id_of(key), CHALLENGE)
    return KeyAdded(
        role=f"approver:{account}",
        key_type=key.ssh.type if isinstance(key, SoftKey) else "webauthn",
        key_id=id_of(key),
        public=b64(key.ssh.blob if isinstance(key, SoftKey) else key.public.cose),
        name="laptop",
        by=account,
        proof=enrol_proof(proof_of(key, statement, SIGNED_ENROLMENT), CHALLENGE),
    )


def begun(*keys: tuple[Holder, str]) -> Pen:
    """A log with these keys in it and one open run."""
    pen = Pen()
    pen.write(SYSTEM_RUN, Draft(opened()))
    for key, account in keys:
        pen.write(SYSTEM_RUN, Draft(added(key, account), Actor("human", account, "client")))
    pen.write("r1", Draft(created(1), ANA))
    return pen


def asked(pen: Pen, id: str = "a", **terms: Any) -> list[Event]:
    terms = {"proof": "key", **terms}
    return pen.write(
        "r1",
        Draft(intent(id, args=sealed_args(id), door="mcp"), AGENT),
        Draft(verdict(id, "ESCALATE"), POLICY, {"intent": Local(0)}),
        Draft(replace(question(id, f"apr_{id}"), **terms), refs={"intent": Local(0), "verdict": Local(1)}),
    )


def said(pen: Pen, events: list[Event], key: Holder | None, who: Actor = ANA, **other: Any) -> Draft:
    """An answer to a question, signed where there is a key."""
    seen = Seen(events[2].seq, parse(pen.lines[events[2].seq]).root)
    given = answer(events[2], events[0].payload.args.digest, by=who.id, at_ms=pen.ms, seen=seen)  # type: ignore[attr-defined]
    given = replace(given, **other)
    if key is not None:
        given = replace(given, proof=proof_of(key, unb64(given.statement)))
    return Draft(given, who, {"request": events[2].id})


def released(pen: Pen, events: list[Event], *answers: Draft, id: str = "a") -> Lines:
    """The answers, and what they released, to its end."""
    last = len(answers) - 1
    refs: dict[str, str | Local] = {"intent": events[0].id}
    given: dict[str, str | Local] = {"supersedes": events[1].id, "request": events[2].id, "approval": Local(last)}
    done = pen.write(
        "r1",
        *answers,
        Draft(verdict(id, "ALLOW"), POLICY, {**refs, **given}),
        Draft(
            dispatch(id, sealed_args(id).digest),
            refs={**refs, "verdict": Local(last + 1), "approval": Local(last)},
        ),
    )
    pen.write("r1", Draft(outcome(id), AGENT, {**refs, "verdict": done[-2].id, "dispatch": done[-1].id}))
    return pen.lines


def story(key: Holder, **terms: Any) -> Lines:
    pen = begun((key, "ana"), (OTHER, "bob"))
    events = asked(pen, **terms)
    return released(pen, events, said(pen, events, key))


STORY = story(KEY)


@pytest.mark.parametrize("key", [KEY, TOKEN, PASSKEY, EDDSA], ids=["ssh", "security key", "passkey", "eddsa passkey"])
def test_a_signed_answer_verifies_and_is_not_only_the_servers_word(key: Holder) -> None:
    report = check(story(key))
    assert report.ok, report.errors
    assert "W_APPR_OPERATOR_ASSERTED" not in report.warning_counts
    assert check(rewrite(story(key), lambda bodies: None)).ok


def test_a_denial_needs_no_key() -> None:
    pen = begun()
    events = asked(pen)
    denied = said(pen, events, None)
    payload = denied.payload
    assert isinstance(payload, ApprovalDecided)
    statement = strict_loads(unb64(payload.statement), max_bytes=10_000)
    words = b64(canonical_bytes({**statement, "decision": "deny"}))
    pen.write("r1", replace(denied, payload=replace(payload, decision="deny", statement=words)))
    assert check(pen.lines).ok


def test_what_a_key_signed_before_it_was_revoked_stays_good() -> None:
    pen = begun((KEY, "ana"))
    events = asked(pen)
    released(pen, events, said(pen, events, KEY))
    pen.write(SYSTEM_RUN, Draft(KeyRevoked(id_of(KEY), "approver:ana", "", "ana"), ANA))
    assert check(pen.lines).ok


# --- mutations -------------------------------------------------------------------------------------------------------

CASES: dict[str, tuple[Callable[[], Lines], set[str]]] = {}


def case(*codes: str) -> Callable[[Callable[[], Lines]], Callable[[], Lines]]:
    def register(mutation: Callable[[], Lines]) -> Callable[[], Lines]:
        CASES[mutation.__name__] = mutation, set(codes)
        return mutation

    return register


def resaid(key: Holder | None, who: Actor = ANA, keys: tuple[tuple[Holder, str], ...] = ((KEY, "ana"),)) -> Lines:
    pen = begun(*keys)
    events = asked(pen)
    return released(pen, events, said(pen, events, key, who))


def changed(kind: str, **body: object) -> Lines:
    return rewrite(STORY, lambda bodies: at(bodies, kind)["body"].update(body))


@case("E_APPR_KEY")
def m88_key_that_was_never_enrolled() -> Lines:
    return resaid(OTHER)


@case("E_APPR_KEY")
def m88b_key_of_another_person() -> Lines:
    return resaid(OTHER, ANA, ((KEY, "ana"), (OTHER, "bob")))


@case("E_APPR_KEY")
def m88c_key_that_was_revoked() -> Lines:
    pen = begun((KEY, "ana"))
    events = asked(pen)
    draft = said(pen, events, KEY)
    pen.write(SYSTEM_RUN, Draft(KeyRevoked(id_of(KEY), "approver:ana", "", "ana"), ANA))
    return released(pen, events, draft)


@case("E_APPR_KEY")
def m88d_key_that_was_enrolled_only_afterwards() -> Lines:
    pen = begun()
    events = asked(pen)
    released(pen, events, said(pen, events, KEY))
    pen.write(SYSTEM_RUN, Draft(added(KEY), ANA))
    return pen.lines


@case("E_APPR_KEY")
def m88e_key_whose_enrolment_was_cut_out() -> Lines:
    return rewrite(STORY, lambda bodies: [body for body in bodies if body["body"].get("key_id") != id_of(KEY)])


@case("E_APPR_KEY")
def m87b_proof_none_where_the_question_asked_for_a_key() -> Lines:
    return resaid(None)


@case("E_APPR_KEY")
def m87c_the_signature_was_taken_off() -> Lines:
    return changed("approval.decision", proof={"type": "none", "data": ""})


@case("E_APPR_SIG")
def m87d_signature_over_another_statement() -> Lines:
    pen = begun((KEY, "ana"))
    first, second = asked(pen), asked(pen, "b")
    stolen = said(pen, second, KEY).payload
    assert isinstance(stolen, ApprovalDecided)
    return released(pen, first, said(pen, first, None, proof=stolen.proof))


@case("E_APPR_BINDING")
def m85g_statement_and_signature_of_another_question() -> Lines:
    pen = begun((KEY, "ana"))
    first, second = asked(pen), asked(pen, "b")
    stolen = said(pen, second, KEY).payload
    assert isinstance(stolen, ApprovalDecided)
    return released(pen, first, said(pen, first, None, proof=stolen.proof, statement=stolen.statement))


@case("E_APPR_SIG")
def m87e_the_words_were_changed_under_the_signature() -> Lines:
    def change(bodies: list[Fields]) -> None:
        body = at(bodies, "approval.decision")["body"]
        statement = strict_loads(unb64(body["statement"]), max_bytes=10_000)
        body["statement"] = b64(canonical_bytes({**statement, "from": "somewhere else"}))

    return rewrite(STORY, change)


@case("E_APPR_SIG")
def m87f_signature_of_an_enrolment() -> Lines:
    pen = begun((KEY, "ana"))
    events = asked(pen)
    draft = said(pen, events, None)
    assert isinstance(draft.payload, ApprovalDecided)
    proof = proof_of(KEY, unb64(draft.payload.statement), SIGNED_ENROLMENT)
    return released(pen, events, replace(draft, payload=replace(draft.payload, proof=proof)))


@case("E_APPR_SIG")
def m87g_passkey_whose_person_was_not_verified() -> Lines:
    return resaid(SoftPasskey(flags=UP), keys=((PASSKEY, "ana"),))


@case("E_APPR_SIG")
def m87h_passkey_of_another_site() -> Lines:
    return resaid(SoftPasskey(rp="evil.example"), keys=((PASSKEY, "ana"),))


@case("E_APPR_SIG")
def m87i_other_key_under_the_credentials_name() -> Lines:
    return resaid(SoftPasskey(eddsa()), keys=((PASSKEY, "ana"),))


@case("E_APPR_BINDING")
def m87j_signed_by_one_and_put_into_the_name_of_another() -> Lines:
    return changed("approval.decision", approver="bob")


@case("E_APPR_KEY")
def m30_key_of_low_order_signs_for_everybody() -> Lines:
    pen = begun()
    events = asked(pen)
    blob = string(PLAIN) + string(b"\x01" + bytes(31))
    forged = armor(blob, SIGNED_ANSWER, string(PLAIN) + string(b"\x01" + bytes(63)))
    return released(pen, events, said(pen, events, None, proof=Proof("sshsig", forged)))


@case("E_KEY_INVALID_POINT")
def m30b_key_of_low_order_is_enrolled() -> Lines:
    blob = string(PLAIN) + string(b"\x01" + bytes(31))
    return changed("key.add", public=b64(blob))


@case("E_KEY_INVALID_POINT")
def m30c_point_that_is_not_on_the_curve() -> Lines:
    lines = story(PASSKEY)
    cose = PASSKEY.public.cose[:-1] + bytes([PASSKEY.public.cose[-1] ^ 1])
    return rewrite(lines, lambda bodies: at(bodies, "key.add")["body"].update(public=b64(cose)))


@case("E_KEY_POP")
def m97_enrolled_without_a_proof() -> Lines:
    return changed("key.add", proof={"type": "none", "data": ""})


@case("E_KEY_POP")
def m97b_enrolled_with_the_proof_of_another_account() -> Lines:
    return changed("key.add", role="approver:bob")


@case("E_KEY_POP")
def m97c_enrolled_with_the_proof_for_another_log() -> Lines:
    moved = added(KEY, log="helm.local/log/" + "cd" * 16)
    pen = begun()
    pen.write(SYSTEM_RUN, Draft(moved, ANA))
    return pen.lines


@case("E_KEY_POP")
def m97d_another_key_under_the_proof() -> Lines:
    return changed("key.add", public=b64(OTHER.ssh.blob))


@case("E_KEY_POP")
def m97e_another_id_than_the_keys() -> Lines:
    return changed("key.add", key_id="SHA256:" + "A" * 43)


@case("E_KEY_ROLE")
def m44_key_that_is_no_approvers() -> Lines:
    return changed("key.add", role="receipt")


@case("E_KEY_DUP")
def m101_one_key_for_two_people() -> Lines:
    pen = begun((KEY, "ana"))
    pen.write(SYSTEM_RUN, Draft(added(KEY, "bob"), BOB))
    return pen.lines


@case("E_KEY_DUP")
def m101b_a_revoked_key_comes_back() -> Lines:
    pen = begun((KEY, "ana"))
    pen.write(SYSTEM_RUN, Draft(KeyRevoked(id_of(KEY), "approver:ana", "", "ana"), ANA))
    pen.write(SYSTEM_RUN, Draft(added(KEY), ANA))
    return pen.lines


@case("E_KEY_DUP")
def m101c_the_logs_own_key_approves() -> Lines:
    return begun((SoftKey(SIGNER), "ana")).lines


@case("E_KEY_REVOKED")
def m_a_key_that_was_not_in_force_is_revoked() -> Lines:
    pen = begun((KEY, "ana"))
    pen.write(SYSTEM_RUN, Draft(KeyRevoked(id_of(OTHER), "approver:ana", "", "ana"), ANA))
    return pen.lines


@case("E_KEY_REVOKED")
def m_a_key_is_revoked_in_anothers_name() -> Lines:
    pen = begun((KEY, "ana"))
    pen.write(SYSTEM_RUN, Draft(KeyRevoked(id_of(KEY), "approver:bob", "", "bob"), BOB))
    return pen.lines


@case("E_APPR_QUORUM")
def m89d_quorum_of_keys_met_by_one_person_twice() -> Lines:
    pen = begun((KEY, "ana"), (TOKEN, "ana"))
    events = asked(pen, quorum=2)
    return released(pen, events, said(pen, events, KEY), said(pen, events, TOKEN))


@case("E_APPR_QUORUM", "E_KEY_DUP")
def m89e_quorum_of_keys_met_by_one_key_under_two_names() -> Lines:
    pen = begun((KEY, "ana"))
    events = asked(pen, quorum=2)
    pen.write("r1", said(pen, events, KEY))
    pen.write(SYSTEM_RUN, Draft(added(KEY, "bob"), BOB))
    return released(pen, events, said(pen, events, KEY, BOB))


@case("E_APPR_TIMELOCK")
def m90b_signed_and_allowed_before_the_timelock_opened() -> Lines:
    return story(KEY, not_before=text_of(START_MS + HOUR_MS))


@case("E_APPR_SELF")
def m92b_allowed_by_the_one_who_started_the_run() -> Lines:
    return story(KEY, not_requester=True)


@pytest.mark.parametrize("name", CASES)
def test_a_contradiction_is_named(name: str) -> None:
    mutation, codes = CASES[name]
    report = check(mutation())
    assert not report.ok
    assert codes <= report.error_counts.keys(), report.errors


def test_a_signature_cannot_be_bent_by_a_single_bit() -> None:
    """Every bit of the proof, of the statement and of the enrolled key, in a log that is signed anew each time."""
    bodies = [fields_of(line) for line in STORY]
    decided = at(bodies, "approval.decision")["body"]
    for name, whole in (("proof", decided["proof"]["data"]), ("statement", decided["statement"])):
        for bit in range(0, len(whole) * 8, 7):
            bent = bytearray(whole.encode())
            bent[bit // 8] ^= 1 << bit % 8
            text = bent.decode("latin-1")
            value = {"type": "sshsig", "data": text} if name == "proof" else text
            assert not check(changed("approval.decision", **{name: value})).ok, (name, bit)
