"""Cookies and their proofs: a signed 24 h token that names a session row, and CSRF tokens bound to that session. The
token alone opens nothing: the row must be there as well, and revoking deletes it."""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass
from typing import Final

import jwt

from app.services.people_port import ApiToken, Role, Session

ISSUER: Final = "helm"
AUDIENCE: Final = "helm-web"
_CLAIMS: Final = ("exp", "iat", "iss", "aud", "sub", "jti")
_ID: Final = re.compile(r"[a-z]{1,3}_[0-9a-f]{32}")
MAX_COOKIE: Final = 2_048


@dataclass(frozen=True, slots=True)
class Viewer:
    """Who is asking, proved by exactly one of a session (cookie) and an API token (Bearer)."""

    person: str
    account: str
    session: Session | None = None
    token: ApiToken | None = None

    @property
    def key(self) -> str:
        """The id of what can be revoked."""
        if self.session is not None:
            return self.session.id
        return self.token.id if self.token is not None else ""

    @property
    def role(self) -> Role:
        """What they may do; without a proof, look."""
        proved = self.session or self.token
        return proved.role if proved is not None else "viewer"

    @property
    def source(self) -> str:
        """Where an answer came from, for the record: a device or a token by its name."""
        if self.session is not None:
            return f"web:{self.session.device}"
        return f"api:{self.token.name}" if self.token is not None else ""


class Seals:
    """Makes and reads what a browser holds, with one secret of the installation."""

    def __init__(self, secret: bytes) -> None:
        self._signing = _derived(secret, b"session")
        self._csrf = _derived(secret, b"csrf")

    def token(self, session: Session) -> str:
        """The signed token of a session."""
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": session.person,
            "jti": session.id,
            "iat": session.created_ms // 1000,
            "exp": session.expires_ms // 1000,
        }
        return jwt.encode(claims, self._signing, algorithm="HS256")

    def session_id(self, token: str, now_ms: int) -> tuple[str, str] | None:
        """(session, person) of a token whose signature, audience, issuer and expiry hold; None for anything else."""
        if not token or len(token) > MAX_COOKIE:
            return None
        try:
            claims = jwt.decode(
                token,
                self._signing,
                algorithms=["HS256"],
                audience=AUDIENCE,
                issuer=ISSUER,
                # Expiry is judged below, by the installation's own clock.
                options={"require": list(_CLAIMS), "verify_exp": False, "verify_iat": False},
            )
        except (jwt.InvalidTokenError, ValueError):
            return None
        jti, sub, exp = claims["jti"], claims["sub"], claims["exp"]
        if type(exp) is not int or exp * 1000 <= now_ms:
            return None
        if not isinstance(jti, str) or not isinstance(sub, str) or _ID.fullmatch(jti) is None:
            return None
        return jti, sub

    def csrf(self, binding: str) -> str:
        """The CSRF token of a session id (or of the random value of a login page)."""
        return hmac.new(self._csrf, binding.encode("utf-8"), hashlib.sha256).hexdigest()

    def csrf_holds(self, binding: str, given: str) -> bool:
        """Whether a token belongs to the binding; never for an empty one."""
        if not binding or not given or not given.isascii():
            return False
        return hmac.compare_digest(self.csrf(binding), given)


def _derived(secret: bytes, purpose: bytes) -> bytes:
    return hmac.new(secret, b"helm/web/" + purpose, hashlib.sha256).digest()


def cookie_name(name: str, secure: bool) -> str:
    """`__Host-` binds a cookie to this host and to TLS; without TLS a browser would refuse that name."""
    return f"__Host-{name}" if secure else name
