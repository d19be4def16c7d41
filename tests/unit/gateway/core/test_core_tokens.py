"""Access tokens: only ours, only fresh, only with the named algorithm."""

import base64
import json
import time
import uuid
from typing import Any

import jwt
import pytest
from pydantic import SecretStr, ValidationError

from services.api_gateway.security.tokens import AccessTokens, InvalidToken
from services.api_gateway.settings import GatewaySettings

OLD, NEW = "an old secret of many characters " * 2, "a new secret of many characters " * 2
USER, TENANT = uuid.uuid4(), uuid.uuid4()


def tokens(**knobs: Any) -> AccessTokens:
    secrets = {"old": SecretStr(OLD), "new": SecretStr(NEW)}
    return AccessTokens(GatewaySettings(**({"jwt_secrets": secrets, "jwt_active_kid": "new"} | knobs)))


def claims(**changes: Any) -> dict[str, Any]:
    now = int(time.time())
    made = {
        "iss": "ia-crm", "aud": "ia-crm-api", "sub": str(USER), "tid": str(TENANT), "role": "owner",
        "iat": now, "exp": now + 60, "jti": "1",
    }  # fmt: skip
    return {name: value for name, value in (made | changes).items() if value is not ...}


def signed(secret: str = NEW, kid: str | None = "new", algorithm: str = "HS256", **changes: Any) -> str:
    return jwt.encode(claims(**changes), secret, algorithm, headers={"kid": kid} if kid else None)


def unsigned() -> str:
    def part(value: dict[str, Any]) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    return f"{part({'alg': 'none', 'typ': 'JWT', 'kid': 'new'})}.{part(claims())}."


def test_an_issued_token_says_who_and_expires_after_its_lifetime() -> None:
    verified = tokens().verify(tokens().issue(USER, TENANT, "marketer"))
    assert (verified.user_id, verified.tenant_id, verified.role) == (USER, TENANT, "marketer")
    assert verified.expires_at - time.time() == pytest.approx(900, abs=2)


def test_an_operators_token_names_no_tenant() -> None:
    assert tokens().verify(tokens().issue(USER, None, "operator")).tenant_id is None


def test_a_token_of_a_retired_but_still_accepted_key_stays_valid() -> None:
    before = tokens(jwt_active_kid="old").issue(USER, TENANT, "owner")
    assert tokens().verify(before).user_id == USER


def test_a_token_of_a_dropped_key_is_refused() -> None:
    before = tokens(jwt_active_kid="old").issue(USER, TENANT, "owner")
    only_new = tokens(jwt_secrets={"new": SecretStr(NEW)})
    with pytest.raises(InvalidToken):
        only_new.verify(before)


@pytest.mark.parametrize(
    "token",
    [
        pytest.param(signed(secret=OLD), id="signed with another key than its kid"),
        pytest.param(signed(secret="the secret of somebody else " * 3), id="forged"),
        pytest.param(signed(kid="unknown"), id="unknown kid"),
        pytest.param(signed(kid=None), id="without kid"),
        pytest.param(signed(algorithm="HS512"), id="another algorithm"),
        pytest.param(unsigned(), id="alg none"),
        pytest.param(signed(exp=int(time.time()) - 1), id="expired"),
        pytest.param(signed(iat=int(time.time()) + 3600), id="from the future"),
        pytest.param(signed(iss="somebody"), id="another issuer"),
        pytest.param(signed(aud="something"), id="another audience"),
        pytest.param(signed(exp=...), id="without expiry"),
        pytest.param(signed(tid=...), id="without tenant"),
        pytest.param(signed(sub="not-a-uuid"), id="a subject that is no id"),
        pytest.param(signed(tid="x"), id="a tenant that is no id"),
        pytest.param(signed(tid=""), id="an empty tenant"),
        pytest.param("", id="empty"),
        pytest.param("a.b.c", id="garbage"),
        pytest.param("é" * 50, id="not ASCII"),
        pytest.param("x" * 10_000, id="endless"),
    ],
)
def test_anything_else_is_refused(token: str) -> None:
    with pytest.raises(InvalidToken):
        tokens().verify(token)


def test_the_active_key_must_be_among_the_accepted_ones() -> None:
    with pytest.raises(ValidationError, match="JWT_ACTIVE_KID"):
        tokens(jwt_active_kid="other")


GOOD = "x1" * 20


@pytest.mark.parametrize(
    ("secrets", "refused"),
    [
        ({"erasure_secret": GOOD}, "JWT_SECRETS"),
        ({"jwt_secrets": {"development": GOOD}}, "ERASURE_SECRET"),
        ({"erasure_secret": GOOD, "jwt_secrets": {"development": "short"}}, "JWT_SECRETS"),
        ({"erasure_secret": GOOD, "jwt_secrets": {"development": GOOD, "old": "short"}}, "JWT_SECRETS"),
    ],
)
def test_production_refuses_default_and_short_secrets(secrets: dict[str, Any], refused: str) -> None:
    with pytest.raises(ValidationError, match=refused) as caught:
        GatewaySettings(env="production", **secrets)
    assert "short'" not in str(caught.value)


def test_production_starts_with_long_secrets_of_ones_own() -> None:
    GatewaySettings(env="production", erasure_secret=GOOD, jwt_secrets={"development": GOOD})
