"""Files that are no good: a clear answer at once, or a failed import with a clear reason, and nothing half done."""

import gzip
import io
import json
import struct
import uuid
import zipfile
from collections.abc import AsyncIterator
from typing import Any

import httpx
import polars as pl
import pytest

from tests.integration.gateway.imports.conftest import Shop
from tests.support.api import Api

GOOD = b"sale_id,sold_at,product_key,quantity,unit_price\nA,2026-11-20T10:00:00Z,P,1,5\n"


def _parquet(**columns: Any) -> bytes:
    file = io.BytesIO()
    pl.DataFrame(columns).write_parquet(file)
    return file.getvalue()


def _zip_bomb() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("sales.csv", b"0" * 50_000_000)
    return file.getvalue()


REFUSED = {
    "empty": (b"", "sales.csv", {}, 422, "file"),
    "blank": (b"\n \n", "sales.csv", {}, 422, "file"),
    "gzip": (gzip.compress(GOOD), "sales.csv.gz", {}, 422, "file"),
    "a gzip cut off": (gzip.compress(GOOD)[:30], "sales.csv", {}, 422, "file"),
    "a zip bomb": (_zip_bomb(), "sales.zip", {}, 422, "file"),
    "Parquet cut off": (_parquet(a=["x"] * 1000)[:-100], "sales.parquet", {}, 422, "file"),
    "CSV called Parquet": (GOOD, "sales.parquet", {}, 422, "file"),
    "Parquet called CSV": (_parquet(a=["x"]), "sales.csv", {}, 422, "file"),
    "NDJSON called CSV": (b'{"sale_id": "A"}\n', "sales.csv", {}, 422, "file"),
    "another format than said": (GOOD, "sales", {"format": "ndjson"}, 422, "format"),
    "UTF-16": ("a;b\n".encode("utf-16"), "sales.csv", {}, 422, "file"),
    "binary": (b"\x00\x01\x02" * 100, "sales.csv", {}, 422, "file"),
    "a JSON array": (b'[{"sale_id": "A"}]', "sales.json", {}, 422, "file"),
    "unknown kind": (GOOD, "sales.csv", {"kind": "stocks"}, 422, "kind"),
    "unknown option": (GOOD, "sales.csv", {"colour": "red"}, 422, "colour"),
    "unknown field": (GOOD, "sales.csv", {"mapping": {"quantity": "colour"}}, 422, "mapping"),
    "a field twice": (GOOD, "sales.csv", {"mapping": {"quantity": "amount", "x": "amount"}}, 422, "mapping"),
    "a mapping that is no JSON": (GOOD, "sales.csv", {"mapping": "{"}, 422, "mapping"),
    "unknown zone": (GOOD, "sales.csv", {"timezone": "Paris"}, 422, "timezone"),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_what_cannot_be_a_good_file_is_refused_at_once(shop: Shop, case: str) -> None:
    content, name, fields, status, field = REFUSED[case]
    answer = await shop.upload(content, name, **fields)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert field in {error["field"] for error in answer.json()["errors"]}
    assert (await shop.api.client.get("/imports")).json()["items"] == []
    assert not list((shop.installation.folder / "imports").glob(f"{shop.api.tenant_id}/**/source"))


WIDE = ",".join(f"c{number}" for number in range(400_000)).encode()
FAILED = {
    "a header that names a column twice": (b"sale_id,sold_at,sale_id\nA,B,C\n", "s.csv", {}, "twice: sale_id"),
    "bytes that are not the named encoding": (
        "sale_id;libellé\n".encode("cp1252"), "s.csv", {"encoding": "utf-8"}, "is not Utf-8",
    ),
    "bytes that are neither encoding": (b"sale_id;\x81\n", "s.csv", {}, "is not Windows-1252"),
    "a mapping of a column that is not there": (GOOD, "s.csv", {"mapping": {"Menge": "quantity"}}, "Menge"),
    "a field without a column": (b"sale_id,colour\nA,red\n", "s.csv", {}, "sold_at, product_key, quantity"),
    "ten million columns in CSV": (b"," * 10_000_000 + b"\n", "s.csv", {}, "longer than"),
    "hundreds of thousands of columns in CSV": (WIDE + b"\n", "s.csv", {}, "columns; at most 1000"),
    "a row without an end": (GOOD + b'B,"' + b"x" * 2_000_000, "s.csv", {}, None),
    "Parquet with a list for a number": (
        _parquet(sale_id=["A"], sold_at=["2026-11-20"], product_key=["P"], quantity=[[1]], unit_price=[1.5]),
        "s.parquet", {}, "quantity is of type",
    ),
    "Parquet with too many columns": (_parquet(**{f"c{n}": [1] for n in range(1001)}), "s.parquet", {}, "1001 columns"),
    "Parquet with a footer of absurd size": (
        b"PAR1" + b"x" * 100 + struct.pack("<I", 2**31) + b"PAR1", "s.parquet", {}, "at such length",
    ),
    "Parquet with a broken footer": (
        b"PAR1" + b"x" * 100 + struct.pack("<I", 50) + b"PAR1", "s.parquet", {}, "no Parquet",
    ),
    "days or months first": (GOOD.replace(b"2026-11-20T10:00:00Z", b"01/02/2026"), "s.csv", {}, "date_format"),
    "NDJSON without an object": (b'{"a": [1]}\n', "s.ndjson", {}, "No column"),
}  # fmt: skip


@pytest.mark.parametrize("case", FAILED)
async def test_what_shows_only_in_reading_fails_the_import_with_a_reason(shop: Shop, case: str) -> None:
    content, name, fields, reason = FAILED[case]
    ended = await shop.take(content, name, **fields)
    if reason is None:
        assert ended["counts"]["records"] <= 1, ended
    else:
        assert ended["state"] == "failed", ended
        assert reason in ended["reason"]
        assert await shop.records("sales") == []


async def test_a_file_beyond_the_limit_is_cut_off_while_it_comes(shop: Shop) -> None:
    async def endless() -> AsyncIterator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="kind"\r\n\r\nsales\r\n'
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="s.csv"\r\n\r\n' + GOOD
        for _ in range(2_000):
            yield b"B,2026-11-20T10:00:00Z,P,1,5\n" * 300

    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    answer = await shop.api.client.post("/imports", content=endless(), headers=headers)
    assert answer.status_code == 413, answer.text
    named = await shop.upload(GOOD * 200_000)
    assert named.status_code == 413
    assert (await shop.api.client.get("/imports")).json()["items"] == []
    assert not list((shop.installation.folder / "imports").glob(f"{shop.api.tenant_id}/**/source"))


async def test_a_body_that_is_no_multipart_or_breaks_off_is_refused(shop: Shop) -> None:
    client = shop.api.client
    assert (await client.post("/imports", json={"kind": "sales"})).status_code == 415
    multipart = {"Content-Type": "multipart/form-data; boundary=b"}
    for body in (b"", b"nonsense", b'--b\r\nContent-Disposition: form-data; name="kind"\r\n\r\nsales\r\n'):
        answer = await client.post("/imports", content=body, headers=multipart)
        assert answer.status_code in (400, 422), answer.text
    answer = await client.post("/imports", content=b"x", headers={"Content-Type": "multipart/form-data"})
    assert answer.status_code == 400
    late = (
        b'--b\r\nContent-Disposition: form-data; name="kind"\r\n\r\nsales\r\n'
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="s.csv"\r\n\r\n' + GOOD + b"\r\n"
        b'--b\r\nContent-Disposition: form-data; name="dry_run"\r\n\r\ntrue\r\n--b--\r\n'
    )
    answer = await client.post("/imports", content=late, headers=multipart)
    assert answer.json()["errors"] == [{"field": "dry_run", "reason": "must come before the file"}]
    assert (await client.get("/imports")).json()["items"] == []


async def test_another_tenants_import_does_not_exist(shop: Shop) -> None:
    mine = await shop.take(GOOD)
    other = await Api.register(shop.installation.url)
    for import_id in (mine["import_id"], uuid.uuid4()):
        for method, path in (
            ("GET", ""),
            ("GET", "/rejected"),
            ("POST", "/pause"),
            ("POST", "/resume"),
            ("POST", "/cancel"),
        ):
            answer = await other.client.request(method, f"/imports/{import_id}{path}")
            assert answer.status_code == 404, f"{method} {path}: {answer.text}"
    assert (await other.client.get("/imports")).json()["items"] == []
    await other.close()


async def test_each_kind_needs_its_own_scope(shop: Shop) -> None:
    made = await shop.api.client.post("/api-keys", json={"name": "k", "scopes": ["products:write", "read"]})
    key, files = {"X-API-Key": made.json()["api_key"]}, {"file": ("s.csv", GOOD)}
    mine = await shop.begin(GOOD)
    async with httpx.AsyncClient(base_url=shop.api.client.base_url, headers=key) as program:
        refused = await program.post("/imports", data={"kind": "sales"}, files=files)
        assert refused.status_code == 403, refused.text
        allowed = await program.post("/imports", data={"kind": "products"}, files=files)
        assert allowed.status_code == 202, allowed.text
        assert (await program.post(f"/imports/{mine}/cancel")).status_code == 403


async def test_an_idempotency_key_makes_one_import_whatever_the_boundary(shop: Shop) -> None:
    async def send(content: bytes, key: str) -> Any:
        files = {"file": ("s.csv", content)}
        headers = {"Idempotency-Key": key}
        return await shop.api.client.post("/imports", data={"kind": "sales"}, files=files, headers=headers)

    first, again = [await send(GOOD, "once") for _ in range(2)]
    assert first.status_code == again.status_code == 202, first.text
    assert first.content == again.content
    assert first.request.headers["content-type"] != again.request.headers["content-type"]
    assert again.headers["idempotency-replayed"] == "true"
    assert (await send(GOOD + b"x", "once")).status_code == 409
    assert (await send(b"", "other")).status_code == 422
    assert len((await shop.api.client.get("/imports")).json()["items"]) == 1


async def test_imports_are_listed_newest_first_in_pages(shop: Shop) -> None:
    ids = [await shop.begin(GOOD) for _ in range(3)]
    first = (await shop.api.client.get("/imports?limit=2")).json()
    assert [item["import_id"] for item in first["items"]] == [ids[2], ids[1]]
    second = (await shop.api.client.get(f"/imports?limit=2&cursor={first['next_cursor']}")).json()
    assert [item["import_id"] for item in second["items"]] == [ids[0]]
    assert second["next_cursor"] is None
    assert (await shop.api.client.get("/imports?cursor=x")).status_code == 400


async def test_bad_lines_of_ndjson_refuse_themselves_alone(shop: Shop) -> None:
    sale = {
        "sale_id": "A",
        "sold_at": "2026-11-20T10:00:00Z",
        "lines": [{"product_key": "P", "quantity": 1, "unit_price": 1}],
    }
    lines = [json.dumps(sale), "[1]", "{", json.dumps({**sale, "sale_id": "B", "lines": []}), json.dumps({"x": 1})]
    ended = await shop.take("\n".join(lines).encode(), "s.ndjson")
    assert ended["state"] == "completed"
    assert {error["row"] for error in ended["errors"]} == {2, 3, 4, 5}
    assert ended["counts"]["records"] == 1
