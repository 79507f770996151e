"""The door's parsers: any split of the bytes reads the same, and no bytes raise anything but their typed refusal."""

from __future__ import annotations

import contextlib
import json
import ssl

import pytest
from app.door.framing import ChunkedDecoder, LengthDecoder, chunk
from app.door.hello import ClientHello, HelloError, HelloReader, check_hello
from app.door.model_request import parse_model_request
from app.door.parse import HttpError, find_head_end, parse_request, parse_response
from app.door.redact import Redactor
from hypothesis import given, settings
from hypothesis import strategies as st

splits = st.lists(st.integers(0, 40), max_size=40)
KEY = "sk-abcabd"


def pieces(data: bytes, sizes: list[int]) -> list[bytes]:
    out, at = [], 0
    for size in sizes:
        out.append(data[at : at + size])
        at += size
    return [*out, data[at:]]


GRAMMAR = st.sampled_from(
    [b"GET", b" ", b"/a", b"HTTP/1.1", b"\r\n", b"\r", b"\n", b"host: x", b"content-length: 1", b": ", b"\t", b"\0"]  # noqa: RUF005  two short lists read better than one long column
    + [b"transfer-encoding: chunked", b"POST / HTTP/1.1\r\n", b"HTTP/1.1 200 OK\r\n", b"\r\n\r\n", b"a", b"\xff"]
)


@settings(max_examples=300)
@given(st.lists(st.one_of(GRAMMAR, st.binary(max_size=3)), max_size=30), splits)
def test_any_bytes_are_a_head_or_a_typed_refusal_in_any_split(parts: list[bytes], sizes: list[int]) -> None:
    data = b"".join(parts)

    def read(chunks: list[bytes]) -> object:
        buffer, scanned = bytearray(), 0
        for piece in chunks:
            buffer += piece
            try:
                end = find_head_end(buffer, scanned)
            except HttpError as error:
                return error.status
            scanned = len(buffer)
            if end:
                results: list[object] = []
                for parse in (parse_request, lambda head: parse_response(head, "GET")):
                    try:
                        results.append(parse(bytes(buffer[:end])))
                    except HttpError as error:
                        results.append(error.status)
                return tuple(results)
        return None

    whole, split = read([data]), read(pieces(data, sizes))
    # A split may refuse a bare LF before the whole would have come to its end; both are refusals then.
    assert whole == split


@given(st.lists(st.binary(min_size=1, max_size=50), max_size=10), splits, st.binary(max_size=5))
def test_a_chunked_body_decodes_the_same_in_any_split(chunks: list[bytes], sizes: list[int], rest: bytes) -> None:
    data = b"".join(chunk(part) for part in chunks) + b"0\r\n\r\n" + rest
    decoder = ChunkedDecoder()
    body = b"".join(decoder.feed(piece) for piece in pieces(data, sizes))
    assert (body, decoder.done, decoder.rest) == (b"".join(chunks), True, rest)


@given(
    st.lists(st.one_of(st.sampled_from([b"5", b"\r\n", b"0", b"a", b";", b"+", b"\n"]), st.binary(max_size=3))), splits
)
def test_any_bytes_are_chunks_or_a_typed_refusal(parts: list[bytes], sizes: list[int]) -> None:
    def read(chunks: list[bytes]) -> tuple[bytes, bool, bool]:
        decoder, out = ChunkedDecoder(), b""
        for piece in chunks:
            try:
                out += decoder.feed(piece)
            except HttpError:
                return b"", False, True
        return out, decoder.done, False

    data = b"".join(parts)
    whole, split = read([data]), read(pieces(data, sizes))
    assert whole == split


@given(splits)
def test_extensions_and_trailers_of_answers_are_dropped(sizes: list[int]) -> None:
    data = b"3;a=b\r\nabc\r\n2 \r\nde\r\n0;x\r\nx-trailer: 1\r\ny: 2\r\n\r\nrest"
    decoder = ChunkedDecoder(lenient=True)
    assert b"".join(decoder.feed(piece) for piece in pieces(data, sizes)) == b"abcde"
    assert (decoder.done, decoder.rest) == (True, b"rest")


@given(st.binary(max_size=60), st.integers(0, 40), splits)
def test_a_body_of_known_length_ends_there(data: bytes, length: int, sizes: list[int]) -> None:
    decoder = LengthDecoder(length)
    body = b"".join(decoder.feed(piece) for piece in pieces(data, sizes))
    assert body == data[:length]
    assert decoder.rest == data[length:]
    assert decoder.done == (len(data) >= length)


@given(
    st.lists(st.sampled_from([KEY, "sk-", "sk-abc", "abd", "s", "k", "sk-abcsk-abcabd", "text "]), max_size=12), splits
)
def test_a_key_never_passes_and_nothing_else_changes(words: list[str], sizes: list[int]) -> None:
    data = "".join(words).encode()
    redactor = Redactor(KEY)
    out = b"".join(redactor.feed(piece) for piece in pieces(data, sizes)) + redactor.finish()
    assert out == data.replace(KEY.encode(), b"*" * len(KEY))
    assert redactor.found == (KEY.encode() in data)


def hello(name: str | None) -> bytes:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing, server_hostname=name).do_handshake()
    return outgoing.read()


HELLO = hello("good.test")


def records(message: bytes, size: int) -> bytes:
    """A handshake message in records of `size` bytes."""
    parts = [message[at : at + size] for at in range(0, len(message), size)]
    return b"".join(b"\x16\x03\x01" + len(part).to_bytes(2, "big") + part for part in parts)


@given(splits, st.sampled_from([1, 7, 100, 16384]))
def test_a_hello_reads_the_same_in_any_records_and_split(sizes: list[int], size: int) -> None:
    reader = HelloReader()
    found = None
    for piece in pieces(records(HELLO[5:], size), sizes):
        found = found or reader.feed(piece)
    assert found == ClientHello("good.test", False)


@settings(max_examples=500)
@given(st.integers(0, len(HELLO) - 1), st.binary(min_size=0, max_size=3), st.integers(0, 3))
def test_a_changed_hello_is_read_or_refused_and_never_names_another(at: int, put: bytes, cut: int) -> None:
    reader = HelloReader()
    try:
        found = reader.feed(HELLO[:at] + put + HELLO[at + cut :])
    except HelloError:
        return
    if found is not None and found.name != "good.test":
        with pytest.raises(HelloError):
            check_hello(found, "good.test", ech_allowed=False)


def extension(kind: int, data: bytes) -> bytes:
    return kind.to_bytes(2, "big") + len(data).to_bytes(2, "big") + data


def sni(*names: bytes, kind: int = 0) -> bytes:
    listed = b"".join(bytes([kind]) + len(name).to_bytes(2, "big") + name for name in names)
    return extension(0, len(listed).to_bytes(2, "big") + listed)


def built(*extensions: bytes, tail: bytes = b"") -> bytes:
    block = b"".join(extensions)
    body = b"\x03\x03" + b"r" * 32 + b"\x00" + b"\x00\x02\x13\x01" + b"\x01\x00"
    body += len(block).to_bytes(2, "big") + block + tail
    return records(b"\x01" + len(body).to_bytes(3, "big") + body, 16384)


@pytest.mark.parametrize(
    "data",
    [
        built(),
        built(sni(b"evil.test")),
        built(sni(b"good.test", b"evil.test")),
        built(sni(b"good.test"), sni(b"good.test")),
        built(sni(b"good.test"), extension(10, b""), extension(10, b"")),
        built(sni(b"good.test"), extension(0xFE0D, b"x")),
        built(sni(b"good.test", kind=1)),
        built(sni(b"good.test.")),
        built(sni(b"good.test\0.evil.test")),
        built(sni(b"")),
        built(extension(0, b"\x00\x00")),
        built(sni(b"good.test"), tail=b"x"),
    ],
)
def test_a_hello_that_does_not_ask_for_exactly_the_name_is_refused(data: bytes) -> None:
    reader = HelloReader()
    with pytest.raises(HelloError):
        found = reader.feed(data)
        assert found is not None
        check_hello(found, "good.test", ech_allowed=False)


def test_the_name_in_any_case_and_an_allowed_encrypted_hello_pass() -> None:
    found = HelloReader().feed(built(sni(b"Good.TEST"), extension(0xFE0D, b"x")))
    assert found is not None
    check_hello(found, "good.test", ech_allowed=True)


NAMES = st.sampled_from(["messages", "content", "type", "tool_use_id", "input", "call_id", "role", "n"])
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text()),
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(NAMES, inner)),
    max_leaves=15,
)


@given(JSON, st.sampled_from(["messages", "chat", "responses", "embeddings"]))
def test_any_json_is_a_model_request_or_a_typed_refusal(value: object, form: str) -> None:
    body = json.dumps({"model": "m", "messages": value, "input": value, "n": value}).encode()
    try:
        request = parse_model_request(body, form)
    except HttpError as error:
        assert error.status == 400
        return
    assert request.size == len(body)
