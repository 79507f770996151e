"""A receipt is one stored byte string: a DSSE envelope on one line, whose payload is canonical JSON (EVIDENCE 3). Made
here, parsed here, never rebuilt from anything else."""

from __future__ import annotations

import binascii
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, NoReturn

import orjson

from app.domain.canonical import b64, canonical_bytes, strict_loads, unb64
from app.domain.errors import InvalidInput, TooLarge
from app.domain.ids import is_digest
from app.domain.payload import Payload
from app.domain.schema import KINDS, decode
from app.domain.signing import SIGNATURE_BYTES, Signer, Verifier, pae, sha256
from app.domain.times import ms_of

PAYLOAD_TYPE: Final = "application/vnd.helm.receipt.v1+json"
MAX_LINE: Final = 65_535
MAX_BODY_DEPTH: Final = 32
_LINE: Final = re.compile(
    rb'\{"payload":"([A-Za-z0-9+/]+={0,2})","payloadType":"%b","signatures":'
    rb'\[\{"keyid":"(ed25519:[0-9a-f]{64})","sig":"([A-Za-z0-9+/]{86}==)"\}\]\}' % re.escape(PAYLOAD_TYPE).encode()
)
_SORTED: Final = orjson.OPT_SORT_KEYS | orjson.OPT_STRICT_INTEGER
_KEY: Final = re.compile(r"[a-z][a-z0-9_]{0,63}\Z")
_BODY: Final = frozenset(
    {
        "v",
        "log",
        "seq",
        "root",
        "run",
        "run_seq",
        "prev",
        "lamport",
        "kind",
        "ts",
        "mono_ns",
        "boot",
        "epoch",
        "actor",
        "refs",
        "body",
    }
)
_COUNTS: Final = ("seq", "run_seq", "lamport", "epoch")
_TEXTS: Final = ("log", "run", "boot", "kind", "mono_ns", "ts")
_DIGESTS: Final = ("root", "prev")
_ACTOR: Final = frozenset({"type", "id", "src"})
_PLAIN: Final = tuple(sorted(_BODY - {"v", "actor"}))


class BadReceipt(InvalidInput):
    """A line is not a receipt; `code` is the verifier's code for why (EVIDENCE 5.4)."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Actor:
    """Who is said to have done it, and on whose word."""

    type: Literal["agent", "human", "system", "policy"]
    id: str
    src: Literal["issuer", "agent", "client", "tool"] = "issuer"


SYSTEM: Final = Actor("system", "helm")
POLICY: Final = Actor("policy", "helm")


@dataclass(frozen=True, slots=True)
class Receipt:
    """A parsed receipt. `line` are its bytes, `id` their digest; `body` holds the kind's own fields."""

    line: bytes
    id: str
    log: str
    seq: int
    root: str
    run: str
    run_seq: int
    prev: str
    lamport: int
    kind: str
    ts: str
    mono_ns: str
    boot: str
    epoch: int
    actor: Actor
    refs: Mapping[str, str]
    body: Mapping[str, Any]
    key_id: str
    payload: Payload
    inner: bytes  # the canonical JSON that was signed
    signature: bytes


@dataclass(frozen=True, slots=True)
class Position:
    """Where a receipt stands: everything about it that its author does not choose."""

    log: str
    seq: int
    root: str
    run: str
    run_seq: int
    prev: str
    lamport: int
    ts: str
    mono_ns: int
    boot: str
    epoch: int


def receipt_id(line: bytes) -> str:
    """`sha256:` of the line, signature included; can be checked with sha256sum."""
    return sha256(line)


def genesis_prev(log: str, run: str) -> str:
    """The `prev` of a run's first receipt (EVIDENCE 3.3)."""
    return "sha256:" + hashlib.sha256(f"helm/run-genesis/v1\n{log}\n{run}\n".encode()).hexdigest()


def seal(
    at: Position, payload: Payload, body: Mapping[str, Any], actor: Actor, refs: Mapping[str, str], by: Signer
) -> bytes:
    """The signed line. Raises NotCanonical, BadReceipt for what its own schema refuses, or TooLarge past 65,535 bytes:
    what cannot be recorded does not happen."""
    fields = {
        "v": 1,
        "log": at.log,
        "seq": at.seq,
        "root": at.root,
        "run": at.run,
        "run_seq": at.run_seq,
        "prev": at.prev,
        "lamport": at.lamport,
        "kind": payload.kind,
        "ts": at.ts,
        "mono_ns": str(at.mono_ns),
        "boot": at.boot,
        "epoch": at.epoch,
        "actor": {"type": actor.type, "id": actor.id, "src": actor.src},
        "refs": dict(refs),
        "body": dict(body),
    }
    check(fields)
    # The closed schema leaves texts, flags and integers within 2^53 under ASCII names: for these orjson writes the very
    # bytes of RFC 8785.
    try:
        inner = orjson.dumps(fields, option=_SORTED)
    except (TypeError, ValueError):
        raise BadReceipt("E_BODY_NONCANONICAL", "a text has no UTF-8 form") from None
    signature = by.sign(pae(PAYLOAD_TYPE, inner))
    # base64 and hex need no escaping, so these are the RFC 8785 bytes of the envelope.
    line = b'{"payload":"%b","payloadType":"%b","signatures":[{"keyid":"%b","sig":"%b"}]}' % (
        b64(inner).encode(),
        PAYLOAD_TYPE.encode(),
        by.key_id.encode(),
        b64(signature).encode(),
    )
    if len(line) > MAX_LINE:
        raise TooLarge(f"the receipt would have {len(line)} bytes; at most {MAX_LINE} fit")
    return line


def parse(line: bytes) -> Receipt:
    """The receipt in a line, without a word about its signature. Raises BadReceipt and nothing else."""
    if len(line) > MAX_LINE:
        raise BadReceipt("E_LINE_SIZE", "the line is longer than 65,535 bytes")
    if (quick := _quick(line)) is not None:
        return quick
    envelope = _strict(line, "E_LINE_JSON")
    inner, signature, signed_by = _envelope(envelope)
    if canonical_bytes(envelope) != line:
        raise BadReceipt("E_LINE_NONCANONICAL", "the line is not canonical JSON")
    fields = _strict(inner, "E_BODY_NONCANONICAL")
    if type(fields) is not dict or not _same(inner, fields):
        raise BadReceipt("E_BODY_NONCANONICAL", "the payload is not canonical JSON")
    return _receipt(line, fields, inner, signature, signed_by)


def _quick(line: bytes) -> Receipt | None:
    """The same receipt some three times faster, when the line is byte for byte what `seal` writes; None lets the strict
    path say what is wrong.

    Nothing is given up: base64 and JSON must re-encode to the very bytes that were read, so a duplicate key, white
    space, another escape or number form cannot pass, and the closed schema leaves no room for floats or other keys.
    """
    form = _LINE.fullmatch(line)
    if form is None:
        return None
    try:
        inner = binascii.a2b_base64(form[1])
        signature = binascii.a2b_base64(form[3])
        if binascii.b2a_base64(inner, newline=False) != form[1] or len(signature) != SIGNATURE_BYTES:
            return None
        if binascii.b2a_base64(signature, newline=False) != form[3]:
            return None
        fields = orjson.loads(inner)
        if type(fields) is not dict or orjson.dumps(fields, option=_SORTED) != inner:
            return None
        return _receipt(line, fields, inner, signature, form[2].decode("ascii"))
    except (ValueError, TypeError, BadReceipt):
        return None


def verify_signature(receipt: Receipt, key: Verifier) -> bool:
    """Whether the receipt's one signature is `key`'s."""
    return receipt.key_id == key.key_id and key.verifies(pae(PAYLOAD_TYPE, receipt.inner), receipt.signature)


def _strict(data: bytes, code: str) -> Any:
    try:
        return strict_loads(data, max_bytes=MAX_LINE, max_depth=MAX_BODY_DEPTH)
    except InvalidInput as error:
        if "same key twice" in error.message:
            raise BadReceipt("E_LINE_DUPKEY", error.message) from None
        raise BadReceipt(code, error.message) from None


def _same(data: bytes, value: Any) -> bool:
    try:
        return canonical_bytes(value) == data
    except InvalidInput:
        return False


def _envelope(envelope: Any) -> tuple[bytes, bytes, str]:
    if type(envelope) is not dict or envelope.keys() != {"payload", "payloadType", "signatures"}:
        raise BadReceipt("E_LINE_JSON", "the line is not a DSSE envelope of exactly three fields")
    if envelope["payloadType"] != PAYLOAD_TYPE:
        raise BadReceipt("E_TYPE", "the payload type is not a receipt's")
    signatures = envelope["signatures"]
    if type(signatures) is not list or len(signatures) != 1:
        raise BadReceipt("E_SIG_COUNT", "a receipt has exactly one signature")
    signature = signatures[0]
    if type(signature) is not dict or signature.keys() != {"keyid", "sig"} or type(signature["keyid"]) is not str:
        raise BadReceipt("E_SIG_KEYID", "a signature has a key id and a value")
    try:
        inner, value = unb64(_string(envelope["payload"])), unb64(_string(signature["sig"]))
    except InvalidInput:
        raise BadReceipt("E_LINE_B64", "payload or signature is not canonical base64") from None
    if len(value) != SIGNATURE_BYTES:
        raise BadReceipt("E_SIG_INVALID", "a signature has 64 bytes")
    return inner, value, signature["keyid"]


def _string(value: Any) -> str:
    if type(value) is not str:
        raise InvalidInput("not a string")
    return value


def _receipt(line: bytes, fields: dict[str, Any], inner: bytes, signature: bytes, signed_by: str) -> Receipt:
    payload = check(fields)
    return Receipt(
        line=line,
        id=receipt_id(line),
        actor=Actor(**fields["actor"]),
        key_id=signed_by,
        payload=payload,
        inner=inner,
        signature=signature,
        **{name: fields[name] for name in _PLAIN},
    )


def check(fields: Mapping[str, Any]) -> Payload:
    """The payload of a receipt's fields when they fit the closed schema. Raises BadReceipt.

    The writer asks this too, before it signs: a line that could not be read back is never written.
    """
    if fields.keys() != _BODY:
        for name in fields.keys() - _BODY:
            raise BadReceipt("E_BODY_UNKNOWN_FIELD", f"{name[:64]} is not a field of a receipt")
        raise BadReceipt("E_BODY_SCHEMA", f"{min(_BODY - fields.keys())} is missing")
    if type(fields["v"]) is not int or fields["v"] != 1:
        raise BadReceipt("E_BODY_VERSION", "the receipt's version is not 1")
    _check_common(fields)
    return _payload(fields)


def _check_common(fields: Mapping[str, Any]) -> None:
    # Written out: this is asked of every receipt that is written and of every one that is checked.
    for name in _COUNTS:
        value = fields[name]
        if type(value) is not int or not 0 <= value < 2**53:
            _refuse(f"{name} is not a count")
    for name in _TEXTS:
        value = fields[name]
        if type(value) is not str or not 0 < len(value) <= 256:
            _refuse(f"{name} is not a short text")
    for name in _DIGESTS:
        value = fields[name]
        if type(value) is not str or not is_digest(value):
            _refuse(f"{name} is not a digest")
    if not (fields["mono_ns"].isascii() and fields["mono_ns"].isdigit()):
        _refuse("mono_ns is not a count")
    if fields["kind"] not in KINDS:
        _refuse("the kind is not known")
    try:
        ms_of(fields["ts"])
    except InvalidInput as error:
        raise BadReceipt("E_TIME_FORMAT", error.message) from None
    _check_actor(fields["actor"])
    _check_refs(fields["refs"])
    if type(fields["body"]) is not dict:
        _refuse("body is not an object")


def _check_actor(actor: Any) -> None:
    if type(actor) is not dict or actor.keys() != _ACTOR:
        _refuse("actor has type, id and src")
    if actor["type"] not in ("agent", "human", "system", "policy"):
        _refuse("the actor's type is not known")
    if actor["src"] not in ("issuer", "agent", "client", "tool"):
        _refuse("the actor's source is not known")
    if type(actor["id"]) is not str or len(actor["id"]) > 256:
        _refuse("the actor's id is not a short text")


def _check_refs(refs: Any) -> None:
    if type(refs) is not dict or len(refs) > 32:
        _refuse("refs is not a small object")
    for name, target in refs.items():
        if _KEY.match(name) is None or type(target) is not str or not is_digest(target):
            _refuse("a reference is no digest")


def _refuse(message: str) -> NoReturn:
    raise BadReceipt("E_BODY_SCHEMA", message)


def _payload(fields: Mapping[str, Any]) -> Payload:
    try:
        payload = decode(fields["kind"], fields["body"])
    except InvalidInput as error:
        raise BadReceipt(error.code, error.message) from None
    given = fields["refs"]
    if any(name not in given for name in payload.requires):
        _refuse("a required reference is missing")
    if any(name not in payload.requires and name not in payload.optional for name in given):
        _refuse("a reference is not one of this kind")
    return payload
