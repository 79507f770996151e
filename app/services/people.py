"""Who is who: one-time links, passwords, sessions and API tokens. What a person holds is random and stored as a digest;
what is revoked is gone at once, also for connections that are open."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Final

from app.domain.errors import Conflict, Forbidden, HelmError, InvalidInput, NotFound, Unauthenticated
from app.ports import Clock
from app.services.people_port import ROLES, ApiToken, Passwords, PeopleStore, Person, Role, Session

LINK_MS: Final = 15 * 60_000
SESSION_MS: Final = 24 * 3_600_000
WINDOW_MS: Final = 60_000
MOST_ATTEMPTS: Final = 5
MIN_PASSWORD: Final = 12
MAX_PASSWORD: Final = 1_000
_FRESH_MS: Final = 15 * 60_000
_TOUCH_MS: Final = 60_000
_ACCOUNT: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_TOKEN: Final = re.compile(r"helm_[A-Za-z0-9_-]{43}")
_MOST_TOKENS: Final = 50
_MOST_DEVICE: Final = 120


class TooManyAttempts(HelmError):
    """Too many sign-ins from one address or for one account; `retry_s` says when there is room again."""

    code = "TOO_MANY_ATTEMPTS"
    status = 429

    def __init__(self, retry_s: int) -> None:
        super().__init__(f"too many attempts; try again in {retry_s} s")
        self.retry_s = retry_s


@dataclass(frozen=True, slots=True)
class Device:
    """Where somebody signs in from: a name that people recognise, and the address."""

    name: str
    address: str


class PeopleDesk:
    """The one place that decides who somebody is."""

    def __init__(self, store: PeopleStore, passwords: Passwords, clock: Clock) -> None:
        self._store, self._passwords, self._clock = store, passwords, clock
        self._watched: dict[str, set[asyncio.Event]] = {}
        self._seen: set[str] | None = None

    # --- people and links ----------------------------------------------------------------------------------------

    async def ensure_person(self, account: str, role: Role | None = None) -> Person:
        """The person of an account, made when there is none yet: with this role, else as the owner where nobody is
        there, else as a viewer. Who is there already keeps their role. Raises InvalidInput for an odd name."""
        if _ACCOUNT.fullmatch(account) is None:
            raise InvalidInput("an account is named by letters, digits and . _ @ -, at most 64 of them")
        found = await self._store.person(account=account)
        if found is not None:
            return found
        if role is None:
            role = "viewer" if await self._store.people() else "owner"
        await self._store.add_person(Person(self._id("p"), account, "", self._clock.now_ms(), role))
        made = await self._store.person(account=account)
        if made is None:
            raise Conflict("the account could not be made; try again")
        return made

    async def people(self) -> list[Person]:
        """Everyone, oldest first."""
        return await self._store.people()

    async def add_person(self, account: str, role: Role) -> tuple[Person, str]:
        """A new person and the secret of their first one-time link. Raises InvalidInput, Conflict when there is such
        an account."""
        if await self._store.person(account=account) is not None:
            raise Conflict("there is such an account already; change its role instead")
        person = await self.ensure_person(account, role)
        return person, await self.new_link(account)

    async def set_role(self, account: str, role: str) -> Person:
        """What a person may do from now on, also with sessions and tokens that they hold already. Raises InvalidInput,
        NotFound, Conflict when nobody would be an owner any more."""
        found = next((known for known in ROLES if known == role), None)
        if found is None:
            raise InvalidInput(f"a role is {', '.join(ROLES)}")
        person = await self._store.person(account=account) if _ACCOUNT.fullmatch(account) else None
        if person is None:
            raise NotFound("there is no such person; list them with: helm people")
        if not await self._store.set_role(person.id, found):
            raise Conflict("this is the last owner; make somebody else an owner first")
        return replace(person, role=found)

    async def new_link(self, account: str, role: Role | None = None) -> str:
        """The secret of a one-time login link, good for 15 minutes; the account is made where it is new."""
        person = await self.ensure_person(account, role)
        secret = self._secret()
        await self._store.add_link(_digest(secret), person.id, self._clock.now_ms() + LINK_MS)
        return secret

    async def link_owner(self, secret: str) -> Person | None:
        """Whose link this is while it is good; looking does not spend it."""
        return await self._store.link(_digest(secret), self._clock.now_ms())

    async def enter_by_link(self, secret: str, device: Device, password: str = "") -> Session:
        """Spend a link and sign in; `password` becomes the person's password where it is given.

        Raises Unauthenticated when the link is spent, expired or unknown; InvalidInput for a weak password (the link
        stays good then).
        """
        hashed = await self._hash(password) if password else ""
        person = await self._store.spend_link(_digest(secret), self._clock.now_ms())
        if person is None:
            raise Unauthenticated("this link was used already, or is too old")
        if hashed:
            await self._store.set_password(person.id, hashed)
        return await self._open(person, device, by_link=True)

    # --- passwords -----------------------------------------------------------------------------------------------

    async def enter(self, account: str, password: str, device: Device) -> Session:
        """Sign in. Raises Unauthenticated (the same for an unknown account), TooManyAttempts."""
        attempt = await self._attempt(account, device.address)
        person = await self._store.person(account=account) if _ACCOUNT.fullmatch(account) else None
        # The same work whether the account exists or not: time must not tell names.
        right = await self._passwords.matches(person.password if person else "", password[:MAX_PASSWORD])
        if person is None or not right:
            raise Unauthenticated("account and password do not match")
        await self._store.forgive_attempt(attempt)
        return await self._open(person, device)

    async def change_password(self, session: Session, current: str, new: str) -> None:
        """Set a new password and sign every other device out. The current one is asked for where `asks_password`
        says so. Raises Forbidden, InvalidInput, TooManyAttempts."""
        if self.asks_password(session):
            attempt = await self._attempt(session.account, session.address)
            person = await self._store.person(id=session.person)
            if not await self._passwords.matches(person.password if person else "", current[:MAX_PASSWORD]):
                raise Forbidden("that is not the current password")
            await self._store.forgive_attempt(attempt)
        await self._store.set_password(session.person, await self._hash(new))
        await self.end_others(session)

    def asks_password(self, session: Session) -> bool:
        """Whether a new password needs the current one: not within 15 minutes after a one-time link, which is how
        somebody comes back who has lost it."""
        return not (session.by_link and self._clock.now_ms() - session.created_ms < _FRESH_MS)

    async def _hash(self, password: str) -> str:
        if not MIN_PASSWORD <= len(password) <= MAX_PASSWORD:
            raise InvalidInput(f"a password has {MIN_PASSWORD} to {MAX_PASSWORD} characters")
        return await self._passwords.hash(password)

    async def _attempt(self, account: str, address: str) -> str:
        """Take one of the five places of this minute before any work is done, so that a burst cannot slip through."""
        attempt = self._id("a")
        keys = ("account:" + _digest(account.lower()), "address:" + _digest(address))
        wait = await self._store.reserve_attempt(attempt, keys, self._clock.now_ms(), WINDOW_MS, MOST_ATTEMPTS)
        if wait:
            raise TooManyAttempts(max(1, -(-wait // 1000)))
        return attempt

    # --- sessions ------------------------------------------------------------------------------------------------

    async def _open(self, person: Person, device: Device, *, by_link: bool = False) -> Session:
        now = self._clock.now_ms()
        session = Session(
            id=self._id("s"),
            person=person.id,
            account=person.account,
            device=device.name[:_MOST_DEVICE],
            address=device.address[:64],
            created_ms=now,
            seen_ms=now,
            expires_ms=now + SESSION_MS,
            by_link=by_link,
            role=person.role,
        )
        await self._store.add_session(session)
        return session

    async def session(self, id: str) -> Session | None:
        """A session that is neither ended nor expired."""
        now = self._clock.now_ms()
        found = await self._store.session(id, now)
        if found is not None and now - found.seen_ms > _TOUCH_MS:
            await self._store.touch_session(id, now)
        return found

    async def sessions(self, person: str) -> list[Session]:
        """A person's live sessions, the newest first."""
        return await self._store.sessions(person, self._clock.now_ms())

    async def end_session(self, id: str, person: str) -> None:
        """Sign a device out, at once. Raises NotFound when it is not this person's."""
        if not await self._store.end_session(id, person):
            raise NotFound("no such session")
        self._tell(id)

    async def end_others(self, session: Session) -> None:
        """Sign every other device of the person out."""
        for other in await self.sessions(session.person):
            if other.id != session.id and await self._store.end_session(other.id, session.person):
                self._tell(other.id)

    # --- API tokens ----------------------------------------------------------------------------------------------

    async def new_token(self, person: str, name: str) -> tuple[ApiToken, str]:
        """A new API token and its secret, which is shown now and never again. Raises InvalidInput, Conflict."""
        owner = await self._store.person(id=person)
        if owner is None:
            raise NotFound("no such person")
        if not 1 <= len(name.strip()) <= 60 or not name.isprintable():
            raise InvalidInput("a token needs a name of at most 60 characters")
        if len(await self._store.tokens(person)) >= _MOST_TOKENS:
            raise Conflict(f"there are {_MOST_TOKENS} tokens already; revoke one first")
        secret = "helm_" + self._secret()
        token = ApiToken(self._id("t"), person, owner.account, name.strip(), self._clock.now_ms(), 0, owner.role)
        await self._store.add_token(token, _digest(secret))
        return token, secret

    async def token_of(self, secret: str) -> ApiToken | None:
        """The token behind a secret, while it is not revoked."""
        if _TOKEN.fullmatch(secret) is None:
            return None
        token = await self._store.token(digest=_digest(secret))
        now = self._clock.now_ms()
        if token is not None and now - token.seen_ms > _TOUCH_MS:
            await self._store.touch_token(token.id, now)
        return token

    async def tokens(self, person: str) -> list[ApiToken]:
        """A person's tokens, the newest first."""
        return await self._store.tokens(person)

    async def end_token(self, id: str, person: str) -> None:
        """Revoke a token, at once. Raises NotFound."""
        if not await self._store.end_token(id, person):
            raise NotFound("no such token")
        self._tell(id)

    # --- inbox items that only have to be seen ----------------------------------------------------------------------

    async def mark_seen(self, item: str, person: str) -> None:
        """Take an item that cannot be answered out of everybody's inbox."""
        await self._store.add_seen(item, person, self._clock.now_ms())
        (await self.seen_items()).add(item)

    async def seen_items(self) -> set[str]:
        """Items that somebody has seen; read once, then kept."""
        if self._seen is None:
            self._seen = await self._store.seen()
        return self._seen

    # --- open connections ----------------------------------------------------------------------------------------

    async def still_good(self, key: str) -> bool:
        """Whether a session or token (by its id) still lets somebody in."""
        if key.startswith("t_"):
            return await self._store.token(id=key) is not None
        return await self._store.session(key, self._clock.now_ms()) is not None

    @contextmanager
    def watch(self, key: str) -> Iterator[asyncio.Event]:
        """An event that is set as soon as this session or token is revoked in this process."""
        gone = asyncio.Event()
        watchers = self._watched.setdefault(key, set())
        watchers.add(gone)
        try:
            yield gone
        finally:
            watchers.discard(gone)
            if not watchers:
                self._watched.pop(key, None)

    def _tell(self, key: str) -> None:
        for gone in self._watched.get(key, ()):
            gone.set()

    def _secret(self) -> str:
        return base64.urlsafe_b64encode(self._clock.entropy(32)).decode("ascii").rstrip("=")

    def _id(self, prefix: str) -> str:
        return f"{prefix}_{self._clock.entropy(16).hex()}"


def _digest(secret: str) -> str:
    """Secrets here have 256 bits of randomness: a plain hash keeps them, no slow one is needed."""
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()
