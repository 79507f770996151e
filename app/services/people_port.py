"""People as Helm keeps them: who may come in, on which devices, with which keys. Secrets are here only as digests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, Protocol, TypeAlias, get_args

Role: TypeAlias = Literal["owner", "approver", "viewer"]
ROLES: Final[tuple[Role, ...]] = get_args(Role)


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who may come in. `password` is the argon2id string, "" until one was chosen. A viewer looks; an approver
    answers, starts, stops and steers as well; an owner also says who may."""

    id: str
    account: str
    password: str
    created_ms: int
    role: Role = "viewer"


@dataclass(frozen=True, slots=True)
class Session:
    """One signed-in browser. Its id is the `jti` of its token; ended or expired, it never comes back."""

    id: str
    person: str
    account: str
    device: str
    address: str
    created_ms: int
    seen_ms: int
    expires_ms: int
    by_link: bool = False
    role: Role = "viewer"


@dataclass(frozen=True, slots=True)
class ApiToken:
    """A key for programs. The secret itself was shown once and is kept nowhere."""

    id: str
    person: str
    account: str
    name: str
    created_ms: int
    seen_ms: int
    role: Role = "viewer"


class PeopleStore(Protocol):
    """The rows behind people. Every method is one transaction; what it returned is durable."""

    async def person(self, *, id: str = "", account: str = "") -> Person | None: ...
    async def people(self) -> list[Person]: ...
    async def add_person(self, person: Person) -> bool:
        """False when the account is taken."""
        ...

    async def set_role(self, person: str, role: Role) -> bool:
        """False when nobody would be an owner after that; nothing is changed then."""
        ...

    async def set_password(self, person: str, password: str) -> None: ...

    async def add_link(self, digest: str, person: str, expires_ms: int) -> None: ...
    async def link(self, digest: str, now_ms: int) -> Person | None:
        """Whose link it is, while it is neither spent nor expired."""
        ...

    async def spend_link(self, digest: str, now_ms: int) -> Person | None:
        """The same, and spent from now on: of two callers at once, one gets the person."""
        ...

    async def add_session(self, session: Session) -> None: ...
    async def session(self, id: str, now_ms: int) -> Session | None: ...
    async def sessions(self, person: str, now_ms: int) -> list[Session]: ...
    async def touch_session(self, id: str, now_ms: int) -> None: ...
    async def end_session(self, id: str, person: str) -> bool: ...

    async def add_token(self, token: ApiToken, digest: str) -> None: ...
    async def token(self, *, digest: str = "", id: str = "") -> ApiToken | None: ...
    async def tokens(self, person: str) -> list[ApiToken]: ...
    async def touch_token(self, id: str, now_ms: int) -> None: ...
    async def end_token(self, id: str, person: str) -> bool: ...

    async def add_seen(self, item: str, person: str, now_ms: int) -> None:
        """Note that a person has seen an inbox item that cannot be answered."""
        ...

    async def seen(self) -> set[str]:
        """Those items."""
        ...

    async def reserve_attempt(self, id: str, keys: tuple[str, ...], now_ms: int, window_ms: int, most: int) -> int:
        """Note one attempt under every key, or, where a key has `most` of them within the window, note nothing and
        return the milliseconds until there is room. 0 = noted."""
        ...

    async def forgive_attempt(self, id: str) -> None:
        """Take a noted attempt back: it was no failure."""
        ...


class Passwords(Protocol):
    """Slow hashes, off the event loop."""

    async def hash(self, password: str) -> str: ...
    async def matches(self, hashed: str, password: str) -> bool:
        """Whether it is the password; "" as the hash costs as much time and never matches."""
        ...
