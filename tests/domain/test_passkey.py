"""What passkeys sign, against signatures that are not ours (`cryptography`), a verifier that is not ours (`webauthn`),
and every kind of damage."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import pytest
from app.domain import p256
from app.domain.passkey import Assertion, PasskeyKey, base64url, challenge_of, credential_of, key_id
from app.domain.sshsig import BadSignature
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from hypothesis import given, settings
from hypothesis import strategies as st
from webauthn import verify_authentication_response
from webauthn.helpers.exceptions import WebAuthnException

from tests.passkey_kit import ORIGIN, UP, UV, SoftPasskey, eddsa, es256

STATEMENT = b'{"approval":"apr_1","decision":"approve"}'
KEYS = [SoftPasskey(es256()), SoftPasskey(eddsa(), b"\x01" * 64)]
IDS = ["es256", "eddsa"]


def refused(assertion: Assertion, key: SoftPasskey, statement: bytes = STATEMENT) -> str:
    with pytest.raises(BadSignature) as caught:
        assertion.check(key.public, statement)
    return caught.value.code


# --- P-256 -----------------------------------------------------------------------------------------------------------


@given(st.integers(1, p256.N - 1), st.binary(max_size=200))
@settings(max_examples=60, deadline=None)
def test_p256_takes_every_signature_of_another_implementation(secret: int, message: bytes) -> None:
    key = es256(secret)
    point = key.public_key().public_numbers()
    assert p256.on_curve(point.x, point.y)
    signature = key.sign(message, ECDSA(SHA256()))
    assert p256.verifies(point.x, point.y, message, signature)
    assert not p256.verifies(point.x, point.y, message + b"x", signature)
    r, s = decode_dss_signature(signature)
    assert p256.verifies(point.x, point.y, message, encode_dss_signature(r, p256.N - s))  # the same to every verifier


@given(st.integers(1, 2**64), st.integers(0, p256.N + 5), st.integers(0, p256.N + 5), st.binary(max_size=8))
@settings(max_examples=60, deadline=None)
def test_p256_judges_as_another_implementation_does(secret: int, r: int, s: int, message: bytes) -> None:
    public = es256(secret).public_key()
    point, signature = public.public_numbers(), encode_dss_signature(r, s)
    try:
        public.verify(signature, message, ECDSA(SHA256()))
        theirs = True
    except InvalidSignature:
        theirs = False
    assert p256.verifies(point.x, point.y, message, signature) == theirs


def test_p256_adds_a_point_to_itself_and_to_its_opposite() -> None:
    """Q = G and Q = -G: the table of both then holds a doubling, and the point at infinity; and keys near them."""
    for secret in (1, 2, 3, 4, p256.N - 1, p256.N - 2, p256.N - 3):
        key = es256(secret)
        point = key.public_key().public_numbers()
        for number in range(8):
            message = bytes([number])
            assert p256.verifies(point.x, point.y, message, key.sign(message, ECDSA(SHA256())))


def test_points_that_are_not_on_the_curve_are_no_keys() -> None:
    point = es256().public_key().public_numbers()
    for x, y in ((0, 0), (point.x, point.y ^ 1), (point.x + p256.P, point.y), (point.x, p256.P), (-1, 2)):
        assert not p256.on_curve(x, y)
        assert not p256.verifies(x, y, b"m", es256().sign(b"m", ECDSA(SHA256())))


@given(st.binary(max_size=80))
def test_garbage_is_no_signature_of_p256(signature: bytes) -> None:
    point = es256().public_key().public_numbers()
    assert not p256.verifies(point.x, point.y, STATEMENT, signature)


def test_der_is_written_in_one_way() -> None:
    key = es256()
    point = key.public_key().public_numbers()
    r, s = decode_dss_signature(key.sign(STATEMENT, ECDSA(SHA256())))
    good = encode_dss_signature(r, s)
    assert p256.verifies(point.x, point.y, STATEMENT, good)
    first = good[2:4] + good[4 : 4 + good[3]]
    rest = good[4 + good[3] :]
    longer = b"\x02" + bytes([good[3] + 1]) + b"\0" + good[4 : 4 + good[3]]
    for body in (longer + rest, first + rest + b"\0", first, first + first + rest, rest + first):
        assert not p256.verifies(point.x, point.y, STATEMENT, b"\x30" + bytes([len(body)]) + body)
    assert not p256.verifies(point.x, point.y, STATEMENT, b"\x30\x81" + good[1:])
    for bit in range(len(good) * 8):
        flipped = bytearray(good)
        flipped[bit // 8] ^= 1 << bit % 8
        assert not p256.verifies(point.x, point.y, STATEMENT, bytes(flipped))


# --- keys ------------------------------------------------------------------------------------------------------------


def test_only_two_kinds_of_keys_in_one_form_are_taken() -> None:
    for key in KEYS:
        assert PasskeyKey.of(key.public.cose) == key.public
        for bent in (key.public.cose[:-1], key.public.cose + b"\0", b"", b"\xa0", b"\xa1" + key.public.cose[1:]):
            with pytest.raises(BadSignature):
                PasskeyKey.of(bent)
    with pytest.raises(BadSignature, match="anybody could sign"):
        PasskeyKey.eddsa(b"\x01" + bytes(31))
    with pytest.raises(BadSignature, match="no point"):
        PasskeyKey.es256(b"\x01" * 32, b"\x02" * 32)
    with pytest.raises(BadSignature):
        PasskeyKey.es256(b"\x01" * 33, b"\x02" * 32)


def test_a_credential_is_found_again_by_its_keys_id() -> None:
    for credential in (b"x", b"\xff" * 65, b"??>>"):
        assert credential_of(key_id(credential)) == credential


# --- assertions ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", KEYS, ids=IDS)
def test_an_assertion_is_taken_by_us_and_by_another_verifier(key: SoftPasskey) -> None:
    made = key.assertion(STATEMENT)
    Assertion.read(made.text()).check(key.public, STATEMENT)
    assert made.key_id == key_id(key.credential) and made.origin == ORIGIN
    _other_verifier(made, key)


def _other_verifier(made: Assertion, key: SoftPasskey) -> None:
    verified = verify_authentication_response(
        credential={
            "id": base64url(made.credential),
            "rawId": base64url(made.credential),
            "type": "public-key",
            "response": {
                "clientDataJSON": base64url(made.client_data),
                "authenticatorData": base64url(made.authenticator_data),
                "signature": base64url(made.signature),
            },
        },
        expected_challenge=hashlib.sha256(STATEMENT).digest(),
        expected_rp_id="helm.example",
        expected_origin=ORIGIN,
        credential_public_key=key.public.cose,
        credential_current_sign_count=0,
        require_user_verification=True,
    )
    assert verified.user_verified


@pytest.mark.parametrize("key", KEYS, ids=IDS)
def test_every_single_bit_flip_of_what_was_signed_is_refused(key: SoftPasskey) -> None:
    made = key.assertion(STATEMENT)
    for name in ("authenticator_data", "client_data", "signature"):
        whole = getattr(made, name)
        for bit in range(len(whole) * 8):
            flipped = bytearray(whole)
            flipped[bit // 8] ^= 1 << bit % 8
            refused(replace(made, **{name: bytes(flipped)}), key)


@pytest.mark.parametrize("key", KEYS, ids=IDS)
def test_another_statement_another_key_another_purpose_are_refused(key: SoftPasskey) -> None:
    made = key.assertion(STATEMENT)
    assert refused(made, key, STATEMENT + b" ") == "PASSKEY_SIGNATURE"
    assert refused(made, SoftPasskey(es256(8))) == "PASSKEY_SIGNATURE"
    assert refused(key.assertion(STATEMENT, type="webauthn.create"), key) == "PASSKEY_FORM"
    assert refused(key.assertion(STATEMENT, challenge=base64url(STATEMENT)), key) == "PASSKEY_SIGNATURE"


@pytest.mark.parametrize(
    ("flags", "code"),
    [(0, "PRESENCE"), (UP, "PRESENCE"), (UV, "PRESENCE"), (UP | UV | 0x40, "FORM"), (UP | UV | 0x02, "FORM"),
     (UP | UV | 0x80, "FORM")],
)  # fmt: skip
def test_its_person_must_have_been_there_and_verified(flags: int, code: str) -> None:
    key = SoftPasskey(flags=flags)
    assert refused(key.assertion(STATEMENT), key) == f"PASSKEY_{code}"
    if flags != UP | UV | 0x02:  # a bit that is reserved: the other verifier does not look at it
        with pytest.raises(WebAuthnException):
            _other_verifier(key.assertion(STATEMENT), key)


def test_a_page_in_a_page_and_another_site_are_refused() -> None:
    other = SoftPasskey(rp="evil.example")
    assert refused(other.assertion(STATEMENT), other) == "PASSKEY_FORM"
    key = SoftPasskey()
    data = key.client_data("webauthn.get", challenge_of(STATEMENT), crossOrigin=True)
    signed = key.signature(key.authenticator_data() + hashlib.sha256(data).digest())
    assert refused(Assertion(key.credential, key.authenticator_data(), data, signed), key) == "PASSKEY_FORM"


def test_what_is_kept_has_one_form() -> None:
    text = KEYS[0].assertion(STATEMENT).text()
    fields = json.loads(text)
    for bent in (
        "",
        "[]",
        text + " ",
        json.dumps(fields),
        json.dumps({**fields, "more": ""}, separators=(",", ":")),
        json.dumps({**fields, "signature": 7}, separators=(",", ":"), sort_keys=True),
        text.replace("=", ""),
        json.dumps({**fields, "credential": ""}, separators=(",", ":"), sort_keys=True),
        "x" * 20_000,
        text[:-1] + ',"signature":""}',
    ):
        with pytest.raises(BadSignature):
            Assertion.read(bent)


@given(st.binary(max_size=200), st.binary(max_size=80))
def test_garbage_is_refused_and_raises_nothing_else(client_data: bytes, head: bytes) -> None:
    refused(replace(KEYS[0].assertion(STATEMENT), client_data=client_data, authenticator_data=head), KEYS[0])
    with pytest.raises(BadSignature):
        Assertion.read(client_data.decode("latin-1"))
    with pytest.raises(BadSignature):
        PasskeyKey.of(client_data)
