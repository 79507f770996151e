"""Signed bundles: who vouches for a bundle's text, with which SSH key. The signature (`bundle.sig`) is one of
`ssh-keygen -Y sign -n helm-policy` over the bundle's name and digest, and so covers every file of the bundle and of
those that it extends. Who may sign stands in `signers`, in the form of ssh-keygen's ALLOWED SIGNERS."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from app.domain.errors import BadPolicy
from app.domain.policy import Bundle
from app.domain.sshsig import BadSignature, SshKey, verify

NAMESPACE: Final = "helm-policy"
SEAL: Final = "bundle.sig"
SIGNERS: Final = "signers"
MAX_SEAL: Final = 16_384
_LINE: Final = re.compile(
    r'(?P<who>"[^"]+"|[^\s"]+)\s+(?:(?P<options>(?!ssh-|sk-|ecdsa-)(?:[^\s"]|"[^"]*")+)\s+)?(?P<key>[a-z0-9@.-]+\s+\S+.*)'
)
_OPTION: Final = re.compile(r'([a-z-]+)(?:="([^"]*)")?(?:,|$)')


@dataclass(frozen=True, slots=True)
class Signer:
    """Somebody who may sign bundles, with one of their keys."""

    name: str
    key: SshKey


def statement(bundle: Bundle) -> bytes:
    """The bytes that are signed: the bundle's name and the digest of its text."""
    return f"{bundle.name} {bundle.digest}\n".encode()


def parse_signers(text: str, file: str) -> tuple[Signer, ...]:
    """Who may sign. Raises BadPolicy with file and line; a line that narrows a key in a way that is not understood is
    refused, and one that is meant for another namespace is left out."""
    signers: list[Signer] = []
    for number, row in enumerate(text.split("\n"), start=1):
        line = row.strip()
        if not line or line.startswith("#"):
            continue
        found = _LINE.fullmatch(line)
        if found is None:
            raise BadPolicy(f"{file}:{number}: not a line of the form: NAME [namespaces=...] ssh-ed25519 KEY")
        if not _is_for_policies(found["options"] or "", f"{file}:{number}"):
            continue
        try:
            signers.append(Signer(found["who"].strip('"'), SshKey.parse(found["key"])))
        except BadSignature as error:
            raise BadPolicy(f"{file}:{number}: {error.message}") from None
    if not signers:
        raise BadPolicy(f"{file}:1: nobody may sign: name somebody, or take the file away to use bundles unsigned")
    return tuple(signers)


def check_seal(seal: str, bundle: Bundle, signers: Sequence[Signer], file: str) -> Signer:
    """Who signed this text of this bundle. Raises BadPolicy, naming the file of the signature."""
    try:
        key = verify(seal, statement(bundle), NAMESPACE)
    except BadSignature as error:
        words = f"the bundle {bundle.name!r} as it lies there is not what was signed ({error.message})"
        raise BadPolicy(f"{file}:1: {words}; sign it again: helm policy sign") from None
    found = next((signer for signer in signers if signer.key == key), None)
    if found is None:
        raise BadPolicy(f"{file}:1: signed with {key.fingerprint}, a key that is not among the signers")
    return found


def _is_for_policies(options: str, where: str) -> bool:
    at, wanted = 0, True
    while at < len(options):
        found = _OPTION.match(options, at)
        if found is None or found[1] != "namespaces" or found[2] is None:
            raise BadPolicy(f"{where}: the only option of a signer that is understood is namespaces")
        wanted = NAMESPACE in found[2].split(",")
        at = found.end()
    return wanted
