"""Schemathesis over the OpenAPI document: no answer is a 500, or one that the document does not know."""

from collections.abc import Iterator
from typing import Any

import hypothesis
import pytest
import requests
import schemathesis
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.e2e.installation import Installation, Tenant, expect

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
RUNS = [
    ("owner", GenerationMode.POSITIVE, 12),
    ("owner", GenerationMode.NEGATIVE, 8),
    ("api key", GenerationMode.POSITIVE, 6),
]
FEWEST_OPERATIONS = 40
UNICODE = {
    r"\p{C}": r"\x00-\x1f\x7f-\x9f",
    r"\p{Zl}": r"\u2028",
    r"\p{Zp}": r"\u2029",
    r"\p{Z}": r"\x20\xa0\u2028\u2029",
}
"""Categories of Unicode, roughly: what they leave out, the server refuses, and that is an answer as well."""
SETTINGS = {
    "deadline": None,
    "database": None,
    "derandomize": True,
    "phases": [hypothesis.Phase.explicit, hypothesis.Phase.generate],
    "suppress_health_check": list(hypothesis.HealthCheck),
}


@pytest.fixture(scope="module")
async def fuzzed(installation: Installation) -> dict[str, dict[str, str]]:
    """Credentials of a tenant that has one thing of each kind, so that some requests find something."""
    tenant = await installation.register("Fuzz")
    key = await installation.api_key(tenant)
    await _fill(installation, tenant)
    return {"owner": tenant.auth, "api key": key}


async def _fill(installation: Installation, tenant: Tenant) -> None:
    http = installation.http
    expect(await http.post("/v1/customers", json={"customer_code": "0"}, headers=tenant.auth), 201)
    expect(await http.post("/v1/products", json={"product_key": "0"}, headers=tenant.auth), 201)
    lines = [{"product_key": "0", "quantity": "1", "unit_price": "1"}]
    sale = {"sale_id": "0", "customer_code": "0", "sold_at": "2026-01-01T00:00:00Z", "lines": lines}
    expect(await http.post("/v1/sales", json=sale, headers=tenant.auth), 202)


@pytest.fixture(scope="module")
async def document(installation: Installation) -> Any:
    """The OpenAPI document as served, with patterns that Python's regular expressions know too."""
    return _plain_patterns(expect(await installation.http.get("/openapi.json"), 200))


def _plain_patterns(part: Any) -> Any:
    if isinstance(part, list):
        return [_plain_patterns(item) for item in part]
    if not isinstance(part, dict):
        return part
    plain = {key: _plain_patterns(value) for key, value in part.items()}
    if isinstance(plain.get("pattern"), str):
        for category, characters in UNICODE.items():
            plain["pattern"] = plain["pattern"].replace(category, characters)
    return plain


@pytest.fixture
def session() -> Iterator[requests.Session]:
    """One connection for all requests."""
    with requests.Session() as session:
        yield session


@pytest.mark.parametrize(("who", "mode", "examples"), RUNS, ids=lambda value: str(getattr(value, "value", value)))
def test_no_request_finds_a_server_error_or_an_undocumented_answer(
    installation: Installation,
    fuzzed: dict[str, dict[str, str]],
    document: Any,
    session: requests.Session,
    who: str,
    mode: GenerationMode,
    examples: int,
) -> None:
    schema = schemathesis.openapi.from_dict(document)
    failures: list[str] = []
    seen: set[int] = set()
    operations = 0
    for found in schema.get_all_operations():
        operation = found.ok()
        operations += 1
        try:
            _fuzz(operation, mode, examples, installation.base_url, fuzzed[who], session, seen)
        except hypothesis.errors.Unsatisfiable:
            continue  # nothing can be wrong with a request that takes nothing
        except BaseExceptionGroup as group:
            failures += [f"{operation.label}: {error}" for error in group.exceptions]
        except AssertionError as error:
            failures.append(f"{operation.label}: {error}")
    assert operations >= FEWEST_OPERATIONS
    assert failures == [], "\n\n".join(failures)
    assert seen & ({200, 201, 202} if mode is GenerationMode.POSITIVE else {400, 422}), seen


def _fuzz(
    operation: Any,
    mode: GenerationMode,
    examples: int,
    base_url: str,
    headers: dict[str, str],
    session: requests.Session,
    seen: set[int],
) -> None:
    @hypothesis.settings(max_examples=examples, **SETTINGS)
    @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
    def one(case: Any) -> None:
        response = case.call(base_url=base_url, headers=dict(headers), session=session, timeout=40)
        seen.add(response.status_code)
        case.validate_response(response, checks=CHECKS)

    one()
