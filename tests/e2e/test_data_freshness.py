"""A token is enough: the read that carries it shows the write, scores and cut-offs included."""

from typing import Any

from tests.e2e.installation import TOKEN, Installation, expect


def basket(sale_id: str, customer_code: str) -> dict[str, Any]:
    return {
        "sale_id": sale_id,
        "customer_code": customer_code,
        "sold_at": "2026-11-20T10:31:00+01:00",
        "lines": [{"product_key": "P", "quantity": 1, "unit_price": "12.50"}],
    }


async def test_the_first_sale_of_a_tenant_is_scored_in_the_read_that_waits_for_it(installation: Installation) -> None:
    tenant = await installation.register()
    sold = await installation.http.post("/v1/sales", json=basket("S-1", "C-1"), headers=tenant.auth)
    waiting = {**tenant.auth, TOKEN: sold.headers[TOKEN], "Prefer": "wait=20"}
    found = expect(await installation.http.get("/v1/customers/C-1", headers=waiting), 200)
    assert found["rfm"]["rfm_code"] is not None
    assert (found["rfm"]["frequency"], found["rfm"]["monetary"]) == (1, "12.50")
    assert found["profile"]["budget"]["typical"] == "12.50"


async def test_distribution_and_cutoffs_have_followed_the_write(installation: Installation) -> None:
    tenant = await installation.register()
    for number in range(3):
        body = {"sales": [basket(f"S-{number}-{n}", f"C-{n}") for n in range(number + 1)]}
        sold = await installation.http.post("/v1/sales/batch", json=body, headers=tenant.auth)
        waiting = {**tenant.auth, TOKEN: sold.headers[TOKEN], "Prefer": "wait=20"}
        shown = expect(await installation.http.get("/v1/rfm/distribution", headers=waiting), 200)
        assert sum(one["customers"] for one in shown["segments"] if one["segment"] != "prospect") == number + 1
        cutoffs = expect(await installation.http.get("/v1/rfm/cutoffs", headers=waiting), 200)
        assert len(cutoffs["monetary"]) == 4
    assert cutoffs["frequency"][0] < cutoffs["frequency"][-1]
