"""A file brings a tenant to the very figures that the same sales bring over REST, whatever the order of its rows."""

import random
from typing import Any

import orjson
import polars as pl

from cli.demo_data import load
from tests.e2e.installation import TOKEN, Installation, Tenant, expect
from tests.support.waiting import until

LINES = 3_000
COLUMNS = ("product_key", "quantity", "unit_price", "discount", "amount")
FIXED = {"reference_date": "2018-01-01"}


async def _import(installation: Installation, tenant: Tenant, content: bytes, **fields: str) -> dict[str, Any]:
    files = {"file": ("sales.csv", content)}
    answer = await installation.http.post(
        "/v1/imports", data={"kind": "sales", **fields}, files=files, headers=tenant.auth
    )
    import_id = expect(answer, 202)["import_id"]
    found: dict[str, Any] = {}

    async def ended() -> bool:
        response = await installation.http.get(f"/v1/imports/{import_id}", headers=tenant.auth)
        found.update(expect(response, 200), token=response.headers[TOKEN])
        return found["state"] in ("completed", "failed")

    await until(ended, seconds=60, what="the import ended")
    return found


async def _figures(installation: Installation, tenant: Tenant, token: str) -> dict[str, Any]:
    http, fresh = installation.http, {**tenant.auth, TOKEN: token, "Prefer": "wait=30"}
    shares = expect(await http.get("/v1/rfm/distribution", headers=fresh), 200)
    cutoffs = expect(await http.get("/v1/rfm/cutoffs", headers=fresh), 200)
    await installation.all_refreshed()
    customers = expect(await http.get("/v1/customers?limit=500", headers=fresh), 200)["items"]
    for code in [customer["customer_code"] for customer in customers][:10]:
        customers += [expect(await http.get(f"/v1/customers/{code}", headers=fresh), 200)]
    return _without_moments({"shares": shares, "cutoffs": cutoffs, "customers": customers})


def _without_moments(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_moments(item) for item in value]
    if isinstance(value, dict):
        passing = ("computed_at", "cutoffs_at", "segment_since", "created_at", "updated_at")
        return {name: _without_moments(item) for name, item in value.items() if name not in passing}
    return value


async def test_a_file_and_the_rest_api_bring_the_same_figures(installation: Installation) -> None:
    by_rest = await installation.register("REST", settings=FIXED)
    by_file = await installation.register("File", settings=FIXED)
    sales = [orjson.loads(line) for upload in load(LINES).sale_uploads() for line in upload.body.split(b"\n")]
    for sale in sales:  # an import puts lines in the order of their content, as the file's is of no account
        sale["lines"].sort(key=lambda line: "\x1f".join(line[name] for name in COLUMNS))
    for start in range(0, len(sales), 500):
        answer = await installation.http.post(
            "/v1/sales/batch", json={"sales": sales[start : start + 500]}, headers=by_rest.auth
        )
        assert expect(answer, 202)["rejected"] == []
    rows = [
        {"Ticket": sale["sale_id"], "Client": sale["customer_code"], "Date": sale["sold_at"], **line}
        for sale in sales
        for line in sale["lines"]
    ]
    random.Random(7).shuffle(rows)
    content = pl.DataFrame(rows).write_csv().encode()
    done = await _import(installation, by_file, content)
    assert (done["state"], done["counts"]["records"]) == ("completed", len(sales)), done
    theirs = await _figures(installation, by_rest, answer.headers[TOKEN])
    ours = await _figures(installation, by_file, done["token"])
    assert len(ours["customers"]) > 10
    assert ours == theirs
    random.Random(8).shuffle(rows)
    again = await _import(installation, by_file, pl.DataFrame(rows).write_csv(separator=";").encode())
    assert again["counts"]["records"] == len(sales)
    assert await _figures(installation, by_file, again["token"]) == ours
