"""Registering, logging in, staying logged in."""

from typing import Annotated

from fastapi import Form, Request, Response
from pydantic import SecretStr

from services.api_gateway import accounts
from services.api_gateway.consistency import add_token
from services.api_gateway.context import context_of
from services.api_gateway.dependencies import Anyone, ServicesDep, unauthenticated
from services.api_gateway.errors import Problem, invalid, problem_responses
from services.api_gateway.repository import accounts as repository
from services.api_gateway.repository.accounts import Account
from services.api_gateway.routes import v1_router
from services.api_gateway.security.callers import Operator, Principal
from services.api_gateway.views.accounts import Me, PasswordChange, RefreshBody, Registration, Tokens, UserView
from services.api_gateway.views.tenants import TenantView, TenantWithOwner
from shared.db.engine import transaction

router = v1_router("auth")
_LOGIN = {"username": "ana", "password": "a long pass phrase"}


def address_of(request: Request) -> str:
    """The caller's address, as the server or its trusted proxy names it."""
    return request.client.host if request.client else "unknown"


@router.post(
    "/auth/register",
    status_code=201,
    response_model=TenantWithOwner,
    responses=problem_responses(400, 403, 409, 413, 415, 422, 429, 503),
    summary="Register a tenant with its owner",
)
async def register(body: Registration, request: Request, response: Response, services: ServicesDep) -> TenantWithOwner:
    """403 where registration is closed; an operator then makes tenants."""
    if not services.settings.registration_open:
        raise Problem(403, "registration-closed", "Registration is closed", "Ask the operator for a tenant.")
    await services.login_limits.registering(address_of(request))
    owner = {"username": body.username, "email": body.email, "password": body.password.get_secret_value()}
    row, account, ids = await accounts.create_tenant(
        services, body.tenant_name, body.settings, owner, request_id=context_of(request.scope).request_id
    )
    add_token(response, ids)
    response.headers["Location"] = "/v1/tenants/current"
    return TenantWithOwner(
        **TenantView.of(row).model_dump(), owner=UserView.model_validate(account) if account else None
    )


@router.post(
    "/auth/token",
    response_model=Tokens,
    responses=problem_responses(400, 401, 413, 415, 422, 429, 503),
    summary="Log in",
    openapi_extra={"requestBody": {"content": {"application/x-www-form-urlencoded": {"example": _LOGIN}}}},
)
async def token(
    request: Request,
    services: ServicesDep,
    username: Annotated[str, Form(min_length=1, max_length=200, examples=["ana"])],
    password: Annotated[SecretStr, Form(min_length=1, max_length=200, examples=["a long pass phrase"])],
    grant_type: Annotated[str | None, Form(pattern="^password$", description="may be sent, as OAuth2 has it")] = None,
) -> Tokens:
    """Form fields `username` and `password`. An unknown name and a wrong password get the same answer."""
    account = await accounts.check_password(services, username, password.get_secret_value(), address_of(request))
    return await accounts.open_session(services, account)


@router.post(
    "/auth/refresh",
    response_model=Tokens,
    responses=problem_responses(400, 401, 413, 415, 422, 429, 503),
    summary="Renew the tokens",
)
async def refresh(body: RefreshBody, request: Request, services: ServicesDep) -> Tokens:
    """Each refresh token works once; using one twice ends every token that came from the same log-in."""
    return await accounts.renew_session(services, body.refresh_token, address_of(request))


@router.post(
    "/auth/logout",
    status_code=204,
    responses=problem_responses(400, 413, 415, 422, 429, 503),
    summary="Log out",
)
async def logout(body: RefreshBody, request: Request, services: ServicesDep) -> None:
    """Ends all refresh tokens of this log-in. The access token lives on until it expires."""
    await accounts.close_session(services, body.refresh_token, address_of(request))


@router.get("/auth/me", response_model=Me, responses=problem_responses(401, 403, 429, 503), summary="Who am I")
async def me(principal: Anyone, services: ServicesDep) -> Me:
    """The person or key behind the credential, with its scopes."""
    account = await _account(services, principal)
    return Me(
        subject=principal.subject,
        tenant_id=None if isinstance(principal, Operator) else principal.tenant_id,
        role="operator" if isinstance(principal, Operator) else principal.role,
        scopes=[] if isinstance(principal, Operator) else sorted(principal.scopes),
        user=UserView.model_validate(account) if account else None,
    )


@router.post(
    "/auth/password",
    status_code=204,
    responses=problem_responses(400, 401, 403, 413, 415, 422, 429, 503),
    summary="Change one's password",
)
async def change_password(body: PasswordChange, request: Request, principal: Anyone, services: ServicesDep) -> None:
    """Needs the current password; ends all refresh tokens of the person."""
    account = await _account(services, principal)
    if account is None:
        raise Problem(403, "forbidden", "Not allowed", "Only people have a password.")
    current = body.current_password.get_secret_value()
    if await accounts.matching_account(services, account.username, current, address_of(request)) is None:
        # Not a 401: the credential of this request is good, and clients drop theirs at a challenge.
        raise invalid("current_password", "is not the current password")
    await accounts.set_password(services, account, body.new_password.get_secret_value())


async def _account(services: ServicesDep, principal: Principal) -> Account | None:
    """The person behind a credential; None for a key.

    Raises:
        Problem: 401 where the person is gone since the token was issued.
    """
    user_id = principal.user_id
    if user_id is None:
        return None
    tenant_id = None if isinstance(principal, Operator) else principal.tenant_id
    async with transaction(services.engine, tenant_id=tenant_id, operator=tenant_id is None) as connection:
        account = await repository.find(connection, user_id)
    if account is None or not account.active:
        raise unauthenticated()
    return account
