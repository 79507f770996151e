"""The formats that are not ours, against answers that are not ours: RFC 8785, RFC 8032, Wycheproof, RFC 6962, DSSE. A
few known answers stand here; the whole published sets are used as well where they lie beside the checkout."""

from __future__ import annotations

import gzip
import json
import struct
from pathlib import Path
from typing import Any, Final

import pytest
import rfc8785
from app.domain.canonical import MAX_INT, NotCanonical, b64, canonical_bytes, strict_loads, unb64
from app.domain.errors import InvalidInput, TooLarge
from app.domain.merkle import EMPTY_ROOT, TILE_LEVEL, Frontier, frontier_of, leaf_hash, node_hash, tile_hash
from app.domain.signing import Signer, Verifier, pae
from app.settings import ROOT
from hypothesis import given
from hypothesis import strategies as st

PUBLISHED: Final = ROOT.parent / "shared" / "vectors"


def published(pattern: str) -> list[Path]:
    """The published files that lie beside this checkout; none in a bare clone."""
    return sorted(PUBLISHED.glob(pattern))


# --- RFC 8785 --------------------------------------------------------------------------------------------------------

JCS: Final = [
    (b'{"b":1,"a":[2,1]}', b'{"a":[2,1],"b":1}'),
    (b'{"\\u20ac":"\\u000f\\n\\u0022","1":{"f":1e2}}', '{"1":{"f":100},"\u20ac":"\\u000f\\n\\""}'.encode()),
    (b'["\\u007f\\/\\b"]', b'["\x7f/\\b"]'),
    # UTF-16 order: an astral character sorts before U+FB33, by code point it would come after.
    ('{"\ufb33":1,"\U0001f600":2}'.encode(), '{"\U0001f600":2,"\ufb33":1}'.encode()),
    (b"[-0.0,1E21,1e-7,333333333.33333329]", b"[0,1e+21,1e-7,333333333.3333333]"),
] + [
    (path.read_bytes(), bytes.fromhex((path.parents[1] / "outhex" / f"{path.stem}.txt").read_text()))
    for path in published("jcs/cyberphone/testdata/input/*.json")
]


@pytest.mark.parametrize(("given_bytes", "expected"), JCS)
def test_rfc_8785(given_bytes: bytes, expected: bytes) -> None:
    assert canonical_bytes(strict_loads(given_bytes, max_bytes=100_000)) == expected


def _number(bits: str) -> float:
    value: float = struct.unpack(">d", bytes.fromhex(bits.rjust(16, "0")))[0]
    return value


NUMBERS: Final = [("0000000000000001", "5e-324"), ("7fefffffffffffff", "1.7976931348623157e+308")]


def test_numbers_as_ecmascript_writes_them() -> None:
    pairs = list(NUMBERS)
    for path in published("jcs/es6testfile10k.txt"):
        pairs += [(line.split(",")[0], line.split(",")[1]) for line in path.read_text().split()]
    for path in published("jcs/rfc8785-appendix-b/numbers.json"):
        pairs += [(entry["ieee754_hex"], entry["json"]) for entry in json.loads(path.read_text()) if entry["json"]]
    for bits, text in pairs:
        assert canonical_bytes(_number(bits)) == text.encode(), bits


scalars = st.characters(exclude_categories=["Cs"])
values = st.recursive(
    st.none() | st.booleans() | st.integers(-MAX_INT, MAX_INT) | st.floats(-1e15, 1e15)
    | st.text(scalars),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(scalars, max_size=5), inner, max_size=4),
    max_leaves=20,
)  # fmt: skip


@given(values)
def test_the_fast_path_writes_what_the_reference_writes(value: Any) -> None:
    data = canonical_bytes(value)
    assert data == rfc8785.dumps(value)
    assert canonical_bytes(strict_loads(data, max_bytes=10**6)) == data


@pytest.mark.parametrize(
    "value",
    [float("nan"), float("inf"), 2**53, -(2**53), "\ud800", {"\ud800": 1}, {1: 1}, b"x", {"a": {1, 2}}, object()],
    ids=["nan", "inf", "2^53", "-2^53", "surrogate", "surrogate_key", "int_key", "bytes", "set", "object"],
)
def test_what_has_no_canonical_form(value: Any) -> None:
    with pytest.raises(NotCanonical):
        canonical_bytes(value)


def test_depth_is_bounded_on_both_paths() -> None:
    deep: Any = 1.5
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(NotCanonical):
        canonical_bytes(deep)
    while isinstance(deep, list):
        deep = deep[0]


# --- strict JSON -----------------------------------------------------------------------------------------------------

REFUSED: Final = {
    "duplicate_key": b'{"a":1,"a":2}',
    "duplicate_key_by_escape": b'{"a":1,"\\u0061":2}',
    "nan": b"[NaN]",
    "infinity": b"[-Infinity]",
    "overflow": b"[1e400]",
    "bom": b"\xef\xbb\xbf{}",
    "utf16": '{"a":1}'.encode("utf-16"),
    "half_a_pair": b'["\\ud800"]',
    "half_a_pair_in_a_key": b'{"\\udfff":1}',
    "raw_surrogate": b'["\xed\xa0\x80"]',
    "overlong": b'["\xc0\xaf"]',
    "control_character": b'["\x01"]',
    "trailing": b"{} {}",
    "trailing_comma": b"[1,]",
    "comment": b"[1/**/]",
    "single_quotes": b"['a']",
    "empty": b"",
    "digits_without_end": b"[" + b"9" * 5_000 + b"]",
    "leading_zero": b"[01]",
    "deep": b"[" * 100_000,
    "deep_behind_a_string": b'{"a":"' + b"[" * 50 + b'","b":' + b"[" * 100 + b"]" * 100 + b"}",
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_json(name: str) -> None:
    with pytest.raises(InvalidInput):
        strict_loads(REFUSED[name], max_bytes=1_000_000)


def test_brackets_in_strings_are_no_depth() -> None:
    text = json.dumps({"a": "[{" * 1_000, 'b\\"[[': '\\"]'}).encode()
    assert strict_loads(text, max_bytes=10_000, max_depth=2)["a"] == "[{" * 1_000


def test_size_comes_first() -> None:
    with pytest.raises(TooLarge):
        strict_loads(b"x" * 11, max_bytes=10)


@given(st.binary(max_size=200))
def test_the_loader_is_total(data: bytes) -> None:
    try:
        strict_loads(data, max_bytes=200)
    except InvalidInput:
        return


@given(st.binary(max_size=100), st.text("AB=+/-_ \n", max_size=12))
def test_base64_has_one_spelling(data: bytes, text: str) -> None:
    assert unb64(b64(data)) == data
    try:
        assert b64(unb64(text)) == text
    except InvalidInput:
        return


# --- Ed25519 ---------------------------------------------------------------------------------------------------------

RFC_8032: Final = [
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    )
]


def test_rfc_8032() -> None:
    cases = list(RFC_8032)
    for path in published("rfc8032/rfc8032-7.1.json"):
        found = json.loads(path.read_text())["vectors"]
        cases += [(v["seed"], v["public"], v["message"], v["signature"]) for v in found]
    for path in published("rfc8032/sign.input.gz"):
        for line in gzip.decompress(path.read_bytes()).decode().split():
            secret, public, message, signed, *_ = line.split(":")
            cases.append((secret[:64], public, message, signed[:128]))
    for seed, public, message, signature in cases:
        signer = Signer.of(bytes.fromhex(seed))
        assert signer.public.hex() == public
        assert signer.sign(bytes.fromhex(message)).hex() == signature
        assert Verifier.of(signer.public).verifies(bytes.fromhex(message), bytes.fromhex(signature))


def test_wycheproof() -> None:
    checked = 0
    for path in published("ed25519/wycheproof/testvectors_v1/ed25519_test.json"):
        for group in json.loads(path.read_text())["testGroups"]:
            key = Verifier.of(bytes.fromhex(group["publicKey"]["pk"]))
            for test in group["tests"]:
                taken = key.verifies(bytes.fromhex(test["msg"]), bytes.fromhex(test["sig"]))
                assert taken == (test["result"] == "valid"), test["tcId"]
                checked += 1
    assert checked in (0, 151)


LOW_ORDER: Final = [
    "0100000000000000000000000000000000000000000000000000000000000000",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "",
    "00" * 31,
]


@pytest.mark.parametrize("public", LOW_ORDER)
def test_a_key_that_others_take_for_every_message_is_refused(public: str) -> None:
    with pytest.raises(InvalidInput):
        Verifier.of(bytes.fromhex(public))


def test_a_signature_of_another_length_is_none() -> None:
    signer = Signer.of(b"s" * 32)
    assert not Verifier.of(signer.public).verifies(b"m", signer.sign(b"m") + b"\0")
    with pytest.raises(InvalidInput):
        Signer.of(b"short")


def test_dsse_pae() -> None:
    assert pae("http://example.com/HelloWorld", b"hello world") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )
    assert pae("ü", b"") == "DSSEv1 2 ü 0 ".encode()


# --- RFC 6962 --------------------------------------------------------------------------------------------------------

CT_LEAVES: Final = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
CT_ROOTS: Final = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def test_the_reference_tree() -> None:
    leaves = [leaf_hash(bytes.fromhex(leaf)) for leaf in CT_LEAVES]
    assert [frontier_of(leaves[:size]).root().hex() for size in range(9)] == CT_ROOTS
    for path in published("ct-reference-tree.json"):
        found = json.loads(path.read_text())
        assert (found["leaf_inputs_hex"], found["roots_hex_by_size"]) == (CT_LEAVES, CT_ROOTS)


def mth(leaves: list[bytes]) -> bytes:
    """RFC 6962 section 2.1, word for word."""
    if not leaves:
        return EMPTY_ROOT
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return node_hash(mth(leaves[:split]), mth(leaves[split:]))


@given(st.integers(0, 700))
def test_the_frontier_is_the_tree(size: int) -> None:
    leaves = [leaf_hash(number.to_bytes(4, "big")) for number in range(size)]
    grown = frontier_of(leaves)
    assert grown.root() == mth(leaves) and grown.size == size
    tiles = Frontier()
    for start in range(0, size - size % 256, 256):
        tiles.append(tile_hash(leaves[start : start + 256]), TILE_LEVEL)
    for leaf in leaves[tiles.size :]:
        tiles.append(leaf)
    assert (tiles.root(), tiles.size, tiles.peaks) == (grown.root(), size, grown.peaks)


def test_a_copy_grows_alone() -> None:
    one = frontier_of([leaf_hash(b"a")])
    two = one.copy()
    two.append(leaf_hash(b"b"))
    assert one.size == 1 and one.root() != two.root()
