"""The base of all payloads of receipts, and their registry: one frozen class per kind (and per `etype` of `event`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Final, TypeVar


class Payload:
    """Base of all payloads; `kind` and `etype` are class facts."""

    __slots__ = ()
    kind: ClassVar[str] = ""
    etype: ClassVar[str] = ""
    requires: ClassVar[tuple[str, ...]] = ()
    optional: ClassVar[tuple[str, ...]] = ()


PAYLOADS: Final[dict[tuple[str, str], type[Payload]]] = {}
P = TypeVar("P", bound=type[Payload])


def receipt(kind: str, etype: str = "", *, requires: str = "", optional: str = "") -> Callable[[P], P]:
    """Register a payload class; `requires` and `optional` name the references that its receipts carry."""

    def register(cls: P) -> P:
        cls.kind, cls.etype = kind, etype
        cls.requires, cls.optional = tuple(requires.split()), tuple(optional.split())
        PAYLOADS[kind, etype] = cls
        return cls

    return register
