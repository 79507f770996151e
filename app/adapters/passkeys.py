"""The making of passkeys, through the library `webauthn`, which only this module knows."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from webauthn import generate_registration_options, options_to_json, verify_registration_response
from webauthn.helpers import decode_credential_public_key, parse_client_data_json, parse_registration_credential_json
from webauthn.helpers.cose import COSEAlgorithmIdentifier
from webauthn.helpers.decode_credential_public_key import DecodedEC2PublicKey, DecodedOKPPublicKey
from webauthn.helpers.exceptions import WebAuthnException
from webauthn.helpers.structs import (
    AttestationConveyancePreference,
    AuthenticatorSelectionCriteria,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from app.domain.canonical import strict_loads
from app.domain.errors import InvalidInput
from app.domain.passkey import MAX_BYTES, MAX_CREDENTIAL, PasskeyKey, rp_id
from app.domain.sshsig import BadSignature
from app.ports import Credential

_ALGORITHMS: Final = [COSEAlgorithmIdentifier.EDDSA, COSEAlgorithmIdentifier.ECDSA_SHA_256]
_TIMEOUT_MS: Final = 120_000
# Its parsers let errors of many kinds through (base64, CBOR, a missing field); each means the same.
_ERRORS: Final = (WebAuthnException, ValueError, LookupError, TypeError, AttributeError, ArithmeticError)


class WebauthnPasskeys:
    """User verification is always asked for; attestation never: which maker's key it is does not matter here."""

    def options(self, account: str, origin: str, challenge: bytes, known: Sequence[bytes]) -> Mapping[str, Any]:
        """The options of `navigator.credentials.create`, with base64url where it wants bytes."""
        options = generate_registration_options(
            rp_id=rp_id(origin),
            rp_name="Helm",
            user_name=account,
            user_id=hashlib.sha256(account.encode()).digest(),
            user_display_name=account,
            challenge=challenge,
            timeout=_TIMEOUT_MS,
            attestation=AttestationConveyancePreference.NONE,
            authenticator_selection=AuthenticatorSelectionCriteria(
                resident_key=ResidentKeyRequirement.PREFERRED,
                user_verification=UserVerificationRequirement.REQUIRED,
            ),
            exclude_credentials=[PublicKeyCredentialDescriptor(id=credential) for credential in known],
            supported_pub_key_algs=_ALGORITHMS,
        )
        made: dict[str, Any] = json.loads(options_to_json(options))
        return made

    def credential(self, response: str, challenge: bytes, origins: Sequence[str]) -> Credential:
        """Check the browser's answer. Raises InvalidInput."""
        try:
            strict_loads(response.encode("utf-8", "replace"), max_bytes=MAX_BYTES, max_depth=8)
            found = parse_registration_credential_json(response)
            origin = parse_client_data_json(found.response.client_data_json).origin
            verified = verify_registration_response(
                credential=found,
                expected_challenge=challenge,
                expected_rp_id=rp_id(origin),
                expected_origin=list(origins),
                require_user_verification=True,
                supported_pub_key_algs=_ALGORITHMS,
            )
            key = _key_of(verified.credential_public_key)
        except BadSignature as error:
            raise InvalidInput(error.message) from None
        except _ERRORS as error:
            raise InvalidInput(f"the passkey cannot be taken ({type(error).__name__}); try again, or another") from None
        if len(verified.credential_id) > MAX_CREDENTIAL:
            raise InvalidInput(f"a credential's id has at most {MAX_CREDENTIAL} bytes")
        return Credential(verified.credential_id, key.cose)


def _key_of(cose: bytes) -> PasskeyKey:
    """The key in the one form. Raises BadSignature."""
    key = decode_credential_public_key(cose)
    if isinstance(key, DecodedOKPPublicKey) and key.alg == COSEAlgorithmIdentifier.EDDSA:
        return PasskeyKey.eddsa(key.x)
    if isinstance(key, DecodedEC2PublicKey) and key.alg == COSEAlgorithmIdentifier.ECDSA_SHA_256:
        return PasskeyKey.es256(key.x, key.y)
    raise BadSignature("PASSKEY_KEY_TYPE", "only passkeys with ES256 or EdDSA are taken")
