"""Accounts of platform operators. They are made on the command line, never over HTTP.

`./iacrm operator create` uses it, and inside a container, where that command is not:
`python -m services.api_gateway.operators <username> <email>` (the password is asked for, or read from a pipe).
"""

import argparse
import asyncio
import sys
import uuid
from getpass import getpass
from uuid import UUID

from pydantic import SecretStr, TypeAdapter

from services.api_gateway.repository import accounts
from services.api_gateway.security.passwords import Passwords
from services.api_gateway.settings import GatewaySettings
from services.api_gateway.views.accounts import Email, Password, Username
from shared.db.engine import create_engine, transaction

_USERNAME: TypeAdapter[str] = TypeAdapter(Username)
_EMAIL: TypeAdapter[str] = TypeAdapter(Email)
_PASSWORD: TypeAdapter[SecretStr] = TypeAdapter(Password)


class UsernameTakenError(ValueError):
    """Somebody has this username already."""


async def create_operator(settings: GatewaySettings, username: str, email: str, password: str) -> UUID:
    """Adds an operator and answers its id.

    Args:
        settings: of the gateway; its database URL and password parameters are used.
        username: 3 to 64 letters, digits and . _ @ + -.
        email: for people, never used to log in.
        password: at least 10 characters.

    Raises:
        pydantic.ValidationError: a value is not acceptable.
        UsernameTakenError: the username is taken, by whomever.
    """
    name, address = _USERNAME.validate_python(username), _EMAIL.validate_python(email)
    secret = _PASSWORD.validate_python(password).get_secret_value()
    password_hash = await Passwords(settings).hash(secret)
    values = {"username": name, "email": address, "password_hash": password_hash, "role": "operator"}
    engine = create_engine(settings.database_url.get_secret_value(), application_name="iacrm_operator", pool_size=1)
    try:
        async with transaction(engine, operator=True) as connection:
            account = await accounts.add(connection, {"user_id": uuid.uuid4(), "tenant_id": None, **values})
    finally:
        await engine.dispose()
    if account is None:
        raise UsernameTakenError(f"the username {name} is taken")
    return account.user_id


def main() -> None:
    """Makes an account from the command line; exits with 1 and the reason when it is refused."""
    parser = argparse.ArgumentParser(prog="services.api_gateway.operators", description="Makes an operator's account.")
    parser.add_argument("username")
    parser.add_argument("email")
    given = parser.parse_args()
    password = getpass("Password: ") if sys.stdin.isatty() else sys.stdin.readline().rstrip("\n")
    try:
        operator_id = asyncio.run(create_operator(GatewaySettings(), given.username, given.email, password))
    except ValueError as problem:
        sys.exit(f"not created: {problem}")
    sys.stdout.write(f"{operator_id}\n")


if __name__ == "__main__":
    main()
