"""`people.db`: persons, sessions, links, tokens and attempts as rows. One thread does everything, so that a check and
the write after it are one step; the file is 0600 and holds no secret that could be used as it is."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Engine, create_engine, delete, event, update
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.pool import StaticPool
from sqlmodel import Session as Rows
from sqlmodel import SQLModel, col, func, or_, select

from app.adapters.people_rows import (
    AttemptRow,
    LinkRow,
    PersonRow,
    SeenRow,
    SessionRow,
    TokenRow,
    person_of,
    session_of,
    token_of,
)
from app.domain.errors import HelmError
from app.services.people_port import ApiToken, Person, Role, Session

T = TypeVar("T")
_BUSY_MS = 2_000


class PeopleUnavailable(HelmError):
    """people.db cannot be read or written: nobody can sign in until it can."""

    code = "PEOPLE_UNAVAILABLE"
    status = 503


_ROWS: tuple[type[SQLModel], ...] = (PersonRow, LinkRow, SessionRow, TokenRow, AttemptRow, SeenRow)
_TABLES = [SQLModel.metadata.tables[str(row.__tablename__)] for row in _ROWS]


class SqlitePeople:
    """The store of `app.services.people_port` in one SQLite file."""

    def __init__(self, path: Path) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="helm-people")
        self._engine = self._thread.submit(_opened, path).result()

    def close(self) -> None:
        """Close the file."""
        self._thread.submit(self._engine.dispose).result()
        self._thread.shutdown(wait=True)

    async def _do(self, work: Callable[[Rows], T]) -> T:
        def call() -> T:
            try:
                with Rows(self._engine, expire_on_commit=False) as rows:
                    result = work(rows)
                    rows.commit()
                    return result
            except (SQLAlchemyError, sqlite3.Error) as error:
                raise PeopleUnavailable(f"people.db cannot be used: {type(error).__name__}") from None

        return await asyncio.get_running_loop().run_in_executor(self._thread, call)

    # --- persons -------------------------------------------------------------------------------------------------

    async def person(self, *, id: str = "", account: str = "") -> Person | None:
        """A person by id or account."""
        query = select(PersonRow).where(PersonRow.id == id if id else PersonRow.account == account)

        def work(rows: Rows) -> Person | None:
            row = rows.exec(query).first()
            return person_of(row) if row else None

        return await self._do(work)

    async def people(self) -> list[Person]:
        """Everyone, oldest first."""
        query = select(PersonRow).order_by(col(PersonRow.created_ms))
        return await self._do(lambda rows: [person_of(row) for row in rows.exec(query)])

    async def add_person(self, person: Person) -> bool:
        """False when the account is taken."""

        def work(rows: Rows) -> bool:
            row = PersonRow(
                id=person.id,
                account=person.account,
                password=person.password,
                created_ms=person.created_ms,
                role=person.role,
            )
            rows.add(row)
            try:
                rows.flush()
            except IntegrityError:
                rows.rollback()
                return False
            return True

        return await self._do(work)

    async def set_role(self, person: str, role: Role) -> bool:
        """False when nobody would be an owner after that."""

        def work(rows: Rows) -> bool:
            # The write comes first: it takes the lock, so that another process cannot change an owner in between.
            rows.execute(update(PersonRow).where(col(PersonRow.id) == person).values(role=role))
            owners = rows.exec(select(func.count()).where(PersonRow.role == "owner")).one()
            if not owners:
                rows.rollback()
            return bool(owners)

        return await self._do(work)

    async def set_password(self, person: str, password: str) -> None:
        """Store a new argon2id string."""
        await self._do(
            lambda rows: rows.execute(
                update(PersonRow).where(col(PersonRow.id) == person).values(password=password)
            ).close()
        )

    # --- links ---------------------------------------------------------------------------------------------------

    async def add_link(self, digest: str, person: str, expires_ms: int) -> None:
        """Keep a link by its digest."""
        await self._do(lambda rows: rows.add(LinkRow(digest=digest, person=person, expires_ms=expires_ms)))

    async def link(self, digest: str, now_ms: int) -> Person | None:
        """Whose good link it is."""
        return await self._do(lambda rows: _owner(rows, digest, now_ms))

    async def spend_link(self, digest: str, now_ms: int) -> Person | None:
        """Whose good link it was; it and every expired one are gone."""

        def work(rows: Rows) -> Person | None:
            person = _owner(rows, digest, now_ms)
            rows.execute(delete(LinkRow).where(col(LinkRow.expires_ms) <= now_ms))
            # Another process (the CLI) may have been faster: who deletes the row has the link.
            spent = rows.connection().execute(delete(LinkRow).where(col(LinkRow.digest) == digest)).rowcount
            return person if spent == 1 else None

        return await self._do(work)

    # --- sessions ------------------------------------------------------------------------------------------------

    async def add_session(self, session: Session) -> None:
        """Keep a session; expired ones go."""

        def work(rows: Rows) -> None:
            rows.execute(delete(SessionRow).where(col(SessionRow.expires_ms) <= session.created_ms))
            rows.add(
                SessionRow(
                    id=session.id,
                    person=session.person,
                    device=session.device,
                    address=session.address,
                    created_ms=session.created_ms,
                    seen_ms=session.seen_ms,
                    expires_ms=session.expires_ms,
                    by_link=session.by_link,
                )
            )

        await self._do(work)

    async def session(self, id: str, now_ms: int) -> Session | None:
        """A live session."""
        query = (
            select(SessionRow, PersonRow)
            .join(PersonRow, col(PersonRow.id) == col(SessionRow.person))
            .where(SessionRow.id == id, SessionRow.expires_ms > now_ms)
        )

        def work(rows: Rows) -> Session | None:
            found = rows.exec(query).first()
            return session_of(*found) if found else None

        return await self._do(work)

    async def sessions(self, person: str, now_ms: int) -> list[Session]:
        """A person's live sessions, newest first."""
        query = (
            select(SessionRow, PersonRow)
            .join(PersonRow, col(PersonRow.id) == col(SessionRow.person))
            .where(SessionRow.person == person, SessionRow.expires_ms > now_ms)
            .order_by(col(SessionRow.created_ms).desc())
            .limit(200)
        )
        return await self._do(lambda rows: [session_of(row, owner) for row, owner in rows.exec(query)])

    async def touch_session(self, id: str, now_ms: int) -> None:
        """Note that it was used."""
        await self._do(
            lambda rows: rows.execute(update(SessionRow).where(col(SessionRow.id) == id).values(seen_ms=now_ms)).close()
        )

    async def end_session(self, id: str, person: str) -> bool:
        """Delete it; whether it was there."""

        def work(rows: Rows) -> bool:
            row = rows.get(SessionRow, id)
            if row is None or row.person != person:
                return False
            rows.delete(row)
            return True

        return await self._do(work)

    # --- tokens --------------------------------------------------------------------------------------------------

    async def add_token(self, token: ApiToken, digest: str) -> None:
        """Keep a token by its digest."""
        row = TokenRow(id=token.id, digest=digest, person=token.person, name=token.name, created_ms=token.created_ms)
        await self._do(lambda rows: rows.add(row))

    async def token(self, *, digest: str = "", id: str = "") -> ApiToken | None:
        """A token by digest or id."""
        query = (
            select(TokenRow, PersonRow)
            .join(PersonRow, col(PersonRow.id) == col(TokenRow.person))
            .where(TokenRow.digest == digest if digest else TokenRow.id == id)
        )

        def work(rows: Rows) -> ApiToken | None:
            found = rows.exec(query).first()
            return token_of(*found) if found else None

        return await self._do(work)

    async def tokens(self, person: str) -> list[ApiToken]:
        """A person's tokens, newest first."""
        query = (
            select(TokenRow, PersonRow)
            .join(PersonRow, col(PersonRow.id) == col(TokenRow.person))
            .where(TokenRow.person == person)
            .order_by(col(TokenRow.created_ms).desc())
        )
        return await self._do(lambda rows: [token_of(row, owner) for row, owner in rows.exec(query)])

    async def touch_token(self, id: str, now_ms: int) -> None:
        """Note that it was used."""
        await self._do(
            lambda rows: rows.execute(update(TokenRow).where(col(TokenRow.id) == id).values(seen_ms=now_ms)).close()
        )

    async def end_token(self, id: str, person: str) -> bool:
        """Delete it; whether it was there."""

        def work(rows: Rows) -> bool:
            row = rows.get(TokenRow, id)
            if row is None or row.person != person:
                return False
            rows.delete(row)
            return True

        return await self._do(work)

    # --- seen items -------------------------------------------------------------------------------------------------

    async def add_seen(self, item: str, person: str, now_ms: int) -> None:
        """Note an item; again changes nothing."""

        def work(rows: Rows) -> None:
            if rows.get(SeenRow, item) is None:
                rows.add(SeenRow(item=item, person=person, at_ms=now_ms))

        await self._do(work)

    async def seen(self) -> set[str]:
        """Every noted item."""
        return await self._do(lambda rows: set(rows.exec(select(SeenRow.item))))

    # --- attempts ------------------------------------------------------------------------------------------------

    async def reserve_attempt(self, id: str, keys: tuple[str, ...], now_ms: int, window_ms: int, most: int) -> int:
        """Note an attempt, or say how long to wait; see the port."""

        def work(rows: Rows) -> int:
            # Rows from the future (the clock was set back) would lock somebody out: they go as well.
            old = or_(col(AttemptRow.at_ms) <= now_ms - window_ms, col(AttemptRow.at_ms) > now_ms + window_ms)
            rows.execute(delete(AttemptRow).where(old))
            for key in keys:
                query = select(func.count(), func.min(AttemptRow.at_ms)).where(AttemptRow.key == key)
                count, oldest = rows.exec(query).one()
                if count >= most:
                    return max(1, int(oldest) + window_ms - now_ms)
            rows.add_all([AttemptRow(id=id, key=key, at_ms=now_ms) for key in keys])
            return 0

        return await self._do(work)

    async def forgive_attempt(self, id: str) -> None:
        """Take an attempt back."""
        await self._do(lambda rows: rows.execute(delete(AttemptRow).where(col(AttemptRow.id) == id)).close())


def _opened(path: Path) -> Engine:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        os.fchmod(descriptor, 0o600)
    finally:
        os.close(descriptor)
    engine = create_engine(f"sqlite:///{path}", poolclass=StaticPool, connect_args={"timeout": _BUSY_MS / 1000})
    event.listen(engine, "connect", _pragmas)
    try:
        SQLModel.metadata.create_all(engine, tables=_TABLES)
        _migrate(engine)
    except (SQLAlchemyError, sqlite3.Error) as error:
        raise PeopleUnavailable(f"{path} cannot be opened: {type(error).__name__}") from None
    return engine


def _migrate(engine: Engine) -> None:
    """A file of before there were roles: everybody in it could do everything, and goes on doing so."""
    with engine.begin() as connection:
        if "role" not in {column[1] for column in connection.exec_driver_sql("PRAGMA table_info(person)")}:
            connection.exec_driver_sql("ALTER TABLE person ADD COLUMN role VARCHAR NOT NULL DEFAULT 'viewer'")
            connection.exec_driver_sql("UPDATE person SET role = 'owner'")


def _pragmas(connection: sqlite3.Connection, record: object) -> None:
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "secure_delete=ON", "trusted_schema=OFF"):
        connection.execute(f"PRAGMA {pragma}").close()


def _owner(rows: Rows, digest: str, now_ms: int) -> Person | None:
    query = (
        select(PersonRow)
        .join(LinkRow, col(LinkRow.person) == col(PersonRow.id))
        .where(LinkRow.digest == digest, LinkRow.expires_ms > now_ms)
    )
    row = rows.exec(query).first()
    return person_of(row) if row else None
