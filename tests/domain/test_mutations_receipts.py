"""Every way in which a stored line can be wrong has its own code (EVIDENCE 8, M27-M44 and M115): one case each, named
after the mutation."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable

import orjson
import pytest
from app.domain.canonical import b64, canonical_bytes, unb64
from app.domain.errors import InvalidInput
from app.domain.payload import PAYLOADS
from app.domain.receipt import BadReceipt, parse, verify_signature
from app.domain.signing import Verifier
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.log_kit import (
    APPROVER,
    SIGNER,
    STRANGER,
    at,
    check,
    envelope,
    fields_of,
    rewrite,
    sign,
    story,
)

LINES = story().lines
VICTIM = 6
L = 2**252 + 27742317777372353535851937790883648493
LOW_ORDER = b"\x01" + b"\x00" * 31

Lines = list[bytes]
Mutation = Callable[[], Lines]
CASES: dict[str, tuple[Mutation, set[str]]] = {}


def case(*codes: str) -> Callable[[Mutation], Mutation]:
    def register(mutation: Mutation) -> Mutation:
        CASES[mutation.__name__] = mutation, set(codes)
        return mutation

    return register


def swapped(line: bytes) -> Lines:
    return [*LINES[:VICTIM], line, *LINES[VICTIM + 1 :]]


def parts() -> tuple[bytes, bytes]:
    outer = orjson.loads(LINES[VICTIM])
    return unb64(outer["payload"]), unb64(outer["signatures"][0]["sig"])


def rebuilt(inner: bytes, signature: bytes) -> bytes:
    outer = orjson.loads(LINES[VICTIM])
    outer["payload"] = b64(inner)
    outer["signatures"][0]["sig"] = b64(signature)
    return canonical_bytes(outer)


@case("E_SIG_INVALID")
def m27_body_field_changed() -> Lines:
    inner, signature = parts()
    fields = orjson.loads(inner)
    fields["actor"]["id"] = "other"
    return swapped(rebuilt(canonical_bytes(fields), signature))


@case("E_SIG_INVALID")
def m28_sig_bit_flip() -> Lines:
    inner, signature = parts()
    return swapped(rebuilt(inner, bytes([signature[0] ^ 1]) + signature[1:]))


@case("E_SIG_INVALID")
def m29_sig_s_plus_l() -> Lines:
    inner, signature = parts()
    scalar = int.from_bytes(signature[32:], "little") + L
    return swapped(rebuilt(inner, signature[:32] + scalar.to_bytes(32, "little")))


@case("E_KEY_INVALID_POINT")
def m30_low_order_key_in_log_open() -> Lines:
    fields = fields_of(LINES[0])
    fields["body"]["keys"][1]["public"] = b64(LOW_ORDER)
    return [sign(fields), *LINES[1:]]


@case("E_SIG_INVALID", "E_KEY_ROLE")
def m31_keyid_points_to_other_valid_key() -> Lines:
    outer = orjson.loads(LINES[VICTIM])
    outer["signatures"][0]["keyid"] = APPROVER.key_id
    return swapped(canonical_bytes(outer))


@case("E_SIG_KEYID")
def m31b_keyid_of_nobody() -> Lines:
    return swapped(sign(fields_of(LINES[VICTIM]), STRANGER))


@case("E_SIG_COUNT")
def m32_second_signature_appended() -> Lines:
    outer = orjson.loads(LINES[VICTIM])
    outer["signatures"] *= 2
    return swapped(canonical_bytes(outer))


@case("E_LINE_NONCANONICAL")
def m33_whitespace() -> Lines:
    return swapped(LINES[VICTIM].replace(b'","', b'", "', 1))


@case("E_LINE_NONCANONICAL")
def m33b_key_order() -> Lines:
    outer = orjson.loads(LINES[VICTIM])
    return swapped(json.dumps({key: outer[key] for key in reversed(outer)}, separators=(",", ":")).encode())


@case("E_LINE_DUPKEY")
def m34_duplicate_json_key() -> Lines:
    return swapped(LINES[VICTIM].replace(b'{"payload"', b'{"payload":"","payload"', 1))


@case("E_LINE_DUPKEY")
def m34b_duplicate_key_in_the_payload() -> Lines:
    inner, _ = parts()
    return swapped(envelope(inner.replace(b'{"actor"', b'{"actor":{},"actor"', 1)))


@case("E_LINE_B64")
def m35_b64_unpadded() -> Lines:
    return swapped(LINES[VICTIM].replace(b'=="}]', b'"}]'))


@case("E_LINE_B64")
def m35b_b64_urlsafe() -> Lines:
    inner, signature = parts()
    line = rebuilt(inner, b"\xff" * 3 + signature[3:])
    return swapped(line.replace(b"////", b"____"))


@case("E_LINE_B64")
def m36_nonzero_b64_trailing_bits() -> Lines:
    line = LINES[VICTIM]
    where = line.rindex(b'=="}]') - 1
    alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    return swapped(line[:where] + bytes([alphabet[alphabet.index(line[where]) ^ 1]]) + line[where + 1 :])


@case("E_BODY_NONCANONICAL")
def m37_payload_number_1_to_1_0() -> Lines:
    inner, _ = parts()
    return swapped(envelope(inner.replace(b'"v":1}', b'"v":1.0}')))


@case("E_SIG_INVALID")
def m38_unicode_nfc_to_nfd() -> Lines:
    lines = rewrite(LINES, lambda bodies: at(bodies, "run.open")["body"].update(title="Caf\u00e9"))
    outer = orjson.loads(lines[2])
    fields = orjson.loads(unb64(outer["payload"]))
    fields["body"]["title"] = unicodedata.normalize("NFD", fields["body"]["title"])
    outer["payload"] = b64(canonical_bytes(fields))
    return [*lines[:2], canonical_bytes(outer), *lines[3:]]


@case("E_BODY_UNKNOWN_FIELD")
def m39_unknown_extra_field_signed() -> Lines:
    return swapped(sign({**fields_of(LINES[VICTIM]), "extra": 1}))


@case("E_BODY_UNKNOWN_FIELD")
def m39b_unknown_field_of_the_kind() -> Lines:
    return rewrite(LINES, lambda bodies: at(bodies, "intent")["body"].update(extra="x"))


@case("E_TYPE")
def m40_payload_type_of_manifest_reused_as_receipt() -> Lines:
    return swapped(envelope(parts()[0], kind="application/vnd.in-toto+json"))


@case("E_LINE_NONCANONICAL")
def m41_crlf_line_endings() -> Lines:
    return swapped(LINES[VICTIM] + b"\r")


@case("E_LINE_JSON")
def m42_bom_prefix() -> Lines:
    return swapped(b"\xef\xbb\xbf" + LINES[VICTIM])


@case("E_LINE_SIZE")
def m43_oversize_line() -> Lines:
    fields = fields_of(LINES[VICTIM])
    fields["body"]["padding"] = "x" * 60_000
    return swapped(sign(fields))


@case("E_KEY_ROLE")
def m44_approver_key_signs_receipt() -> Lines:
    return swapped(sign(fields_of(LINES[VICTIM]), APPROVER))


@case("E_TRUST_NONE")
def m25_whole_log_forged_with_a_fresh_key() -> Lines:
    def change(bodies: list[dict[str, object]]) -> None:
        bodies[0]["body"]["keys"][0]["public"] = b64(STRANGER.public)  # type: ignore[index]

    return rewrite(LINES, change, by=STRANGER)


@case("E_BODY_SCHEMA")
def m39c_null_is_no_value() -> Lines:
    return rewrite(LINES, lambda bodies: at(bodies, "outcome")["body"].update(usage=None))


@case("E_BODY_SCHEMA")
def m39d_size_below_zero() -> Lines:
    return rewrite(LINES, lambda bodies: at(bodies, "intent")["body"]["args"].update(size=-1))


@case("E_BODY_VERSION")
def m_version_2() -> Lines:
    return swapped(sign({**fields_of(LINES[VICTIM]), "v": 2}))


@case("E_TIME_FORMAT")
def m115_ts_leap_second() -> Lines:
    return swapped(sign({**fields_of(LINES[VICTIM]), "ts": "2026-11-21T23:59:60.000Z"}))


@case("E_KEY_EPOCH")
def m98_receipt_of_another_epoch() -> Lines:
    return rewrite(LINES, lambda bodies: bodies[VICTIM].update(epoch=1))


@pytest.mark.parametrize("name", CASES)
def test_a_mutated_receipt_is_named(name: str) -> None:
    mutation, codes = CASES[name]
    report = check(mutation())
    assert not report.ok
    assert codes <= report.error_counts.keys()


def test_the_untouched_log_verifies() -> None:
    report = check(LINES)
    assert report.ok and report.receipts == len(LINES) and (report.runs, report.open_runs) == (3, 1)
    assert report.warning_counts.keys() == {
        "W_SCHEMA_DIFFERS",
        "W_APPR_OPERATOR_ASSERTED",
        "W_ACT_UNKNOWN_OUTCOME",
        "W_RUN_OPEN",
    }


def test_no_trusted_key_is_no_proof() -> None:
    assert check(LINES, frozenset()).error_counts == {"E_TRUST_NONE": len(LINES)}


@pytest.mark.parametrize("victim", [0, 4, 5])
def test_every_single_bit_flip_is_caught(victim: int) -> None:
    line, key = LINES[victim], Verifier.of(SIGNER.public)
    for bit in range(len(line) * 8):
        flipped = bytearray(line)
        flipped[bit // 8] ^= 1 << bit % 8
        try:
            taken = verify_signature(parse(bytes(flipped)), key)
        except BadReceipt:
            taken = False
        assert not taken, f"bit {bit}"
        if bit % 97 == 0:
            assert not check([*LINES[:victim], bytes(flipped)]).ok


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_parse_is_total_and_its_quick_path_gives_nothing_away(data: st.DataObject) -> None:
    line = bytearray(data.draw(st.sampled_from(LINES)))
    if data.draw(st.booleans()):
        line = bytearray(orjson.loads(bytes(line))["payload"].encode())
        line = bytearray(unb64(line.decode()))
    for _ in range(data.draw(st.integers(1, 4))):
        where = data.draw(st.integers(0, len(line)))
        line[where : where + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=6))
    mutated = bytes(line) if line.startswith(b'{"payload') else envelope(bytes(line))
    try:
        receipt = parse(mutated)
    except BadReceipt:
        return
    # Whatever is taken is exactly what the strict reading and writing of it gives.
    assert canonical_bytes(orjson.loads(mutated)) == mutated
    assert canonical_bytes(json.loads(receipt.inner)) == receipt.inner


@given(st.binary(max_size=400))
def test_any_bytes_give_a_report(data: bytes) -> None:
    report = check([data])
    assert not report.ok and report.receipts == 1


@given(st.binary(max_size=200), st.sampled_from(sorted(PAYLOADS)))
def test_signed_nonsense_gives_a_report(data: bytes, kind: tuple[str, str]) -> None:
    fields = {**fields_of(LINES[VICTIM]), "kind": kind[0]}
    assert not check([*LINES[:VICTIM], sign(fields), envelope(data)]).ok


def test_an_empty_log_is_no_log() -> None:
    assert check([]).error_counts == {"E_LOG_MISMATCH": 1}


def test_a_thousand_broken_lines_are_counted_and_few_are_listed() -> None:
    report = check([b"{}"] * 1_000)
    assert report.error_counts["E_LINE_JSON"] == 1_000 and len(report.errors) < 50


def test_what_a_line_says_cannot_move_a_terminal() -> None:
    lines = rewrite(LINES, lambda bodies: bodies[VICTIM].update(log="\x1b[2J evil"))
    assert all(finding.message.isprintable() for finding in check(lines).errors)


def test_a_writer_refuses_what_a_reader_would() -> None:
    assert isinstance(BadReceipt("E_X", "x"), InvalidInput)
    assert SIGNER.key_id != STRANGER.key_id
