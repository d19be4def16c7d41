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
