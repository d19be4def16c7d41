"""Bad requests, each with the status and the offending fields that its answer must name."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

SOLD_AT = "2026-11-20T10:31:00+01:00"
LONG = "x" * 10_000
LINE: dict[str, Any] = {"product_key": "P-88", "quantity": "2", "unit_price": "39.90"}
SALE: dict[str, Any] = {"sale_id": "bad-1", "customer_code": "C-1", "sold_at": SOLD_AT, "lines": [LINE]}
RETURN: dict[str, Any] = {
    "return_id": "R-1",
    "returned_at": SOLD_AT,
    "lines": [{"product_key": "P-88", "quantity": "1", "amount": "5"}],
}
REGISTRATION: dict[str, Any] = {
    "tenant_name": "Bad",
    "username": "bad-one",
    "email": "bad@example.org",
    "password": "a long pass phrase",
}


@dataclass(frozen=True)
class Bad:
    """A request that has to be refused, and how."""

    name: str
    method: str
    path: str
    body: bytes | None
    fields: set[str]
    status: int = 422
    headers: dict[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})
    slug: str | None = None


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


def _sale(name: str, *fields: str, line: dict[str, Any] | None = None, **changes: Any) -> Bad:
    body = {**SALE, **changes}
    if line is not None:
        body["lines"] = [{**LINE, **line}]
    return Bad(name, "POST", "/v1/sales", _json(body), set(fields))


def _raw(name: str, body: bytes, *fields: str, status: int = 422) -> Bad:
    return Bad(name, "POST", "/v1/sales", body, set(fields), status)


def _any(name: str, call: str, body: Any, *fields: str, status: int = 422) -> Bad:
    method, _, path = call.partition(" ")
    return Bad(name, method, path, None if body is None else _json(body), set(fields), status)


def _numbers() -> Iterator[Bad]:
    """Numbers that are none, or too large, too small, too exact."""
    for shown, value in {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}.items():
        yield _sale(
            f"{shown} as number",
            "lines.0.quantity",
            "lines.0.unit_price",
            line={"quantity": value, "unit_price": value},
        )
        yield _sale(
            f"{shown} as string",
            "lines.0.quantity",
            "lines.0.unit_price",
            "lines.0.amount",
            line={"quantity": shown, "unit_price": shown, "amount": shown},
        )
    yield _sale("a signalling NaN", "lines.0.quantity", line={"quantity": "sNaN"})
    yield _sale("a negative quantity", "lines.0.quantity", line={"quantity": -1})
    yield _sale("a quantity of zero", "lines.0.quantity", line={"quantity": "0"})
    yield _sale(
        "a negative price and discount",
        "lines.0.unit_price",
        "lines.0.discount",
        line={"unit_price": "-1", "discount": "-0.01"},
    )
    yield _sale(
        "too many decimals",
        "lines.0.quantity",
        "lines.0.unit_price",
        line={"quantity": "1.0001", "unit_price": "1.00001"},
    )
    yield _sale(
        "an exponent beyond all bounds",
        "lines.0.quantity",
        "lines.0.unit_price",
        line={"quantity": "1e999999999", "unit_price": "1e999999999"},
    )
    yield _raw(
        "a number of a thousand digits",
        _json({**SALE, "lines": [{**LINE, "quantity": 0}]}).replace(b'"quantity": 0', b'"quantity": ' + b"9" * 1000),
        "lines.0.quantity",
    )
    yield _sale("an amount that does not fit its line", "lines.0.amount", line={"amount": "79.00"})
    yield _sale("a discount above the price", "lines.0.amount", line={"discount": "79.81"})


def _texts() -> Iterator[Bad]:
    """Strings with personal data, control characters, or no end."""
    codes = ("sale_id", "customer_code")
    yield _sale(
        "an e-mail address as every code",
        *codes,
        "lines.0.product_key",
        "lines.0.label",
        "metadata.note",
        sale_id="ana@example.org",
        customer_code="Ana.Ruiz@example.org",
        metadata={"note": "ask ana@example.org"},
        line={"product_key": "p@example.org", "label": "for ana@example.org"},
    )
    controls = {
        "NUL": "\0",
        "line feed": "\n",
        "carriage return and line feed": "\r\n",
        "tab": "\t",
        "DEL": "\x7f",
        "right-to-left override": "\u202e",
        "zero-width space": "\u200b",
        "line separator": "\u2028",
    }
    for name, character in controls.items():
        text = f"a{character}b"
        yield _sale(
            f"{name} in every text",
            *codes,
            "channel",
            "lines.0.product_key",
            "lines.0.label",
            "metadata.note",
            sale_id=text,
            customer_code=text,
            channel=text,
            metadata={"note": text},
            line={"product_key": text, "label": text},
        )
    yield _sale(
        "10,000 characters in every text",
        *codes,
        "sold_at",
        "channel",
        "currency",
        "lines.0.product_key",
        "lines.0.label",
        "lines.0.quantity",
        "lines.0.unit_price",
        "metadata.note",
        sale_id=LONG,
        customer_code=LONG,
        sold_at=LONG,
        channel=LONG,
        currency=LONG,
        metadata={"note": LONG},
        line={"product_key": LONG, "label": LONG, "quantity": "9" * 10_000, "unit_price": "9" * 10_000},
    )
    yield _sale(
        "empty codes",
        *codes,
        "channel",
        "lines.0.product_key",
        sale_id="",
        customer_code="",
        channel="",
        line={"product_key": ""},
    )
    yield _sale(
        "codes of spaces", *codes, "lines.0.product_key", sale_id=" ", customer_code=" a ", line={"product_key": "a "}
    )
    yield _raw("half a surrogate pair", _json(SALE).replace(b'"C-1"', b'"\\ud800"'), "", status=400)
    yield _raw("bytes that are not UTF-8", _json(SALE).replace(b'"C-1"', b'"\xff\xfe"'), "", status=400)


def _shapes() -> Iterator[Bad]:
    """What is not JSON, or JSON of another shape."""
    yield _raw("half an object", b'{"sale_id": ', "", status=400)
    yield _raw("a form instead of JSON", b"sale_id=1&lines=2", "", status=400)
    yield _raw("nothing at all", b"", "")
    yield _raw("lists without end", b"[" * 100_000, "", status=400)
    yield _raw("a list instead of an object", _json([SALE]), "")
    yield _raw("null instead of an object", b"null", "")
    yield _sale(
        "wrong types everywhere",
        "sale_id",
        "customer_code",
        "sold_at",
        "channel",
        "currency",
        "lines",
        "metadata",
        sale_id=5,
        customer_code=["C"],
        sold_at={"at": 1},
        channel=True,
        currency=978,
        lines="two",
        metadata=[1],
    )
    yield _sale(
        "wrong types in a line",
        "lines.0.product_key",
        "lines.0.label",
        "lines.0.quantity",
        "lines.0.unit_price",
        line={"product_key": 88, "label": 1, "quantity": "two", "unit_price": None},
    )
    yield _any("nothing that is required", "POST /v1/sales", {}, "sale_id", "sold_at", "lines")
    yield _sale("unknown fields", "saleid", "lines.0.qty", saleid="x", line={"qty": 1})
    yield _sale("no lines", "lines", lines=[])
    yield _sale("501 lines", "lines", lines=[LINE] * 501)
    yield _sale("21 remarks", "metadata", metadata={f"k{n}": "v" for n in range(21)})


def _times_and_money() -> Iterator[Bad]:
    yield _sale("a time without an offset", "sold_at", sold_at="2026-11-20T10:31:00")
    yield _sale("a day instead of a time", "sold_at", sold_at="2026-11-20")
    yield _sale("the year 9999", "sold_at", sold_at="9999-12-31T23:59:59Z")
    yield _sale("the year 9999 with an offset that leads beyond", "sold_at", sold_at="9999-12-31T23:59:59-14:00")
    yield _sale("the year 1", "sold_at", sold_at="0001-01-01T00:00:00+14:00")
    yield _sale("the 30th of February", "sold_at", sold_at="2026-02-30T10:00:00Z")
    yield _sale("an unknown currency", "currency", currency="ABC")
    yield _sale("a currency in small letters", "currency", currency="eur")
    yield _sale("a currency that is not the tenant's", "currency", currency="USD")


def _other_facts() -> Iterator[Bad]:
    lines = [{"product_key": "p@example.org", "quantity": "-1", "amount": "NaN"}]
    yield _any(
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
    yield _any("501 returned lines", "POST /v1/sales/S-1/returns", {**RETURN, "lines": RETURN["lines"] * 501}, "lines")
    yield _any(
        "a return of a sale with an address as its id", "POST /v1/sales/ana@example.org/returns", RETURN, "sale_id"
    )
    yield _any(
        "a bad cancellation",
        "POST /v1/sales/S-1/cancellation",
        {"cancelled_at": "9999-01-01T00:00:00Z", "reason": LONG, "customer_code": "a@example.org"},
        "cancelled_at",
        "reason",
        "customer_code",
    )
    yield _any(
        "a header in the path",
        "POST /v1/sales/a%0d%0aSet-Cookie:%20x=1/cancellation",
        {"cancelled_at": SOLD_AT},
        status=404,
    )
    yield _any(
        "5,001 sales", "POST /v1/sales/batch", {"sales": [{**SALE, "sale_id": f"S-{n}"} for n in range(5001)]}, "sales"
    )
    ndjson = b"\n".join(_json({**SALE, "sale_id": f"S-{n}"}) for n in range(5001))
    yield Bad(
        "5,001 lines", "POST", "/v1/sales/batch", ndjson, {"sales"}, headers={"Content-Type": "application/x-ndjson"}
    )
    yield _any("a batch that is a list", "POST /v1/sales/batch", [SALE], "")
    yield _any(
        "an atomic batch with bad sales",
        "POST /v1/sales/batch?atomic=true",
        {"sales": [SALE, {**SALE, "sale_id": "a@example.org"}, {**SALE, "lines": [{**LINE, "quantity": -1}]}]},
        "sales.1.sale_id",
        "sales.2.lines.0.quantity",
    )
    yield _any("an answer to atomic that is none", "POST /v1/sales/batch?atomic=perhaps", {"sales": [SALE]}, "atomic")


def _media() -> Iterator[Bad]:
    yield Bad("XML", "POST", "/v1/sales", b"<sale/>", set(), 415, {"Content-Type": "application/xml"})
    yield Bad("no content type", "POST", "/v1/sales", _json(SALE), set(), 415, {})
    yield Bad(
        "NDJSON where one sale is wanted",
        "POST",
        "/v1/sales",
        _json(SALE),
        set(),
        415,
        {"Content-Type": "application/x-ndjson"},
    )
    yield Bad(
        "an idempotency key with a space",
        "POST",
        "/v1/sales",
        _json(SALE),
        {"Idempotency-Key"},
        400,
        {"Content-Type": "application/json", "Idempotency-Key": "a b"},
    )
    yield Bad("a method that the path does not know", "PUT", "/v1/sales", _json(SALE), set(), 405)
    yield Bad("a path that does not exist", "POST", "/v1/nothing/here", _json(SALE), set(), 404)


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
    yield _any(
        "a bad customer",
        "POST /v1/customers",
        {"customer_code": "a@example.org", **bad_customer},
        "customer_code",
        *names,
    )
    yield _any("a bad replacement", "PUT /v1/customers/C-1", bad_customer, *names)
    yield _any("a bad change", "PATCH /v1/customers/C-1", {"email": 5, "tags": "vip"}, "email", "tags")
    yield _any("an address as code in the path", "PUT /v1/customers/ana@example.org", {}, "customer_code")
    yield _any(
        "51 attributes",
        "POST /v1/customers",
        {"customer_code": "C-1", "attributes": {f"k{n}": "v" for n in range(51)}},
        "attributes",
    )
    yield _any(
        "5,001 customers",
        "POST /v1/customers/bulk",
        {"customers": [{"customer_code": f"C-{n}"} for n in range(5001)]},
        "customers",
    )
    yield _any(
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
    yield _any("a header in a product's key", "PUT /v1/products/a%0d%0aX-Evil:%201", {}, status=404)


def _accounts() -> Iterator[Bad]:
    yield _any(
        "a bad registration",
        "POST /v1/auth/register",
        {"tenant_name": "", "username": "a b", "email": "none", "password": "short", "role": "operator"},
        "tenant_name",
        "username",
        "email",
        "password",
        "role",
    )
    yield _any(
        "settings that contradict themselves",
        "POST /v1/auth/register",
        {**REGISTRATION, "settings": {"timezone": "Nowhere", "currency": "ABC", "rfm": {"method": "fixed"}}},
        "settings.timezone",
        "settings.currency",
        "settings.rfm",
    )
    yield _any(
        "a bad person",
        "POST /v1/users",
        {"username": "x", "email": "x", "password": "x", "role": "operator"},
        "username",
        "email",
        "password",
        "role",
    )
    yield _any(
        "a bad key",
        "POST /v1/api-keys",
        {"name": "a\0", "scopes": ["all"], "expires_at": "soon"},
        "name",
        "scopes.0",
        "expires_at",
    )
    yield _any(
        "a key that has expired already",
        "POST /v1/api-keys",
        {"name": "k", "scopes": ["read"], "expires_at": "2020-01-01T00:00:00Z"},
        "expires_at",
    )
    yield _any(
        "bad settings",
        "PATCH /v1/tenants/current/settings",
        {"timezone": "Mars/Olympus", "currency": "XXX", "reference_date": "someday", "active_days": 0, "colour": "red"},
        "timezone",
        "currency",
        "reference_date",
        "active_days",
        "colour",
    )
    yield _any(
        "bounds that do not ascend",
        "PATCH /v1/tenants/current/settings",
        {
            "rfm": {
                "method": "fixed",
                "bounds": {"recency_days": [1, 2, 2, 3], "frequency": [1, 2, 3, 4], "monetary": ["1", "2", "3", "4"]},
            }
        },
        "rfm.bounds",
    )


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
        yield _any(f"{name} in {call}", call, None, name)
    for call in ("customers", "products", "sales", "users", "api-keys"):
        yield _any(
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
    case
    for cases in (_numbers, _texts, _shapes, _times_and_money, _other_facts, _media, _master_data, _accounts, _queries)
    for case in cases()
]
