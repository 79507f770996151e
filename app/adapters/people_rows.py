"""The tables of `people.db`, and their rows as the values that services know."""

from __future__ import annotations

from sqlmodel import Field, SQLModel

from app.services.people_port import ROLES, ApiToken, Person, Role, Session


class PersonRow(SQLModel, table=True):
    """Somebody who may come in."""

    __tablename__ = "person"
    id: str = Field(primary_key=True)
    account: str = Field(unique=True)
    password: str = ""
    created_ms: int
    role: str = "viewer"


class LinkRow(SQLModel, table=True):
    """A one-time login link by its digest; spent ones are deleted."""

    __tablename__ = "login_link"
    digest: str = Field(primary_key=True)
    person: str = Field(foreign_key="person.id")
    expires_ms: int


class SessionRow(SQLModel, table=True):
    """A signed-in browser; ended ones are deleted."""

    __tablename__ = "session"
    id: str = Field(primary_key=True)
    person: str = Field(foreign_key="person.id", index=True)
    device: str
    address: str
    created_ms: int
    seen_ms: int
    expires_ms: int
    by_link: bool = False


class TokenRow(SQLModel, table=True):
    """An API token by its digest; revoked ones are deleted."""

    __tablename__ = "api_token"
    id: str = Field(primary_key=True)
    digest: str = Field(unique=True)
    person: str = Field(foreign_key="person.id", index=True)
    name: str
    created_ms: int
    seen_ms: int = 0


class AttemptRow(SQLModel, table=True):
    """One sign-in attempt under one key, kept for a minute."""

    __tablename__ = "login_attempt"
    id: str = Field(primary_key=True)
    key: str = Field(primary_key=True)
    at_ms: int = Field(index=True)


class SeenRow(SQLModel, table=True):
    """An inbox item that somebody has seen."""

    __tablename__ = "seen_item"
    item: str = Field(primary_key=True)
    person: str = Field(foreign_key="person.id")
    at_ms: int


def person_of(row: PersonRow) -> Person:
    """A row as a person."""
    return Person(row.id, row.account, row.password, row.created_ms, role_of(row))


def role_of(row: PersonRow) -> Role:
    """A word that is none of the roles lets nobody do more than look."""
    return next((role for role in ROLES if role == row.role), "viewer")


def session_of(row: SessionRow, owner: PersonRow) -> Session:
    """A row as a session."""
    return Session(
        id=row.id,
        person=row.person,
        account=owner.account,
        device=row.device,
        address=row.address,
        created_ms=row.created_ms,
        seen_ms=row.seen_ms,
        expires_ms=row.expires_ms,
        by_link=row.by_link,
        role=role_of(owner),
    )


def token_of(row: TokenRow, owner: PersonRow) -> ApiToken:
    """A row as a token."""
    return ApiToken(row.id, row.person, owner.account, row.name, row.created_ms, row.seen_ms, role_of(owner))
