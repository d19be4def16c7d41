"""Access tokens: JWTs with one named algorithm, several accepted keys, and a short life."""

import time
import uuid
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import jwt

from services.api_gateway.settings import GatewaySettings

ALGORITHM = "HS256"
LONGEST_TOKEN = 2000
_CLAIMS = ["exp", "iat", "iss", "aud", "sub", "jti"]


class InvalidToken(Exception):  # noqa: N818 - states what it is
    """Not a token of ours, or no longer valid. Says nothing more: the difference helps only attackers."""


@dataclass(frozen=True, slots=True)
class AccessClaims:
    """What a valid token says. `tenant_id` is None for a platform operator; `expires_at` in seconds since 1970."""

    user_id: UUID
    tenant_id: UUID | None
    role: str
    expires_at: int


class AccessTokens:
    """Issues and verifies access tokens. Keys rotate by adding one, then making it active, then dropping the old."""

    def __init__(self, settings: GatewaySettings) -> None:
        self._secrets = {kid: secret.get_secret_value() for kid, secret in settings.jwt_secrets.items()}
        self._kid = settings.jwt_active_kid
        self._issuer, self._audience = settings.jwt_issuer, settings.jwt_audience
        self.lifetime_s = settings.access_token_s

    def issue(self, user_id: UUID, tenant_id: UUID | None, role: str) -> str:
        """A signed token that lives `lifetime_s` seconds."""
        now = int(time.time())
        claims = {
            "iss": self._issuer,
            "aud": self._audience,
            "sub": str(user_id),
            "tid": str(tenant_id) if tenant_id else None,
            "role": role,
            "iat": now,
            "exp": now + self.lifetime_s,
            "jti": uuid.uuid4().hex,
        }
        return jwt.encode(claims, self._secrets[self._kid], ALGORITHM, headers={"kid": self._kid})

    def verify(self, token: str) -> AccessClaims:
        """The claims of a token.

        Raises:
            InvalidToken: forged, expired, of another issuer or audience, or signed by an unknown key or algorithm.
        """
        if len(token) > LONGEST_TOKEN:
            raise InvalidToken
        try:
            header = jwt.get_unverified_header(token)
            secret = self._secrets[str(header.get("kid"))]
            claims = jwt.decode(
                token,
                secret,
                algorithms=[ALGORITHM],
                issuer=self._issuer,
                audience=self._audience,
                options={"require": _CLAIMS},
            )
            return _claims(claims)
        except (jwt.PyJWTError, KeyError, ValueError, TypeError) as error:
            raise InvalidToken from error


def _claims(claims: dict[str, Any]) -> AccessClaims:
    tenant = claims["tid"]
    return AccessClaims(
        UUID(claims["sub"]), UUID(tenant) if tenant is not None else None, str(claims["role"]), int(claims["exp"])
    )
