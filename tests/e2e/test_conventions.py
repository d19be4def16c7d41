"""What holds for every call: consistency tokens, idempotency keys, rate limits, sessions."""

import base64
import json
import random
import secrets
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from cli.ports import RANGE, is_free
from tests.e2e.installation import PASSWORD, TOKEN, Installation, environment, expect, joined_tokens
from tests.support.processes import Process

SALE = {
    "sale_id": "S-1",
    "sold_at": "2026-10-01T10:00:00Z",
    "lines": [{"product_key": "P", "quantity": "1", "unit_price": "10"}],
}


@dataclass(frozen=True)
class Seller:
    """A tenant's API key."""

    installation: Installation
    key: dict[str, str]


@pytest.fixture(scope="module")
async def shop(installation: Installation) -> Seller:
    """A tenant of its own."""
    tenant = await installation.register("Conventions")
    return Seller(installation, await installation.api_key(tenant))


async def test_a_read_that_is_too_early_says_how_far_the_worker_is(shop: Seller) -> None:
    end = (await shop.installation.end_offsets())[f"{shop.installation.prefix}sales"]
    future = joined_tokens("W10", _token({"t": "sales", "p": 2, "o": end + 1000}))
    headers = {**shop.key, TOKEN: future, "Prefer": "wait=0"}
    response = await shop.installation.http.get("/v1/rfm/distribution", headers=headers)
    problem = expect(response, 425)
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["retry-after"]
    assert problem["worker"] == "rfm_worker"
    (progress,) = problem["progress"]
    assert (progress["topic"], progress["partition"], progress["wanted"]) == ("sales", 2, end + 1001)
    assert 0 <= progress["applied"] <= end


def _token(entry: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps([entry]).encode()).decode().rstrip("=")


async def test_an_idempotency_key_carries_a_request_out_once(shop: Seller) -> None:
    http = shop.installation.http
    sale = {**SALE, "sale_id": f"once-{secrets.token_hex(4)}", "customer_code": None}
    for path, body, status in (("/v1/sales", sale, 202), ("/v1/customers", {"customer_code": sale["sale_id"]}, 201)):
        headers = {**shop.key, "Idempotency-Key": secrets.token_hex(8)}
        first = await http.post(path, json=body, headers=headers)
        expect(first, status)
        before = await shop.installation.end_offsets()
        again = await http.post(path, json=body, headers=headers)
        assert (again.status_code, again.content) == (status, first.content)
        assert again.headers[TOKEN] == first.headers[TOKEN]
        assert again.headers["idempotency-replayed"] == "true"
        other = await http.post(path, json={**body, "attributes": {}, "x": 1}, headers=headers)
        assert other.status_code == 409
        assert other.headers["content-type"] == "application/problem+json"
        if path == "/v1/sales":
            assert await shop.installation.end_offsets() == before


async def test_answers_say_what_is_left_of_the_rate_and_refuse_what_exceeds_it(
    shop: Seller, tmp_path_factory: pytest.TempPathFactory
) -> None:
    installation = shop.installation
    port = next(port for port in random.sample(RANGE, 500) if is_free(port))
    settings = environment(
        installation.stack,
        installation.database.gateway_url,
        installation.prefix,
        port,
        tmp_path_factory.mktemp("files"),
    )
    log = tmp_path_factory.mktemp("limited") / "gateway.log"
    gateway = Process(
        "api_gateway", {**settings, "IACRM_RATE_LIMIT_REQUESTS": "3", "IACRM_LOG_LEVEL": "WARNING"}, log, port
    )
    try:
        await gateway.ready()
        async with httpx.AsyncClient(base_url=gateway.url, headers=shop.key) as http:
            answers = [await http.get("/v1/auth/me") for _ in range(4)]
    finally:
        await gateway.stop()
    assert [answer.status_code for answer in answers[:3]] == [200, 200, 200]
    assert [answer.headers["ratelimit-remaining"] for answer in answers[:3]] == ["2", "1", "0"]
    assert all(answer.headers["ratelimit-limit"] == "3" for answer in answers)
    assert expect(answers[3], 429)["type"].endswith("/rate-limited")
    assert 0 < int(answers[3].headers["retry-after"]) <= 60


async def test_a_session_is_renewed_once_and_ends_when_a_token_is_used_twice(installation: Installation) -> None:
    http = installation.http
    tenant = await installation.register("Sessions")
    renewed = expect(await http.post("/v1/auth/refresh", json={"refresh_token": tenant.refresh_token}), 200)
    assert (await http.post("/v1/auth/refresh", json={"refresh_token": tenant.refresh_token})).status_code == 401
    stolen = await http.post("/v1/auth/refresh", json={"refresh_token": renewed["refresh_token"]})
    assert stolen.status_code == 401, "the whole family must be revoked"
    assert (await installation.log_in(tenant.username, PASSWORD))["access_token"]
