"""people.db through its public door: one-time things are one-time, what is revoked is gone, and the file is private."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from app.adapters.passwords import Argon2Passwords
from app.adapters.people import SqlitePeople
from app.domain.errors import Conflict, Forbidden, InvalidInput, NotFound, Unauthenticated
from app.services.people import LINK_MS, SESSION_MS, Device, PeopleDesk, TooManyAttempts
from argon2 import PasswordHasher

from tests.house import HandClock

QUICK = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
LAPTOP = Device("Firefox on Linux", "127.0.0.1")
PHONE = Device("Safari on iPhone", "192.0.2.7")
GOOD = "a sentence is fine"


class Desk:
    """A desk whose clock moves when it is told to."""

    def __init__(self, home: Path) -> None:
        self.clock = HandClock()
        self.store = SqlitePeople(home / "people.db")
        self.desk = PeopleDesk(self.store, Argon2Passwords(QUICK), self.clock)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[Desk]:
    found = Desk(tmp_path)
    yield found
    found.store.close()


def _held(home: Path) -> bytes:
    return b"".join(file.read_bytes() for file in home.iterdir())


async def _enrolled(world: Desk, account: str = "ana") -> None:
    link = await world.desk.new_link(account)
    await world.desk.enter_by_link(link, LAPTOP, GOOD)


async def test_the_file_is_private_and_holds_no_secret(world: Desk, tmp_path: Path) -> None:
    link = await world.desk.new_link("ana")
    await world.desk.enter_by_link(await world.desk.new_link("ana"), LAPTOP, GOOD)
    person = await world.desk.ensure_person("ana")
    _, secret = await world.desk.new_token(person.id, "ci")
    path = tmp_path / "people.db"
    assert path.stat().st_mode & 0o777 == 0o600
    held = _held(tmp_path)
    for word in (link, secret, secret.removeprefix("helm_"), GOOD):
        assert word.encode() not in held
    with sqlite3.connect(path) as rows:
        assert rows.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    rows.close()


async def test_a_link_works_once_and_for_a_quarter_of_an_hour(world: Desk) -> None:
    link = await world.desk.new_link("ana")
    assert (await world.desk.link_owner(link)) is not None
    session = await world.desk.enter_by_link(link, LAPTOP)
    assert session.account == "ana" and session.by_link
    for _ in range(2):
        assert await world.desk.link_owner(link) is None
        with pytest.raises(Unauthenticated):
            await world.desk.enter_by_link(link, LAPTOP)
    late = await world.desk.new_link("ana")
    world.clock.ms += LINK_MS
    with pytest.raises(Unauthenticated):
        await world.desk.enter_by_link(late, LAPTOP)


async def test_of_many_at_once_one_gets_the_link(world: Desk) -> None:
    link = await world.desk.new_link("ana")
    tries = await asyncio.gather(*[world.desk.enter_by_link(link, LAPTOP) for _ in range(8)], return_exceptions=True)
    assert sum(not isinstance(found, BaseException) for found in tries) == 1


async def test_a_weak_password_does_not_spend_the_link(world: Desk) -> None:
    link = await world.desk.new_link("ana")
    with pytest.raises(InvalidInput, match="12"):
        await world.desk.enter_by_link(link, LAPTOP, "short")
    await world.desk.enter_by_link(link, LAPTOP, GOOD)
    assert (await world.desk.enter("ana", GOOD, LAPTOP)).account == "ana"


async def test_wrong_passwords_and_unknown_accounts_fail_alike(world: Desk) -> None:
    await _enrolled(world)
    words = set()
    for account, password in (("ana", "not the password"), ("nobody", GOOD), ("", ""), ("a" * 500, GOOD)):
        with pytest.raises(Unauthenticated) as failed:
            await world.desk.enter(account, password, Device("x", f"192.0.2.{len(account) % 200}"))
        words.add(failed.value.message)
    assert len(words) == 1


async def test_nobody_without_a_password_signs_in_with_one(world: Desk) -> None:
    await world.desk.ensure_person("ana")
    for password in ("", "nobody has this password"):
        with pytest.raises(Unauthenticated):
            await world.desk.enter("ana", password, LAPTOP)


async def test_five_failures_a_minute_per_address_and_per_account(world: Desk) -> None:
    await _enrolled(world)
    for number in range(5):
        with pytest.raises(Unauthenticated):
            await world.desk.enter(f"who{number}", "wrong password", PHONE)
    with pytest.raises(TooManyAttempts) as refused:  # the address is spent, whatever the account
        await world.desk.enter("ana", GOOD, PHONE)
    assert 0 < refused.value.retry_s <= 60
    for number in range(5):
        with pytest.raises(Unauthenticated):
            await world.desk.enter("ANA" if number % 2 else "ana", "wrong password", Device("x", f"192.0.2.{number}"))
    with pytest.raises(TooManyAttempts):  # the account is spent, whatever the address
        await world.desk.enter("ana", GOOD, LAPTOP)
    world.clock.ms += 60_000
    assert (await world.desk.enter("ana", GOOD, LAPTOP)).account == "ana"


async def test_a_burst_does_not_slip_through_the_limit(world: Desk) -> None:
    await _enrolled(world)
    tries = await asyncio.gather(
        *[world.desk.enter("ana", "wrong password", PHONE) for _ in range(20)], return_exceptions=True
    )
    assert sum(isinstance(found, Unauthenticated) for found in tries) == 5
    assert sum(isinstance(found, TooManyAttempts) for found in tries) == 15


async def test_signing_in_rightly_uses_up_nothing(world: Desk) -> None:
    await _enrolled(world)
    for _ in range(8):
        await world.desk.enter("ana", GOOD, LAPTOP)
    person = await world.desk.ensure_person("ana")
    assert len(await world.desk.sessions(person.id)) == 9


async def test_attempts_outlive_a_restart(tmp_path: Path) -> None:
    first = Desk(tmp_path)
    for _ in range(5):
        with pytest.raises(Unauthenticated):
            await first.desk.enter("ana", "wrong password", PHONE)
    first.store.close()
    second = Desk(tmp_path)
    with pytest.raises(TooManyAttempts):
        await second.desk.enter("ana", GOOD, PHONE)
    second.store.close()


async def test_sessions_end_after_a_day_and_when_they_are_revoked(world: Desk) -> None:
    await _enrolled(world)
    session = await world.desk.enter("ana", GOOD, PHONE)
    other = await world.desk.enter("ana", GOOD, LAPTOP)
    with world.desk.watch(session.id) as gone:
        await world.desk.end_session(session.id, session.person)
        assert gone.is_set()
    assert await world.desk.session(session.id) is None
    with pytest.raises(NotFound):
        await world.desk.end_session(other.id, "somebody else")
    assert await world.desk.still_good(other.id)
    world.clock.ms += SESSION_MS
    assert await world.desk.session(other.id) is None and not await world.desk.still_good(other.id)


async def test_a_new_password_signs_every_other_device_out(world: Desk) -> None:
    await _enrolled(world)
    world.clock.ms += 16 * 60_000
    phone, laptop = await world.desk.enter("ana", GOOD, PHONE), await world.desk.enter("ana", GOOD, LAPTOP)
    with pytest.raises(Forbidden):
        await world.desk.change_password(laptop, "not the password", "another sentence")
    with pytest.raises(InvalidInput):
        await world.desk.change_password(laptop, GOOD, "short")
    await world.desk.change_password(laptop, GOOD, "another sentence")
    assert await world.desk.session(phone.id) is None and await world.desk.session(laptop.id) is not None
    assert (await world.desk.enter("ana", "another sentence", PHONE)).account == "ana"


async def test_who_lost_the_password_comes_in_by_link_and_sets_a_new_one(world: Desk) -> None:
    await _enrolled(world)
    session = await world.desk.enter_by_link(await world.desk.new_link("ana"), LAPTOP)
    await world.desk.change_password(session, "", "another sentence")
    old = await world.desk.enter_by_link(await world.desk.new_link("ana"), LAPTOP)
    world.clock.ms += 16 * 60_000
    with pytest.raises(Forbidden):  # that way is open for a quarter of an hour only
        await world.desk.change_password(old, "", "yet another sentence")


async def test_tokens_open_until_they_are_revoked(world: Desk) -> None:
    person = await world.desk.ensure_person("ana")
    token, secret = await world.desk.new_token(person.id, "ci")
    found = await world.desk.token_of(secret)
    assert found is not None and found.account == "ana" and found.id == token.id
    for wrong in ("", secret[:-1], secret + "x", "helm_" + "A" * 43, token.id):
        assert await world.desk.token_of(wrong) is None
    await world.desk.end_token(token.id, person.id)
    assert await world.desk.token_of(secret) is None
    with pytest.raises(InvalidInput):
        await world.desk.new_token(person.id, "two\nlines")
    with pytest.raises(Conflict):
        for number in range(51):
            await world.desk.new_token(person.id, f"t{number}")


async def test_odd_account_names_are_refused(world: Desk) -> None:
    for name in ("", "a b", "<script>", "x" * 65, "ana\n", "../ana"):
        with pytest.raises(InvalidInput):
            await world.desk.new_link(name)


async def test_the_first_person_is_the_owner_and_others_look_until_they_are_given_more(world: Desk) -> None:
    assert (await world.desk.ensure_person("ana")).role == "owner"
    await world.desk.new_link("bob")
    assert (await world.desk.ensure_person("bob", "owner")).role == "viewer"  # who is there keeps their role
    bob, link = await world.desk.add_person("cleo", "approver")
    assert bob.role == "approver" and (await world.desk.enter_by_link(link, LAPTOP)).role == "approver"
    with pytest.raises(Conflict):
        await world.desk.add_person("cleo", "owner")
    with pytest.raises(InvalidInput, match="owner, approver, viewer"):
        await world.desk.set_role("cleo", "root")
    with pytest.raises(Conflict, match="last owner"):
        await world.desk.set_role("ana", "approver")
    await world.desk.set_role("cleo", "owner")
    await world.desk.set_role("ana", "viewer")
    assert [(one.account, one.role) for one in await world.desk.people()] == [
        ("ana", "viewer"),
        ("bob", "viewer"),
        ("cleo", "owner"),
    ]


async def test_of_two_owners_who_demote_each_other_at_once_one_stays(world: Desk, tmp_path: Path) -> None:
    await world.desk.ensure_person("ana")
    await world.desk.add_person("bob", "owner")
    other = SqlitePeople(tmp_path / "people.db")  # as another process would
    desk = PeopleDesk(other, Argon2Passwords(QUICK), world.clock)
    await asyncio.gather(world.desk.set_role("ana", "viewer"), desk.set_role("bob", "viewer"), return_exceptions=True)
    other.close()
    assert sorted(one.role for one in await world.desk.people()) == ["owner", "viewer"]


async def test_a_file_of_before_there_were_roles_opens_and_its_people_are_owners(tmp_path: Path) -> None:
    old = sqlite3.connect(tmp_path / "people.db")
    old.execute(
        "CREATE TABLE person (id VARCHAR NOT NULL, account VARCHAR NOT NULL, password VARCHAR NOT NULL,"
        " created_ms INTEGER NOT NULL, PRIMARY KEY (id), UNIQUE (account))"
    )
    old.execute("INSERT INTO person VALUES ('p_1', 'ana', '', 1), ('p_2', 'bob', '', 2)")
    old.commit()
    old.close()
    for _ in range(2):  # and again, as every start does
        world = Desk(tmp_path)
        assert [(one.account, one.role) for one in await world.desk.people()] == [("ana", "owner"), ("bob", "owner")]
        assert (await world.desk.ensure_person("cleo")).role == "viewer"
        world.store.close()
        with sqlite3.connect(tmp_path / "people.db") as rows:
            rows.execute("DELETE FROM person WHERE account = 'cleo'")
        rows.close()


async def test_a_word_that_is_no_role_lets_nobody_do_more_than_look(world: Desk, tmp_path: Path) -> None:
    await world.desk.ensure_person("ana")
    with sqlite3.connect(tmp_path / "people.db") as rows:
        rows.execute("UPDATE person SET role = 'root'")
    rows.close()
    assert [one.role for one in await world.desk.people()] == ["viewer"]
