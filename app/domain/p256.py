"""ECDSA over P-256 with SHA-256, verifying only (FIPS 186-5 6.4.2, SP 800-186 3.2.1.3): what most passkeys sign with.
Everything here is public, so nothing has to take the same time; some five milliseconds a signature, and bounded."""

from __future__ import annotations

import hashlib
from typing import Final, TypeAlias

P: Final = 2**256 - 2**224 + 2**192 + 2**96 - 1
N: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_B: Final = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
_GX: Final = 0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296
_GY: Final = 0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5
_MOST_DER: Final = 72

Affine: TypeAlias = tuple[int, int]
Jacobian: TypeAlias = tuple[int, int, int]  # (X, Y, Z) is (X/Z^2, Y/Z^3); Z = 0 is the point at infinity

_INFINITY: Final[Jacobian] = (1, 1, 0)


def on_curve(x: int, y: int) -> bool:
    """Whether (x, y) is a point of the curve, with both written in the one way. The group's order is prime: every such
    point generates the whole of it."""
    return 0 <= x < P and 0 <= y < P and (y * y - (x * x * x - 3 * x + _B)) % P == 0


def verifies(x: int, y: int, message: bytes, signature: bytes) -> bool:
    """Whether `signature` (DER) is that of the key (x, y) over `message`. Total over any bytes and numbers."""
    numbers = _numbers(signature)
    if numbers is None or not on_curve(x, y):
        return False
    r, s = numbers
    if not (0 < r < N and 0 < s < N):
        return False
    digest = int.from_bytes(hashlib.sha256(message).digest(), "big")
    inverse = pow(s, -1, N)
    found = _both(digest * inverse % N, (_GX, _GY), r * inverse % N, (x, y))
    if found[2] == 0:
        return False
    return found[0] * pow(found[2], -2, P) % P % N == r


def _both(u: int, first: Affine, v: int, second: Affine) -> Jacobian:
    """u * first + v * second, doubling once for both (Shamir's way)."""
    one: Jacobian = (*first, 1)
    two: Jacobian = (*second, 1)
    table = (_INFINITY, one, two, _add(one, two))
    found = _INFINITY
    for bit in range(255, -1, -1):
        found = _double(found)
        pick = (u >> bit & 1) | (v >> bit & 1) << 1
        if pick:
            found = _add(found, table[pick])
    return found


def _double(point: Jacobian) -> Jacobian:
    x, y, z = point
    if z == 0 or y == 0:
        return _INFINITY
    yy = y * y % P
    s = 4 * x * yy % P
    zz = z * z % P
    m = 3 * (x - zz) * (x + zz) % P  # a = -3
    nx = (m * m - 2 * s) % P
    return nx, (m * (s - nx) - 8 * yy * yy) % P, 2 * y * z % P


def _add(a: Jacobian, b: Jacobian) -> Jacobian:
    if a[2] == 0:
        return b
    if b[2] == 0:
        return a
    za, zb = a[2] * a[2] % P, b[2] * b[2] % P
    ua, ub = a[0] * zb % P, b[0] * za % P
    sa, sb = a[1] * zb * b[2] % P, b[1] * za * a[2] % P
    if ua == ub:
        return _double(a) if sa == sb else _INFINITY
    h, r = (ub - ua) % P, (sb - sa) % P
    hh = h * h % P
    hhh, v = h * hh % P, ua * hh % P
    x = (r * r - hhh - 2 * v) % P
    return x, (r * (v - x) - sa * hhh) % P, h * a[2] * b[2] % P


def _numbers(signature: bytes) -> tuple[int, int] | None:
    """r and s of a DER SEQUENCE of two positive INTEGERs in its one form (X.690 10); None for anything else."""
    if not 8 <= len(signature) <= _MOST_DER or signature[0] != 0x30 or signature[1] != len(signature) - 2:
        return None
    numbers, at = [], 2
    for _ in range(2):
        if at + 2 > len(signature) or signature[at] != 0x02:
            return None
        body = signature[at + 2 : at + 2 + signature[at + 1]]
        if not 1 <= signature[at + 1] <= 33 or len(body) != signature[at + 1] or body[0] & 0x80:
            return None
        if len(body) > 1 and body[0] == 0 and not body[1] & 0x80:
            return None
        numbers.append(int.from_bytes(body, "big"))
        at += 2 + len(body)
    return (numbers[0], numbers[1]) if at == len(signature) else None
