"""OpenSSH signatures: against the real `ssh-keygen`, and against every kind of damage."""

from __future__ import annotations

import base64
import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest
from app.domain.signing import Signer
from app.domain.sshsig import BadSignature, SshKey, SshSignature, verify
from hypothesis import given
from hypothesis import strategies as st

from tests.ssh_kit import HARDWARE, PLAIN, SoftKey, armor, enclosed, string

NAMESPACE: Final = "helm-approval"
MESSAGE: Final = b'{"approval":"apr_1","decision":"approve"}'
KEY: Final = SoftKey(Signer.of(b"\x07" * 32))
TOKEN: Final = SoftKey(Signer.of(b"\x08" * 32), "ssh:helm")


def refused(armored: str, message: bytes = MESSAGE, namespace: str = NAMESPACE) -> str:
    with pytest.raises(BadSignature) as caught:
        verify(armored, message, namespace)
    assert caught.value.message
    return caught.value.code


@pytest.fixture(scope="session")
def made_by_openssh(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A key and its signature of MESSAGE as OpenSSH makes them."""
    assert shutil.which("ssh-keygen"), "install openssh-client: these tests speak with the real one"
    folder = tmp_path_factory.mktemp("ssh")
    _ran("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "anna's laptop", "-f", str(folder / "key"))
    signed = _ran("ssh-keygen", "-Y", "sign", "-f", str(folder / "key"), "-n", NAMESPACE, stdin=MESSAGE)
    return folder / "key", signed


def _ran(*command: str, stdin: bytes = b"") -> str:
    run = subprocess.run(command, input=stdin, capture_output=True, timeout=30)
    assert run.returncode == 0, run.stderr
    return run.stdout.decode()


# --- with OpenSSH, in both directions -------------------------------------------------------------------------------


def test_a_signature_of_ssh_keygen_is_taken_and_names_its_key(made_by_openssh: tuple[Path, str]) -> None:
    path, signed = made_by_openssh
    key = SshKey.parse(path.with_suffix(".pub").read_text())
    assert verify(signed, MESSAGE, NAMESPACE) == key
    assert key.comment == "anna's laptop"
    assert key.type == "ssh-ed25519"
    assert key.fingerprint in _ran("ssh-keygen", "-l", "-f", str(path))
    assert path.with_suffix(".pub").read_text().startswith(key.text + " ")
    assert refused(signed, MESSAGE + b" ") == "SSH_SIGNATURE"
    assert refused(signed, MESSAGE, "helm-enroll") == "SSH_NAMESPACE"


def test_both_hashes_of_ssh_keygen_are_taken(made_by_openssh: tuple[Path, str]) -> None:
    path, _ = made_by_openssh
    for name in ("sha256", "sha512"):
        command = ("ssh-keygen", "-Y", "sign", "-O", f"hashalg={name}", "-f", str(path), "-n", NAMESPACE)
        assert verify(_ran(*command, stdin=MESSAGE), MESSAGE, NAMESPACE).type == "ssh-ed25519"


def test_ssh_keygen_takes_what_the_test_signer_makes(tmp_path: Path) -> None:
    """So that the damage below is done to signatures that are really good ones."""
    for key in (KEY, TOKEN):
        (tmp_path / "allowed").write_text(f"anna {key.ssh.text}\n")
        (tmp_path / "sig").write_text(key.sign(MESSAGE, NAMESPACE))
        command = ["ssh-keygen", "-Y", "verify", "-f", str(tmp_path / "allowed"), "-I", "anna", "-n", NAMESPACE]
        assert "Good" in _ran(*command, "-s", str(tmp_path / "sig"), stdin=MESSAGE)
        assert verify(key.sign(MESSAGE, NAMESPACE), MESSAGE, NAMESPACE) == key.ssh


def test_a_key_of_low_order_is_refused_although_ssh_keygen_takes_it(tmp_path: Path) -> None:
    """EVIDENCE 2.4: the neutral element with a signature that "verifies" for every message."""
    public, signature = b"\x01" + bytes(31), b"\x01" + bytes(63)
    blob = string(PLAIN) + string(public)
    planted = armor(blob, NAMESPACE, string(PLAIN) + string(signature))
    assert refused(planted) == "SSH_KEY"
    with pytest.raises(BadSignature, match="anybody could sign"):
        SshKey.parse(f"ssh-ed25519 {base64.b64encode(blob).decode()} eve")


@pytest.mark.parametrize("kind", ["rsa", "ecdsa"])
def test_other_types_of_keys_are_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "key"
    _ran("ssh-keygen", "-q", "-t", kind, "-N", "", "-f", str(path))
    with pytest.raises(BadSignature, match="only ssh-ed25519") as caught:
        SshKey.parse(path.with_suffix(".pub").read_text())
    assert caught.value.code == "SSH_KEY_TYPE"
    signed = _ran("ssh-keygen", "-Y", "sign", "-f", str(path), "-n", NAMESPACE, stdin=MESSAGE)
    assert refused(signed) == "SSH_KEY_TYPE"


# --- damage ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", [KEY, TOKEN], ids=["plain", "hardware"])
def test_every_single_bit_flip_is_refused(key: SoftKey) -> None:
    good = key.sign(MESSAGE, NAMESPACE).encode()
    assert verify(good.decode(), MESSAGE, NAMESPACE) == key.ssh
    for bit in range(len(good) * 8):
        flipped = bytearray(good)
        flipped[bit // 8] ^= 1 << bit % 8
        refused(flipped.decode("latin-1"))


@pytest.mark.parametrize("key", [KEY, TOKEN], ids=["plain", "hardware"])
def test_every_bit_flip_inside_the_signature_is_refused(key: SoftKey) -> None:
    """The same below the armour: no field may be changed."""
    blob = key.blob(MESSAGE, NAMESPACE)
    for bit in range(len(blob) * 8):
        flipped = bytearray(blob)
        flipped[bit // 8] ^= 1 << bit % 8
        refused(enclosed(bytes(flipped)))


@pytest.mark.parametrize("key", [KEY, TOKEN], ids=["plain", "hardware"])
def test_a_signature_that_is_cut_or_grown_is_refused(key: SoftKey) -> None:
    blob = key.blob(MESSAGE, NAMESPACE)
    for size in range(len(blob)):
        refused(enclosed(blob[:size]) if size else "")
    for more in (b"\0", b"\n", blob):
        assert refused(enclosed(blob + more)) == "SSH_FORM"


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text + "\n",
        lambda text: " " + text,
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.replace("-----BEGIN", "----BEGIN"),
        lambda text: text + text,
        lambda text: "x\n" + text,
        lambda text: text.replace("\n", "", 2),
        lambda text: text.replace("\n", "\n\n", 2),
        lambda text: text[:-30] + "=" + text[-30:],
        lambda text: text * 40,
        lambda text: text.replace("+", "-").replace("/", "_") + " ",
    ],
)
def test_armour_is_written_in_one_way(damage: object) -> None:
    assert callable(damage)
    assert refused(damage(KEY.sign(MESSAGE, NAMESPACE))) == "SSH_FORM"


def test_a_security_key_must_have_been_touched_and_says_whether_it_verified_its_person() -> None:
    assert refused(TOKEN.sign(MESSAGE, NAMESPACE, flags=0)) == "SSH_PRESENCE"
    assert refused(TOKEN.sign(MESSAGE, NAMESPACE, flags=4)) == "SSH_PRESENCE"
    assert refused(TOKEN.sign(MESSAGE, NAMESPACE, flags=0x41)) == "SSH_FORM"
    assert not SshSignature.read(TOKEN.sign(MESSAGE, NAMESPACE, flags=1)).user_verified
    assert SshSignature.read(TOKEN.sign(MESSAGE, NAMESPACE, flags=5)).user_verified
    assert verify(TOKEN.sign(MESSAGE, NAMESPACE, flags=5), MESSAGE, NAMESPACE).type == "sk-ssh-ed25519"


def test_a_credential_of_a_web_site_is_no_ssh_key() -> None:
    stranger = SoftKey(Signer.of(b"\x09" * 32), "helm.example")
    assert refused(stranger.sign(MESSAGE, NAMESPACE)) == "SSH_KEY"


def test_a_signature_of_one_type_does_not_stand_for_a_key_of_the_other() -> None:
    inner = string(HARDWARE) + string(bytes(64)) + b"\x01" + bytes(4)
    assert refused(armor(KEY.ssh.blob, NAMESPACE, inner)) == "SSH_FORM"
    assert refused(armor(TOKEN.ssh.blob, NAMESPACE, string(PLAIN) + string(bytes(64)))) == "SSH_FORM"


@pytest.mark.parametrize(
    "line",
    [
        "",
        "ssh-ed25519",
        "ssh-ed25519 !",
        "a\nb",
        "ssh-ed25519 AAAA",
        KEY.ssh.text + "=",
        "x " + KEY.ssh.text,
        "k" * 9000,
    ],
)
def test_a_line_that_is_no_public_key_is_refused(line: str) -> None:
    with pytest.raises(BadSignature):
        SshKey.parse(line)


@given(st.text(max_size=400) | st.binary(max_size=400).map(lambda data: data.decode("latin-1")))
def test_garbage_is_refused_and_raises_nothing_else(text: str) -> None:
    refused(text)
    with pytest.raises(BadSignature):
        SshKey.parse(text)


@given(st.binary(max_size=600))
def test_garbage_in_good_armour_is_refused_and_raises_nothing_else(blob: bytes) -> None:
    refused(enclosed(blob))
    refused(enclosed(b"SSHSIG\0\0\0\x01" + blob))
    with pytest.raises(BadSignature):
        SshKey.of(blob)


# --- the curve -------------------------------------------------------------------------------------------------------

ORDER: Final = 2**252 + 27742317777372353535851937790883648493


def test_a_second_way_to_write_a_good_signature_is_refused() -> None:
    """S and S + L are one number to a careless verifier (RFC 8032 5.1.7). The Wycheproof cases of the verifier
    underneath are in test_vectors.py."""
    blob = KEY.blob(MESSAGE, NAMESPACE)
    larger = int.from_bytes(blob[-32:], "little") + ORDER
    assert refused(enclosed(blob[:-32] + larger.to_bytes(32, "little"))) == "SSH_SIGNATURE"


@pytest.mark.parametrize(
    "public", [bytes(32), bytes(31) + b"\x80", b"\x01" + bytes(31), b"\xec" + b"\xff" * 30 + b"\x7f"]
)
def test_points_of_low_order_are_no_keys(public: bytes) -> None:
    with pytest.raises(BadSignature) as caught:
        SshKey.of(string(PLAIN) + string(public))
    assert caught.value.code == "SSH_KEY"
