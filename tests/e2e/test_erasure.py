"""An erased person is gone from every table and every topic."""

import secrets
from datetime import UTC, datetime

from shared.events.catalogue import ALL
from tests.e2e.installation import TOKEN, Installation, expect, joined_tokens


async def test_an_erased_person_is_nowhere_to_be_found(installation: Installation) -> None:
    tenant = await installation.register("Erasure")
    auth, http = tenant.auth, installation.http
    mark = secrets.token_hex(6)
    first, last, email = f"Firstname{mark}", f"Lastname{mark}", f"person{mark}@example.org"
    code = f"code-{mark}"
    person = {"customer_code": code, "first_name": first, "last_name": last, "email": email, "attributes": {"n": last}}
    sale = {
        "sale_id": f"sale-{mark}",
        "customer_code": code,
        "sold_at": "2026-10-01T10:00:00Z",
        "lines": [{"product_key": "P", "quantity": "1", "unit_price": "10"}],
    }
    writes = [
        await http.post("/v1/customers", json=person, headers={**auth, "Idempotency-Key": mark}),
        await http.patch(f"/v1/customers/{code}", json={"language": "fr"}, headers=auth),
        await http.post(
            "/v1/customers/bulk", json={"customers": [person]}, headers={**auth, "Idempotency-Key": f"b{mark}"}
        ),
        await http.post("/v1/sales", json=sale, headers=auth),
    ]
    assert all(write.is_success for write in writes), [write.text for write in writes]
    seen = {**auth, TOKEN: joined_tokens(*(write.headers[TOKEN] for write in writes)), "Prefer": "wait=30"}
    assert expect(await http.get(f"/v1/customers/{code}", headers=seen), 200)["rfm"]["frequency"] == 1
    assert await _places_that_hold(installation, first), "the search below would find nothing at all"

    erased = await http.delete(f"/v1/customers/{code}", headers=auth)
    assert erased.status_code == 204
    seen[TOKEN] = erased.headers[TOKEN]
    assert (await http.get(f"/v1/customers/{code}", headers=seen)).status_code == 404
    ledger = expect(await http.get(f"/v1/sales/{sale['sale_id']}", headers=seen), 200)
    assert ledger["customer_code"] not in (None, code), "the sale stays, under a pseudonym"
    assert ledger["net"] == "10.00"
    await installation.all_published()
    for text in (first, last, email):
        assert await _places_that_hold(installation, text) == [], text
    assert [place for place in await _places_that_hold(installation, code) if place.startswith("rfm.")] == []

    late = await http.post("/v1/sales", json={**sale, "sale_id": f"late-{mark}"}, headers=auth)
    seen[TOKEN] = late.headers[TOKEN]
    found = expect(await http.get(f"/v1/sales/late-{mark}", headers=seen), 200)
    assert found["customer_code"] == ledger["customer_code"], "a sale from before the erasure belongs to the pseudonym"
    assert (await http.get(f"/v1/customers/{code}", headers=seen)).status_code == 404

    now = datetime.now(UTC).isoformat()
    later = await http.post("/v1/sales", json={**sale, "sale_id": f"later-{mark}", "sold_at": now}, headers=auth)
    seen[TOKEN] = later.headers[TOKEN]
    newcomer = expect(await http.get(f"/v1/customers/{code}", headers=seen), 200)
    assert (newcomer["rfm"]["frequency"], newcomer["first_name"]) == (1, None)


async def _places_that_hold(installation: Installation, text: str) -> list[str]:
    """Tables and topics with a text in them; of a compacted topic what compaction leaves."""
    found = []
    admin = await installation.admin()
    try:
        tables = await admin.fetch(
            "select schemaname || '.' || tablename as name from pg_tables where schemaname in ('gateway', 'rfm')"
        )
        for table in (row["name"] for row in tables):
            binary = await admin.fetch(
                "select attname as name from pg_attribute where attrelid = $1::regclass "
                "and atttypid = 'bytea'::regtype and attnum > 0 and not attisdropped",
                table,
            )
            columns = " || ".join(f"coalesce(encode(t.{row['name']}, 'escape'), '')" for row in binary) or "''"
            count = await admin.fetchval(
                f"select count(*) from {table} t where position($1 in t::text || {columns}) > 0", text
            )
            if count:
                found.append(table)
    finally:
        await admin.close()
    for topic in ALL:
        records = await installation.records(topic)
        live = {key: value for _, key, value in records} if topic.cleanup == "compact" else None
        values = list(live.values()) if live is not None else [value for _, _, value in records]
        if any(value is not None and text.encode() in value for value in values):
            found.append(topic.name)
    return found
