"""Bad sales, each with the status and the offending fields that its answer must name."""

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


def as_json(value: Any) -> bytes:
    return json.dumps(value).encode()


def sale(name: str, *fields: str, line: dict[str, Any] | None = None, **changes: Any) -> Bad:
    body = {**SALE, **changes}
    if line is not None:
        body["lines"] = [{**LINE, **line}]
    return Bad(name, "POST", "/v1/sales", as_json(body), set(fields))


def raw(name: str, body: bytes, *fields: str, status: int = 422) -> Bad:
    return Bad(name, "POST", "/v1/sales", body, set(fields), status)


def request(name: str, call: str, body: Any, *fields: str, status: int = 422) -> Bad:
    method, _, path = call.partition(" ")
    return Bad(name, method, path, None if body is None else as_json(body), set(fields), status)


def _numbers() -> Iterator[Bad]:
    """Numbers that are none, or too large, too small, too exact."""
    for shown, value in {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}.items():
        yield sale(
            f"{shown} as number",
            "lines.0.quantity",
            "lines.0.unit_price",
            line={"quantity": value, "unit_price": value},
        )
        yield sale(
            f"{shown} as string",
            "lines.0.quantity",
            "lines.0.unit_price",
            "lines.0.amount",
            line={"quantity": shown, "unit_price": shown, "amount": shown},
        )
    yield sale("a signalling NaN", "lines.0.quantity", line={"quantity": "sNaN"})
    yield sale("a negative quantity", "lines.0.quantity", line={"quantity": -1})
    yield sale("a quantity of zero", "lines.0.quantity", line={"quantity": "0"})
    yield sale(
        "a negative price and discount",
        "lines.0.unit_price",
        "lines.0.discount",
        line={"unit_price": "-1", "discount": "-0.01"},
    )
    yield sale(
        "too many decimals",
        "lines.0.quantity",
        "lines.0.unit_price",
        line={"quantity": "1.0001", "unit_price": "1.00001"},
    )
    yield sale(
        "an exponent beyond all bounds",
        "lines.0.quantity",
        "lines.0.unit_price",
        line={"quantity": "1e999999999", "unit_price": "1e999999999"},
    )
    yield raw(
        "a number of a thousand digits",
        as_json({**SALE, "lines": [{**LINE, "quantity": 0}]}).replace(b'"quantity": 0', b'"quantity": ' + b"9" * 1000),
        "lines.0.quantity",
    )
    yield sale("an amount that does not fit its line", "lines.0.amount", line={"amount": "79.00"})
    yield sale("a discount above the price", "lines.0.amount", line={"discount": "79.81"})


def _texts() -> Iterator[Bad]:
    """Strings with personal data, control characters, or no end."""
    codes = ("sale_id", "customer_code")
    yield sale(
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
        yield sale(
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
    yield sale(
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
    yield sale(
        "empty codes",
        *codes,
        "channel",
        "lines.0.product_key",
        sale_id="",
        customer_code="",
        channel="",
        line={"product_key": ""},
    )
    yield sale(
        "codes of spaces", *codes, "lines.0.product_key", sale_id=" ", customer_code=" a ", line={"product_key": "a "}
    )
    yield raw("half a surrogate pair", as_json(SALE).replace(b'"C-1"', b'"\\ud800"'), "", status=400)
    yield raw("bytes that are not UTF-8", as_json(SALE).replace(b'"C-1"', b'"\xff\xfe"'), "", status=400)


def _shapes() -> Iterator[Bad]:
    """What is not JSON, or JSON of another shape."""
    yield raw("half an object", b'{"sale_id": ', "", status=400)
    yield raw("a form instead of JSON", b"sale_id=1&lines=2", "", status=400)
    yield raw("nothing at all", b"", "")
    yield raw("lists without end", b"[" * 100_000, "", status=400)
    yield raw("a list instead of an object", as_json([SALE]), "")
    yield raw("null instead of an object", b"null", "")
    yield sale(
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
    yield sale(
        "wrong types in a line",
        "lines.0.product_key",
        "lines.0.label",
        "lines.0.quantity",
        "lines.0.unit_price",
        line={"product_key": 88, "label": 1, "quantity": "two", "unit_price": None},
    )
    yield request("nothing that is required", "POST /v1/sales", {}, "sale_id", "sold_at", "lines")
    yield sale("unknown fields", "saleid", "lines.0.qty", saleid="x", line={"qty": 1})
    yield sale("no lines", "lines", lines=[])
    yield sale("501 lines", "lines", lines=[LINE] * 501)
    yield sale("21 remarks", "metadata", metadata={f"k{n}": "v" for n in range(21)})


def _times_and_money() -> Iterator[Bad]:
    yield sale("a time without an offset", "sold_at", sold_at="2026-11-20T10:31:00")
    yield sale("a day instead of a time", "sold_at", sold_at="2026-11-20")
    yield sale("the year 9999", "sold_at", sold_at="9999-12-31T23:59:59Z")
    yield sale("the year 9999 with an offset that leads beyond", "sold_at", sold_at="9999-12-31T23:59:59-14:00")
    yield sale("the year 1", "sold_at", sold_at="0001-01-01T00:00:00+14:00")
    yield sale("the 30th of February", "sold_at", sold_at="2026-02-30T10:00:00Z")
    yield sale("an unknown currency", "currency", currency="ABC")
    yield sale("a currency in small letters", "currency", currency="eur")
    yield sale("a currency that is not the tenant's", "currency", currency="USD")


BAD_SALES: list[Bad] = [case for cases in (_numbers, _texts, _shapes, _times_and_money) for case in cases()]
