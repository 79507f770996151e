"""Reads the first flight of a TLS client (RFC 8446 4.1.2, RFC 6066 3) far enough to know which name it asks for.

Takes any split of the bytes; what is not exactly one well-formed ClientHello with one name is refused.
"""

from __future__ import annotations

from dataclasses import dataclass

MAX_HELLO = 16 * 1024
MAX_RAW = 128 * 1024

HANDSHAKE_FAILURE = 40
DECODE_ERROR = 50
ILLEGAL_PARAMETER = 47
UNRECOGNIZED_NAME = 112

_SERVER_NAME = 0
_ECH = 0xFE0D
_OLD_ESNI = 0xFFCE


class HelloError(Exception):
    """A refused hello: the TLS alert for the client and the reason."""

    def __init__(self, alert: int, reason: str) -> None:
        super().__init__(reason)
        self.alert = alert
        self.reason = reason


@dataclass(frozen=True, slots=True)
class ClientHello:
    """What was asked for."""

    name: str
    encrypted: bool


def alert_bytes(alert: int) -> bytes:
    """A fatal alert record."""
    return bytes((21, 3, 3, 0, 2, 2, alert))


class HelloReader:
    """Puts a hello together from records in any split; each byte is looked at once."""

    def __init__(self) -> None:
        self._raw = bytearray()
        self._at = 0
        self._message = bytearray()

    def feed(self, data: bytes) -> ClientHello | None:
        """The hello once it is whole, else None. Raises HelloError."""
        self._raw += data
        if len(self._raw) > MAX_RAW:
            raise HelloError(DECODE_ERROR, "the hello is too long")
        while self._record():
            if self._whole():
                return parse_hello(bytes(self._message[4:]))
        return None

    def _record(self) -> bool:
        raw, at = self._raw, self._at
        if len(raw) > at and raw[at] != 22:
            raise HelloError(DECODE_ERROR, "not a TLS handshake")
        if len(raw) > at + 1 and raw[at + 1] != 3:
            raise HelloError(DECODE_ERROR, "not a TLS handshake")
        if len(raw) < at + 5:
            return False
        length = int.from_bytes(raw[at + 3 : at + 5], "big")
        if not 0 < length <= 16384:
            raise HelloError(DECODE_ERROR, "a record has 1 to 16384 bytes")
        if len(raw) < at + 5 + length:
            return False
        self._message += raw[at + 5 : at + 5 + length]
        self._at = at + 5 + length
        return True

    def _whole(self) -> bool:
        message = self._message
        if message[0] != 1:
            raise HelloError(DECODE_ERROR, "the first message is not a ClientHello")
        if len(message) < 4:
            return False
        length = int.from_bytes(message[1:4], "big")
        if length > MAX_HELLO:
            raise HelloError(DECODE_ERROR, "the hello is too long")
        if len(message) > 4 + length:
            raise HelloError(DECODE_ERROR, "another message follows in the hello's record")
        return len(message) == 4 + length


class _Cursor:
    __slots__ = ("_at", "_data")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def at_end(self) -> bool:
        return self._at == len(self._data)

    def take(self, size: int) -> bytes:
        part = self._data[self._at : self._at + size]
        if len(part) != size:
            raise HelloError(DECODE_ERROR, "the hello is cut short")
        self._at += size
        return part

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def block(self, size: int) -> bytes:
        return self.take(self.number(size))


def parse_hello(body: bytes) -> ClientHello:
    """Read a ClientHello's body. `name` is as sent, lower-case; empty when none was sent. Raises HelloError."""
    cursor = _Cursor(body)
    if cursor.number(2) >> 8 != 3:
        raise HelloError(DECODE_ERROR, "not a TLS version")
    cursor.take(32)
    if len(cursor.block(1)) > 32:
        raise HelloError(DECODE_ERROR, "the session id is too long")
    ciphers = cursor.block(2)
    if not ciphers or len(ciphers) % 2:
        raise HelloError(DECODE_ERROR, "the cipher list is malformed")
    if not cursor.block(1):
        raise HelloError(DECODE_ERROR, "the compression list is empty")
    if cursor.at_end:
        return ClientHello("", False)
    extensions = _extensions(cursor.block(2))
    if not cursor.at_end:
        raise HelloError(DECODE_ERROR, "bytes follow the extensions")
    name = _name(extensions[_SERVER_NAME]) if _SERVER_NAME in extensions else ""
    return ClientHello(name, _ECH in extensions or _OLD_ESNI in extensions)


def _extensions(data: bytes) -> dict[int, bytes]:
    cursor = _Cursor(data)
    found: dict[int, bytes] = {}
    while not cursor.at_end:
        kind = cursor.number(2)
        if kind in found:
            raise HelloError(ILLEGAL_PARAMETER, "an extension comes twice")
        found[kind] = cursor.block(2)
    return found


def _name(data: bytes) -> str:
    cursor = _Cursor(data)
    names = _Cursor(cursor.block(2))
    if not cursor.at_end:
        raise HelloError(DECODE_ERROR, "bytes follow the server name")
    kind = names.number(1)
    name = names.block(2)
    if kind != 0 or not names.at_end:
        raise HelloError(ILLEGAL_PARAMETER, "exactly one host name may be asked for")
    if not name or not name.isascii():
        raise HelloError(UNRECOGNIZED_NAME, "the server name is not ASCII")
    return name.decode("ascii").lower()


def check_hello(hello: ClientHello, host: str, ech_allowed: bool) -> None:
    """Refuse a hello that does not ask for exactly `host`. Raises HelloError."""
    if hello.encrypted and not ech_allowed:
        raise HelloError(ILLEGAL_PARAMETER, "an encrypted hello (ECH) hides the name; the rule needs the flag ech")
    if not hello.name:
        raise HelloError(UNRECOGNIZED_NAME, "the hello names no server (SNI)")
    if hello.name != host:
        raise HelloError(UNRECOGNIZED_NAME, "the hello names another server than CONNECT did")
