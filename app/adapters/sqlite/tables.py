"""The shape of the projection tables for reading. Rows are caches of folds: the document column holds the whole value,
the other columns are what lists filter and sort by."""

from __future__ import annotations

from sqlmodel import Field, SQLModel


class EntryRow(SQLModel, table=True):
    """Where a receipt stands and what it is called."""

    __tablename__ = "entry"
    seq: int = Field(primary_key=True)
    id: str
    run: str
    name: str
    ts: str


class ReceiptRow(SQLModel, table=True):
    """A receipt's bytes."""

    __tablename__ = "receipt"
    seq: int = Field(primary_key=True)
    run: str
    run_seq: int
    line: bytes


class BlobRow(SQLModel, table=True):
    """A payload that a receipt commits to."""

    __tablename__ = "blob"
    digest: str = Field(primary_key=True)
    salt: bytes
    bytes: bytes


class RunRow(SQLModel, table=True):
    """One run as its events make it; `state` is the whole fold."""

    __tablename__ = "run"
    id: str = Field(primary_key=True)
    no: int
    title: str
    blueprint: str
    status: str
    live: int
    waiting: int
    unknown: int
    spent_micro: int
    opened_ts: str
    last_ts: str
    last_seq: int
    state: bytes


class ActionRow(SQLModel, table=True):
    """One intent and what became of it; `doc` is the whole action."""

    __tablename__ = "action"
    id: str = Field(primary_key=True)
    run: str
    key: str
    approval: str
    door: str
    tool: str
    state: str
    status: str
    effect_class: str
    expires: str
    opened_seq: int
    ended_ts: str
    cost_micro: int
    doc: bytes


class SteeringRow(SQLModel, table=True):
    """One steering message and how far it came."""

    __tablename__ = "steering"
    id: str = Field(primary_key=True)
    run: str
    doc: bytes
