"""`helm policy sign|verify`: a person vouches for a bundle's text with their SSH key, and anybody can check it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Annotated, Final

import typer

from app.adapters.policies import load_bundle, read_signers, verify_folder
from app.cli.exits import NEGATIVE, OK, USAGE, Failure
from app.cli.output import print_json, safe
from app.cli.policy_log import Json
from app.domain.errors import BadPolicy
from app.domain.policy import Bundle
from app.domain.policy_seal import MAX_SEAL, NAMESPACE, SEAL, SIGNERS, statement
from app.domain.sshsig import BadSignature
from app.domain.sshsig import verify as verify_signature
from app.settings import read_settings

SIGN_S: Final = 120  # a passphrase is typed, or a security key is touched, in this time
Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="The folder of the bundle.")]


def sign(
    folder: Folder,
    key: Annotated[Path, typer.Option("--key", metavar="SSHKEY", help="Your ed25519 key, or its .pub with an agent.")],
    as_json: Json = False,
) -> int:
    """Sign a bundle as it lies there with your SSH key; the signature is written to bundle.sig."""
    bundle = _bundle(folder)
    seal = _signed(statement(bundle), key)
    try:
        fingerprint = verify_signature(seal, statement(bundle), NAMESPACE).fingerprint
    except BadSignature as error:
        raise Failure(f"this key cannot sign bundles: {error.message}", USAGE) from None
    _write(folder / SEAL, seal)
    if as_json:
        print_json({"bundle": bundle.name, "digest": bundle.digest, "key": fingerprint, "file": str(folder / SEAL)})
    else:
        print(f"{bundle.name} {bundle.digest}\nsigned with {fingerprint}: {safe(str(folder / SEAL), 300)}")
    return OK


def verify(
    folder: Folder,
    signers: Annotated[Path | None, typer.Option("--signers", metavar="FILE", help="Who may sign.")] = None,
    as_json: Json = False,
) -> int:
    """Say who signed a bundle as it lies there. Exit 1 when nobody did who may."""
    bundle = _bundle(folder)
    file = signers or read_settings(os.environ).policies / SIGNERS
    allowed = read_signers(file)[1]
    if not allowed:
        raise Failure(f"there is no file {file}: say who may sign with --signers", USAGE)
    facts = {"bundle": bundle.name, "digest": bundle.digest}
    try:
        signer = verify_folder(folder, bundle, allowed)
    except BadPolicy as error:
        if as_json:
            print_json({"ok": False, **facts, "why": error.message})
            return NEGATIVE
        raise Failure(error.message, NEGATIVE) from None
    if as_json:
        print_json({"ok": True, **facts, "signer": signer.name, "key": signer.key.fingerprint})
    else:
        print(f"{bundle.name} {bundle.digest}\nsigned by {safe(signer.name, 200)} with {signer.key.fingerprint}")
    return OK


def _bundle(folder: Path) -> Bundle:
    return load_bundle(folder, read_settings(os.environ).policies)[0]


def _signed(message: bytes, key: Path) -> str:
    """What `ssh-keygen` makes of a message; it asks for a passphrase or a touch by itself."""
    if not key.is_file():
        raise Failure(f"there is no key {key}", USAGE)
    words = ["ssh-keygen", "-Y", "sign", "-f", str(key), "-n", NAMESPACE]
    try:
        ended = subprocess.run(words, input=message, capture_output=True, timeout=SIGN_S, check=False)
    except FileNotFoundError:
        raise Failure("ssh-keygen is not installed; it comes with OpenSSH", USAGE) from None
    except subprocess.TimeoutExpired:
        raise Failure(f"ssh-keygen did not sign within {SIGN_S} s") from None
    if ended.returncode or len(ended.stdout) > MAX_SEAL:
        why = ended.stderr.decode("utf-8", "replace").strip().split("\n")[-1]
        raise Failure(f"ssh-keygen did not sign: {safe(why, 200)}", USAGE)
    return ended.stdout.decode("ascii", "replace")


def _write(path: Path, text: str) -> None:
    """All of it or nothing: a server may be looking."""
    new = path.with_name(path.name + ".new")
    try:
        new.write_text(text)
        new.replace(path)
    except OSError as error:
        raise Failure(f"{path} cannot be written: {error.strerror}", USAGE) from None
