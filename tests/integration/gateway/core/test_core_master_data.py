"""Master data over HTTP, as far as it needs no event log: versions that are respected."""

from typing import Any

import pytest

from tests.integration.gateway.core.test_core_edge import slug


@pytest.mark.parametrize("path", ["/v1/customers/C-1", "/v1/products/P-1"])
async def test_a_delete_respects_if_match(gateway: Any, path: str) -> None:
    owner = await gateway.owner()

    async def delete(tag: str) -> Any:
        return await gateway.http.delete(path, headers=owner | {"If-Match": tag})

    assert slug(await delete('"1"')) == (404, "not-found")
    for _ in range(2):
        assert (await gateway.http.put(path, headers=owner, json={})).is_success
    assert slug(await delete('"1"')) == (412, "precondition-failed")
    assert slug(await delete("nonsense")) == (400, "malformed")
    assert slug(await delete("")) == (400, "malformed")
    assert (await gateway.http.get(path, headers=owner)).headers["etag"] == '"2"'
    assert (await delete('"2"')).status_code == 204
    assert slug(await delete("*")) == (404, "not-found")


@pytest.mark.parametrize("path", ["/v1/customers/C-1", "/v1/rfm/distribution"])
async def test_a_read_as_of_another_day_is_refused_rather_than_answered_with_today(gateway: Any, path: str) -> None:
    owner = await gateway.owner()
    await gateway.http.put("/v1/customers/C-1", headers=owner, json={})
    answer = await gateway.http.get(path, headers=owner, params={"as_of": "2026-01-31"})
    assert slug(answer) == (422, "validation")
    assert answer.json()["errors"] == [{"field": "as_of", "reason": "time travel is not available yet"}]
    assert slug(await gateway.http.get(path, params={"as_of": "2026-01-31"})) == (401, "unauthenticated")
    assert (await gateway.http.get(path, headers=owner, params={"other": "x"})).status_code == 200
