"""Bad requests of every other kind, and all of them together."""

from collections.abc import Iterator
from typing import Any

from tests.e2e.bad_sales import BAD_SALES, LINE, LONG, REGISTRATION, RETURN, SALE, SOLD_AT, Bad, as_json, request


def _other_facts() -> Iterator[Bad]:
    lines = [{"product_key": "p@example.org", "quantity": "-1", "amount": "NaN"}]
    yield request(
        "a bad return",
        "POST /v1/sales/S-1/returns",
        {"return_id": "a\nb", "returned_at": "2026-11-20T10:00:00", "lines": lines, "why": 1},
        "return_id",
        "returned_at",
        "why",
        "lines.0.product_key",
        "lines.0.quantity",
        "lines.0.amount",
    )
    yield request(
        "501 returned lines", "POST /v1/sales/S-1/returns", {**RETURN, "lines": RETURN["lines"] * 501}, "lines"
    )
    yield request(
        "a return of a sale with an address as its id", "POST /v1/sales/ana@example.org/returns", RETURN, "sale_id"
    )
    yield request(
        "a bad cancellation",
        "POST /v1/sales/S-1/cancellation",
        {"cancelled_at": "9999-01-01T00:00:00Z", "reason": LONG, "customer_code": "a@example.org"},
        "cancelled_at",
        "reason",
        "customer_code",
    )
    yield request(
        "a header in the path",
        "POST /v1/sales/a%0d%0aSet-Cookie:%20x=1/cancellation",
        {"cancelled_at": SOLD_AT},
        status=404,
    )
    yield request(
        "5,001 sales", "POST /v1/sales/batch", {"sales": [{**SALE, "sale_id": f"S-{n}"} for n in range(5001)]}, "sales"
    )
    ndjson = b"\n".join(as_json({**SALE, "sale_id": f"S-{n}"}) for n in range(5001))
    yield Bad(
        "5,001 lines", "POST", "/v1/sales/batch", ndjson, {"sales"}, headers={"Content-Type": "application/x-ndjson"}
    )
    yield request("a batch that is a list", "POST /v1/sales/batch", [SALE], "")
    yield request(
        "an atomic batch with bad sales",
        "POST /v1/sales/batch?atomic=true",
        {"sales": [SALE, {**SALE, "sale_id": "a@example.org"}, {**SALE, "lines": [{**LINE, "quantity": -1}]}]},
        "sales.1.sale_id",
        "sales.2.lines.0.quantity",
    )
    yield request(
        "an answer to atomic that is none", "POST /v1/sales/batch?atomic=perhaps", {"sales": [SALE]}, "atomic"
    )


def _media() -> Iterator[Bad]:
    yield Bad("XML", "POST", "/v1/sales", b"<sale/>", set(), 415, {"Content-Type": "application/xml"})
    yield Bad("no content type", "POST", "/v1/sales", as_json(SALE), set(), 415, {})
    yield Bad(
        "NDJSON where one sale is wanted",
        "POST",
        "/v1/sales",
        as_json(SALE),
        set(),
        415,
        {"Content-Type": "application/x-ndjson"},
    )
    yield Bad(
        "an idempotency key with a space",
        "POST",
        "/v1/sales",
        as_json(SALE),
        {"Idempotency-Key"},
        400,
        {"Content-Type": "application/json", "Idempotency-Key": "a b"},
    )
    yield Bad("a method that the path does not know", "PUT", "/v1/sales", as_json(SALE), set(), 405)
    yield Bad("a path that does not exist", "POST", "/v1/nothing/here", as_json(SALE), set(), 404)


def _master_data() -> Iterator[Bad]:
    bad_customer = {
        "first_name": "a\0b",
        "last_name": LONG,
        "email": "not an address",
        "phone": "call me",
        "language": "French!",
        "timezone": "Mars/Olympus",
        "birth_date": "1799-01-01",
        "tags": ["ok", "a\nb"],
        "attributes": {"k": "x" * 501},
        "consents": {"email": {"status": "maybe", "at": SOLD_AT, "source": "web"}},
        "nickname": "A",
    }
    names = (
        "first_name",
        "last_name",
        "email",
        "phone",
        "language",
        "timezone",
        "birth_date",
        "tags.1",
        "attributes.k",
        "consents.email.status",
        "nickname",
    )
    yield request(
        "a bad customer",
        "POST /v1/customers",
        {"customer_code": "a@example.org", **bad_customer},
        "customer_code",
        *names,
    )
    yield request("a bad replacement", "PUT /v1/customers/C-1", bad_customer, *names)
    yield request("a bad change", "PATCH /v1/customers/C-1", {"email": 5, "tags": "vip"}, "email", "tags")
    yield request("an address as code in the path", "PUT /v1/customers/ana@example.org", {}, "customer_code")
    yield request(
        "51 attributes",
        "POST /v1/customers",
        {"customer_code": "C-1", "attributes": {f"k{n}": "v" for n in range(51)}},
        "attributes",
    )
    yield request(
        "5,001 customers",
        "POST /v1/customers/bulk",
        {"customers": [{"customer_code": f"C-{n}"} for n in range(5001)]},
        "customers",
    )
    yield request(
        "a bad product",
        "POST /v1/products",
        {"product_key": "a\tb", "price": "-1", "margin": "NaN", "stock": "1e10", "family": "", "active": "perhaps"},
        "product_key",
        "price",
        "margin",
        "stock",
        "family",
        "active",
    )
    yield request("a header in a product's key", "PUT /v1/products/a%0d%0aX-Evil:%201", {}, status=404)


def _accounts() -> Iterator[Bad]:
    yield request(
        "a bad registration",
        "POST /v1/auth/register",
        {"tenant_name": "", "username": "a b", "email": "none", "password": "short", "role": "operator"},
        "tenant_name",
        "username",
        "email",
        "password",
        "role",
    )
    yield request(
        "settings that contradict themselves",
        "POST /v1/auth/register",
        {**REGISTRATION, "settings": {"timezone": "Nowhere", "currency": "ABC", "rfm": {"method": "fixed"}}},
        "settings.timezone",
        "settings.currency",
        "settings.rfm.bounds",
    )
    yield request(
        "a bad person",
        "POST /v1/users",
        {"username": "x", "email": "x", "password": "x", "role": "operator"},
        "username",
        "email",
        "password",
        "role",
    )
    yield request(
        "a bad key",
        "POST /v1/api-keys",
        {"name": "a\0", "scopes": ["all"], "expires_at": "soon"},
        "name",
        "scopes.0",
        "expires_at",
    )
    yield request(
        "a key that has expired already",
        "POST /v1/api-keys",
        {"name": "k", "scopes": ["read"], "expires_at": "2020-01-01T00:00:00Z"},
        "expires_at",
    )
    yield request(
        "bad settings",
        "PATCH /v1/tenants/current/settings",
        {"timezone": "Mars/Olympus", "currency": "XXX", "reference_date": "someday", "active_days": 0, "colour": "red"},
        "timezone",
        "currency",
        "reference_date",
        "active_days",
        "colour",
    )
    yield request(
        "settings with true for numbers",
        "PATCH /v1/tenants/current/settings",
        {
            "active_days": True,
            "reference_date": 0,
            "audit": {"threshold": True},
            "campaigns": {"holdout_share": False, "cap": {"count": True}},
            "recommendations": {"price_cap": True},
        },
        "active_days",
        "reference_date",
        "audit.threshold",
        "campaigns.holdout_share",
        "campaigns.cap.count",
        "recommendations.price_cap",
    )
    yield request(
        "bounds that do not ascend",
        "PATCH /v1/tenants/current/settings",
        {
            "rfm": {
                "method": "fixed",
                "bounds": {"recency_days": [1, 2, 2, 3], "frequency": [1, 2, 3, 4], "monetary": ["1", "2", "3", "4"]},
            }
        },
        "rfm.bounds.recency_days",
    )


def _what_if() -> Iterator[Bad]:
    """Bounds that the question what would be cannot be asked with."""
    good: dict[str, Any] = {
        "recency_days": [1, 2, 3, 4], "frequency": [1, 2, 3, 4], "monetary": ["1", "2", "3", "4"],
    }  # fmt: skip
    call = "POST /v1/rfm/what-if"
    for name, axis, bounds, *fields in (
        ("unordered", "monetary", ["2", "1", "3", "4"], "bounds.monetary"),
        ("equal", "recency_days", [1, 2, 2, 3], "bounds.recency_days"),
        ("negative", "frequency", [-1, 2, 3, 4], "bounds.frequency.0"),
        ("negative amounts", "monetary", ["-0.01", "2", "3", "4"], "bounds.monetary.0"),
        ("words", "frequency", [1, "two", 3, 4], "bounds.frequency.1"),
        ("true for one", "frequency", [True, 2, 3, 4], "bounds.frequency.0"),
        ("true for a day", "recency_days", [True, 2, 3, 4], "bounds.recency_days.0"),
        ("true for an amount", "monetary", [True, "2", "3", "4"], "bounds.monetary.0"),
        ("halves of an order", "frequency", [1, 2.5, 3, 4], "bounds.frequency.1"),
        ("NaN", "monetary", ["1", "NaN", "3", "Infinity"], "bounds.monetary.1", "bounds.monetary.3"),
        ("a naked NaN", "recency_days", [1, float("nan"), 3, 4], "bounds.recency_days.1"),
        ("too many", "recency_days", list(range(100_000)), "bounds.recency_days"),
        ("too few", "frequency", [1, 2, 3], "bounds.frequency"),
        ("too large", "monetary", ["1", "2", "3", "1e30"], "bounds.monetary.3"),
        ("no list", "monetary", {"0": "1"}, "bounds.monetary"),
        ("nothing", "frequency", None, "bounds.frequency"),
    ):
        yield request(f"what if, {name}", call, {"method": "fixed", "bounds": {**good, axis: bounds}}, *fields)
    yield request("what if, fixed without bounds", call, {"method": "fixed"}, "bounds")
    yield request(
        "what if, an axis is missing", call, {"method": "fixed", "bounds": {}}, *(f"bounds.{a}" for a in good)
    )
    yield request("what if, no method", call, {"bounds": good}, "method")
    yield request("what if, another method", call, {"method": "magic"}, "method")
    yield request("what if, unknown fields", call, {"method": "quintile", "q": 1}, "q")
    yield request("what if, on no day", call, {"method": "quintile", "reference_date": "2026-02-30"}, "reference_date")
    yield request("what if of a list", call, [good], "")


def _queries() -> Iterator[Bad]:
    """Injection by way of the query, and values that no list takes."""
    sql = "' or 1=1; drop table rfm.sale; --"
    for call, name in {
        "GET /v1/customers?limit=1;select": "limit",
        "GET /v1/customers?limit=501": "limit",
        "GET /v1/customers?limit=0": "limit",
        "GET /v1/customers?min_spend=NaN": "min_spend",
        f"GET /v1/customers?sort={sql}": "sort",
        f"GET /v1/customers?segment={sql}": "segment",
        "GET /v1/customers?q=%00": "q",
        "GET /v1/sales?from=2026-11-20T10:00:00": "from",
        "GET /v1/sales?to=9999-12-31": "to",
        "GET /v1/products?active=perhaps": "active",
        f"GET /v1/users/{sql}": "user_id",
        f"GET /v1/api-keys/{sql}": "key_id",
    }.items():
        yield request(f"{name} in {call}", call, None, name)
    for day in (
        "2999-01-01",
        "1899-12-31",
        "2026-02-30",
        "2026-W05-1",
        "20260131",
        "0",
        "2026-01-31T00:00:00Z",
        "",
        sql,
    ):
        for path in ("rfm/distribution", "rfm/cutoffs", "customers/C-1"):
            yield request(f"{path} as of {day}", f"GET /v1/{path}?as_of={day}", None, "as_of")
    for call in ("customers", "products", "sales", "users", "api-keys"):
        yield request(
            f"a cursor of one's own making for {call}", f"GET /v1/{call}?cursor={sql}", None, "cursor", status=400
        )
    for token in ("nonsense", "W10x", "W3sieCI6LTF9XQ"):
        yield Bad(
            f"a consistency token that is none: {token}",
            "GET",
            "/v1/sales",
            None,
            {"X-Consistency-Token"},
            400,
            {"X-Consistency-Token": token},
        )
    yield Bad("a wait without a number", "GET", "/v1/sales", None, {"Prefer"}, 400, {"Prefer": "wait=long"})


CASES: list[Bad] = [
    *BAD_SALES,
    *(case for cases in (_other_facts, _media, _master_data, _accounts, _what_if, _queries) for case in cases()),
]
