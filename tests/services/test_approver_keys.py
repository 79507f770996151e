"""Keys of approvers: enrolled only by who holds them, and answers that bear their signature. Every log that is written
here is checked when its house closes, signatures and all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from app.domain.approval import Answerer
from app.domain.approverkey import enrol_statement
from app.domain.canonical import b64, unb64
from app.domain.content import SIGNED_ANSWER, SIGNED_ENROLMENT, Proof, Seen
from app.domain.errors import Conflict, Forbidden, HelmError, InvalidInput, NotFound
from app.domain.events import Draft
from app.domain.ids import SYSTEM_RUN
from app.domain.payloads import ApprovalDecided
from app.domain.payloads_log import KeyRevoked
from app.domain.receipt import Actor
from app.domain.run import Action
from app.domain.signing import Signer
from app.domain.sshsig import BadSignature
from app.domain.standing import ApproverKey
from app.domain.times import text_of
from app.services.approver_keys import CHALLENGE_MS, MOST_KEYS, Challenge
from app.services.replies import Reply

from tests.ceremony import ceremony_library, rule
from tests.house import MAIL, House
from tests.passkey_kit import ORIGIN, UP, SoftPasskey, eddsa
from tests.services.conftest import OpenHouse
from tests.ssh_kit import PLAIN, SoftKey, armor, string

SEND = "mcp__mail__send_email"
ANA, BEN, CY = Answerer("ana", "owner"), Answerer("ben", "approver"), Answerer("cy", "approver")
KEY, OTHER, TOKEN = SoftKey(Signer.of(b"a" * 32)), SoftKey(Signer.of(b"b" * 32)), SoftKey(Signer.of(b"c" * 32), "ssh:")


def keyed(home: Path, terms: str = 'proof = "key"') -> Any:
    return ceremony_library(home, rule("keyed", SEND, "ESCALATE", f'risk = "high"\napproval = {{ {terms} }}'))


def signed(world: House, held: Challenge, key: SoftKey, account: str = "ana", **other: str) -> str:
    log = other.get("log", world.ledger.log)
    statement = enrol_statement(log, account, key.ssh.fingerprint, held.value)
    return key.sign(statement, other.get("namespace", SIGNED_ENROLMENT))


async def enroll(world: House, key: SoftKey, account: str = "ana", name: str = "laptop") -> ApproverKey:
    keys = world.services.approver_keys
    held = keys.challenge(account)
    return await keys.enroll_ssh(account, key.ssh.text, signed(world, held, key, account), held.text, name=name)


async def enroll_passkey(world: House, passkey: SoftPasskey, account: str = "ana") -> ApproverKey:
    keys = world.services.approver_keys
    held, options = keys.passkey_options(account, ORIGIN)
    assert options["rp"]["id"] == "helm.example" and options["authenticatorSelection"]["userVerification"] == "required"
    _, statement = keys.register_passkey(account, held.text, passkey.registration(held.value))
    return await keys.enroll_passkey(account, held.text, passkey.assertion(statement).text(), name="phone")


async def asked(world: House, key: str = "toolu_1") -> tuple[asyncio.Task[Any], Action]:
    runs = await world.ledger.read.actions(limit=1)
    run = runs[0].run if runs else (await world.start()).id
    before = len((await world.services.runs.get(run)).waiting())
    task = asyncio.create_task(world.services.tool_calls.ask(run, world.hook(SEND, MAIL, key)))
    waiting = await world.waiting(run, before + 1)
    return task, next(action for action in waiting if action.key == key)


async def statement_of(world: House, action: Action, answer: str = "allow", who: Answerer = ANA) -> tuple[bytes, str]:
    at = text_of(world.clock.now_ms())
    reply = Reply("allow" if answer == "allow" else "deny", at=at)
    return await world.services.approvals.statement(action.approval, reply, who=who), at


async def reply_with(world: House, action: Action, key: SoftKey | SoftPasskey, who: Answerer = ANA) -> Reply:
    statement, at = await statement_of(world, action, who=who)
    if isinstance(key, SoftKey):
        return Reply("allow", proof=Proof("sshsig", key.sign(statement, SIGNED_ANSWER)), at=at)
    return Reply("allow", proof=Proof("webauthn", key.assertion(statement).text()), at=at)


async def refused(world: House, action: Action, reply: Reply, who: Answerer = ANA) -> str:
    with pytest.raises(Forbidden) as caught:
        await world.services.approvals.resolve(action.approval, reply, who=who)
    return caught.value.message


async def settled(world: House, task: asyncio.Task[Any], action: Action) -> None:
    """Close the question, so that the house can be left."""
    await world.services.approvals.resolve(action.approval, Reply("deny"), who=ANA)
    assert not (await asyncio.wait_for(task, 10)).allowed


# --- enrolling -------------------------------------------------------------------------------------------------------


async def test_a_key_is_enrolled_by_who_holds_it_and_outlives_a_restart(open_house: OpenHouse) -> None:
    async with open_house() as world:
        made = await enroll(world, KEY)
        assert (made.id, made.account, made.type, made.name) == (KEY.ssh.fingerprint, "ana", "ssh-ed25519", "laptop")
        token = await enroll(world, TOKEN, "ben")
        assert token.type == "sk-ssh-ed25519"
    async with open_house() as world:
        assert world.services.approver_keys.keys() == [made, token]
        assert world.services.approver_keys.keys("ben") == [token]


async def test_a_signature_that_proves_nothing_enrols_nothing(open_house: OpenHouse) -> None:
    async with open_house() as world:
        keys = world.services.approver_keys
        bad: tuple[Callable[[Challenge], str], ...] = (
            lambda held: signed(world, held, OTHER),
            lambda held: signed(world, held, KEY, "ben"),
            lambda held: signed(world, held, KEY, log="helm.local/log/other"),
            lambda held: signed(world, held, KEY, namespace=SIGNED_ANSWER),
            lambda held: KEY.sign(held.value, SIGNED_ENROLMENT),
            lambda held: "no signature",
        )
        for make in bad:
            held = keys.challenge("ana")
            with pytest.raises(Forbidden, match="not enrolled"):
                await keys.enroll_ssh("ana", KEY.ssh.text, make(held), held.text, name="")
        assert keys.keys() == []


async def test_a_challenge_is_good_once_for_ten_minutes_and_for_one_person(open_house: OpenHouse) -> None:
    async with open_house() as world:
        keys = world.services.approver_keys
        held = keys.challenge("ana")
        for account, text in (("ben", held.text), ("ana", held.text), ("ana", "nonsense"), ("ana", "")):
            # whoever tries it uses it up: also the one whose it is not
            with pytest.raises(InvalidInput, match="begin again"):
                await keys.enroll_ssh(account, KEY.ssh.text, signed(world, held, KEY), text, name="")
        late = keys.challenge("ana")
        world.clock.ms += CHALLENGE_MS
        with pytest.raises(InvalidInput, match="ten minutes"):
            await keys.enroll_ssh("ana", KEY.ssh.text, signed(world, late, KEY), late.text, name="")
        many = [keys.challenge("ana") for _ in range(8)]
        with pytest.raises(InvalidInput):
            await keys.enroll_ssh("ana", KEY.ssh.text, signed(world, many[0], KEY), many[0].text, name="")
        await keys.enroll_ssh("ana", KEY.ssh.text, signed(world, many[-1], KEY), many[-1].text, name="")


async def test_a_key_stands_for_one_person_and_once(open_house: OpenHouse) -> None:
    async with open_house() as world:
        await enroll(world, KEY)
        for account, words in (("ana", "for you"), ("ben", "somebody else")):
            with pytest.raises(Conflict, match=words):
                await enroll(world, KEY, account)
        tries = await asyncio.gather(enroll(world, OTHER), enroll(world, OTHER, "ben"), return_exceptions=True)
        assert sum(isinstance(one, Conflict) for one in tries) == 1


async def test_other_keys_are_refused_with_the_reason(open_house: OpenHouse) -> None:
    async with open_house() as world:
        keys = world.services.approver_keys
        blob = string(PLAIN) + b"\0\0\0 " + b"\x01" + bytes(31)
        low = armor(blob, SIGNED_ENROLMENT, string(PLAIN) + string(b"\x01" + bytes(63)))
        for line, words in (
            ("ssh-rsa AAAAB3NzaC1yc2E= ana", "only ssh-ed25519"),
            ("ecdsa-sha2-nistp256 AAAA ana", "only ssh-ed25519"),
            ("ssh-ed25519 " + b64(blob), "anybody could sign"),
        ):
            held = keys.challenge("ana")
            with pytest.raises(BadSignature, match=words):
                await keys.enroll_ssh("ana", line, low, held.text, name="")


async def test_a_person_has_a_bounded_number_of_keys(open_house: OpenHouse) -> None:
    async with open_house() as world:
        for number in range(MOST_KEYS):
            await enroll(world, SoftKey(Signer.of(bytes([number]) * 32)))
        with pytest.raises(Conflict, match="revoke one"):
            await enroll(world, KEY)
        await enroll(world, KEY, "ben")


async def test_names_are_made_harmless(open_house: OpenHouse) -> None:
    async with open_house() as world:
        made = await enroll(world, KEY, name=" two\nlines\x1b[31m " + "x" * 200)
        assert made.name.startswith("two lines [31m x") and len(made.name) == 60
        assert (await enroll(world, OTHER, name="\0")).name == "unnamed"


async def test_revoking_is_for_its_owner_and_for_owners_and_for_ever(open_house: OpenHouse) -> None:
    async with open_house() as world:
        keys = world.services.approver_keys
        made = await enroll(world, KEY, "ben")
        with pytest.raises(Forbidden):
            await keys.revoke(made.id, who=CY)
        with pytest.raises(NotFound):
            await keys.revoke("SHA256:none", who=ANA)
        with pytest.raises(InvalidInput):
            await keys.revoke(made.id, who=BEN, reason="x" * 501)
        gone = await keys.revoke(made.id, who=BEN, reason="lost")
        assert gone.revoked_seq > made.added_seq and keys.keys("ben") == [gone]
        with pytest.raises(Conflict, match="already"):
            await keys.revoke(made.id, who=ANA)
        with pytest.raises(Conflict, match="does not come back"):
            await enroll(world, KEY, "ben")
        await keys.revoke((await enroll(world, OTHER, "ben")).id, who=ANA)


# --- passkeys --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("passkey", [SoftPasskey(), SoftPasskey(eddsa())], ids=["es256", "eddsa"])
async def test_a_passkey_is_made_then_signs_then_is_enrolled_and_answers(
    open_house: OpenHouse, tmp_path: Path, passkey: SoftPasskey
) -> None:
    async with open_house(library=keyed(tmp_path)) as world:
        made = await enroll_passkey(world, passkey)
        assert made.type == "webauthn" and made.name == "phone"
        task, action = await asked(world)
        done = await world.services.approvals.resolve(
            action.approval, await reply_with(world, action, passkey), who=ANA
        )
        assert done.state == "dispatched" and (await asyncio.wait_for(task, 10)).allowed


async def test_making_a_passkey_alone_enrols_nothing(open_house: OpenHouse) -> None:
    async with open_house() as world:
        keys, passkey = world.services.approver_keys, SoftPasskey()
        held, _ = keys.passkey_options("ana", ORIGIN)
        with pytest.raises(InvalidInput, match="begin again"):
            await keys.enroll_passkey("ana", held.text, passkey.assertion(b"x").text(), name="")
        held, _ = keys.passkey_options("ana", ORIGIN)
        keys.register_passkey("ana", held.text, passkey.registration(held.value))
        with pytest.raises(Forbidden, match="not enrolled"):  # it signed something else
            await keys.enroll_passkey("ana", held.text, passkey.assertion(b"x").text(), name="")
        held, _ = keys.passkey_options("ana", ORIGIN)
        _, statement = keys.register_passkey("ana", held.text, passkey.registration(held.value))
        other = SoftPasskey(eddsa(b"q" * 32)).assertion(statement)
        with pytest.raises(Forbidden, match="not enrolled"):  # somebody else signed under its id
            await keys.enroll_passkey("ana", held.text, other.text(), name="")
        assert keys.keys() == []


async def test_a_passkey_that_is_not_made_as_asked_is_refused(open_house: OpenHouse) -> None:
    async with open_house() as world:
        keys = world.services.approver_keys
        rsa = bytes.fromhex("a401030339010020") + b"\x59\x01\x00" + bytes(256) + bytes.fromhex("2143010001")
        low = SoftPasskey(eddsa()).public.cose[:10] + b"\x01" + bytes(31)
        good = SoftPasskey()
        bad: tuple[Callable[[bytes], str], ...] = (
            lambda c: good.registration(b"another challenge"),
            lambda c: good.registration(c, flags=UP),
            lambda c: good.registration(c, cose=rsa),
            lambda c: good.registration(c, cose=low),
            lambda c: SoftPasskey(rp="evil.example").registration(c),
            lambda c: SoftPasskey(origin="https://evil.example", rp="evil.example").registration(c),
            lambda c: good.registration(c).replace('"type": "public-key"', '"type": "password"'),
            lambda c: "{}",
            lambda c: "[]",
            lambda c: "",
            lambda c: "{" * 5_000,
            lambda c: '{"id":' + "1" * 20_000 + "}",
        )
        for response in bad:
            held, _ = keys.passkey_options("ana", ORIGIN)
            with pytest.raises(InvalidInput):
                keys.register_passkey("ana", held.text, response(held.value))
        for origin in ("https://evil.example", "", "null", "helm.example"):
            with pytest.raises(InvalidInput, match="HELM_ORIGINS"):
                keys.passkey_options("ana", origin)


async def test_what_one_has_already_is_not_made_again(open_house: OpenHouse) -> None:
    async with open_house() as world:
        passkey = SoftPasskey()
        made = await enroll_passkey(world, passkey)
        _, options = world.services.approver_keys.passkey_options("ana", ORIGIN)
        assert [one["id"] for one in options["excludeCredentials"]] == [made.id.removeprefix("webauthn:")]
        with pytest.raises(Conflict):
            await enroll_passkey(world, passkey, "ben")


# --- answers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", [KEY, TOKEN], ids=["ssh", "security key"])
async def test_a_signed_answer_is_kept_with_its_signature(open_house: OpenHouse, tmp_path: Path, key: SoftKey) -> None:
    async with open_house(library=keyed(tmp_path)) as world:
        await enroll(world, key)
        task, action = await asked(world)
        assert (await world.services.approvals.offer(action, ANA)).proof == "key"
        assert "must be signed" in await refused(world, action, Reply("allow"))
        reply = await reply_with(world, action, key)
        await world.services.approvals.resolve(action.approval, reply, who=ANA)
        assert (await asyncio.wait_for(task, 10)).allowed
        events = await world.ledger.read.events(run=action.run)
        (decided,) = [event.payload for event in events if isinstance(event.payload, ApprovalDecided)]
        assert decided.proof == reply.proof and b'"by":"ana"' in unb64(decided.statement)


async def test_a_signature_that_does_not_fit_releases_nothing(open_house: OpenHouse, tmp_path: Path) -> None:
    async with open_house(library=keyed(tmp_path)) as world:
        passkey = SoftPasskey()
        await enroll(world, KEY)
        await enroll(world, OTHER, "ben")
        await enroll_passkey(world, passkey)
        task, action = await asked(world)
        statement, at = await statement_of(world, action)
        denial, _ = await statement_of(world, action, "deny")
        stranger = SoftKey(Signer.of(b"z" * 32))
        elsewhere = SoftPasskey(origin="https://evil.example", rp="evil.example")
        for proof, words in (
            (Proof("sshsig", stranger.sign(statement, SIGNED_ANSWER)), "not enrolled"),
            (Proof("sshsig", OTHER.sign(statement, SIGNED_ANSWER)), "somebody else's"),
            (Proof("sshsig", KEY.sign(denial, SIGNED_ANSWER)), "not this key's over these words"),
            (Proof("sshsig", KEY.sign(statement, SIGNED_ENROLMENT)), "made for something else"),
            (Proof("webauthn", passkey.assertion(denial).text()), "other words"),
            (Proof("webauthn", elsewhere.assertion(statement).text()), "not one of this server's"),
            (Proof("webauthn", SoftPasskey(flags=UP).assertion(statement).text()), "did not check"),
            (Proof("webauthn", KEY.sign(statement, SIGNED_ANSWER)), "form"),
            (Proof("sshsig", passkey.assertion(statement).text()), "stands between"),
            (Proof("sshsig", ""), "stands between"),
        ):
            assert words in await refused(world, action, Reply("allow", proof=proof, at=at)), words
        assert "helm approver list" in await refused(
            world, action, Reply("allow", proof=Proof("sshsig", stranger.sign(statement, SIGNED_ANSWER)), at=at)
        )
        with pytest.raises(HelmError):  # another time than the one that was signed
            moved = Reply("allow", proof=Proof("sshsig", KEY.sign(statement, SIGNED_ANSWER)), at=text_of(1))
            await world.services.approvals.resolve(action.approval, moved, who=ANA)
        await settled(world, task, action)


async def test_an_answer_is_signed_for_one_question_only(open_house: OpenHouse, tmp_path: Path) -> None:
    async with open_house(library=keyed(tmp_path)) as world:
        await enroll(world, KEY)
        task, first = await asked(world)
        other, second = await asked(world, "toolu_2")
        reply = await reply_with(world, first, KEY)
        assert "over these words" in await refused(world, second, reply)
        await world.services.approvals.resolve(first.approval, reply, who=ANA)
        assert (await asyncio.wait_for(task, 10)).allowed
        await settled(world, other, second)


async def test_a_revoked_key_answers_nothing_more(open_house: OpenHouse, tmp_path: Path) -> None:
    async with open_house(library=keyed(tmp_path)) as world:
        made = await enroll(world, KEY)
        task, action = await asked(world)
        reply = await reply_with(world, action, KEY)
        await world.services.approver_keys.revoke(made.id, who=ANA)
        assert "revoked" in await refused(world, action, reply)
        await settled(world, task, action)


async def test_a_revocation_that_is_recorded_first_wins_over_an_answer_in_flight(
    open_house: OpenHouse, tmp_path: Path
) -> None:
    """Between the check of a signature and its place in the log: the ledger itself looks once more."""
    async with open_house(library=keyed(tmp_path)) as world:
        made = await enroll(world, KEY)
        task, action = await asked(world)
        reply = await reply_with(world, action, KEY)
        answers = world.services.approvals
        revoked = Draft(KeyRevoked(made.id, "approver:ana", "", "ana"))
        gone, answered = await asyncio.gather(
            world.ledger.record(SYSTEM_RUN, revoked),
            answers.resolve(action.approval, reply, who=ANA),
            return_exceptions=True,
        )
        assert not isinstance(gone, BaseException)
        if not isinstance(answered, BaseException):
            events = await world.ledger.read.events(run=action.run)
            seq = next(event.seq for event in events if isinstance(event.payload, ApprovalDecided))
            assert seq < gone[0].seq
            assert (await asyncio.wait_for(task, 10)).allowed
            return
        assert isinstance(answered, Forbidden)
        await settled(world, task, action)


async def test_the_ledger_takes_no_answer_of_a_key_that_is_not_in_force(open_house: OpenHouse, tmp_path: Path) -> None:
    async with open_house(library=keyed(tmp_path)) as world:
        task, action = await asked(world)
        event = await world.ledger.read.event(action.request)
        assert event is not None
        statement, _ = await statement_of(world, action)
        proof = Proof("sshsig", KEY.sign(statement, SIGNED_ANSWER))
        seen = Seen(event.seq, "sha256:" + "0" * 64)
        decided = ApprovalDecided(action.approval, "approve", "ana", b64(statement), proof, seen)
        with pytest.raises(Forbidden, match="not enrolled"):
            await world.ledger.record(
                action.run, Draft(decided, Actor("human", "ana", "client"), {"request": action.request})
            )
        await settled(world, task, action)


async def test_a_quorum_of_keys_needs_a_key_of_each(open_house: OpenHouse, tmp_path: Path) -> None:
    async with open_house(library=keyed(tmp_path, 'proof = "key", quorum = 2')) as world:
        await enroll(world, KEY)
        passkey = SoftPasskey()
        await enroll_passkey(world, passkey, "ben")
        task, action = await asked(world)
        await world.services.approvals.resolve(action.approval, await reply_with(world, action, KEY), who=ANA)
        assert "must be signed" in await refused(world, action, Reply("allow"), BEN)
        theirs = await reply_with(world, action, KEY, BEN)
        assert "somebody else's" in await refused(world, action, theirs, BEN)
        done = await world.services.approvals.resolve(
            action.approval, await reply_with(world, action, passkey, BEN), who=BEN
        )
        assert done.approvals == ("ana", "ben") and (await asyncio.wait_for(task, 10)).allowed


async def test_who_need_not_sign_may_sign(open_house: OpenHouse) -> None:
    async with open_house() as world:
        await enroll(world, KEY)
        task, action = await asked(world)
        await world.services.approvals.resolve(action.approval, await reply_with(world, action, KEY), who=ANA)
        assert (await asyncio.wait_for(task, 10)).allowed
