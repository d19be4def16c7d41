"""Files become the events that the REST API would make of the same records, and bad rows come back with reasons."""

import csv
import io
import json

import polars as pl

from tests.integration.gateway.imports.conftest import Shop
from tests.support.topics import headers_of

SALES = """Ticket;Client;Date;Article;Désignation;Qté;PU TTC;Remise
T1;C1;20/11/2026 10:31;P1;Étagère;2;39,90;5,00
T2;;21/11/2026;P2;;1;9,90;
T1;C1;20/11/2026 10:31;P2;;1;9,90;
"""


async def test_a_french_file_becomes_the_sales_that_the_rest_api_would_make(shop: Shop) -> None:
    ended = await shop.take(SALES.encode("cp1252"), "ventes.csv")
    assert ended["state"] == "completed", ended
    assert ended["understood"]["settings"] == {
        "delimiter": ";", "encoding": "windows-1252", "decimal": ",", "date_format": "dd/mm/yyyy",
        "timezone": "Europe/Paris",
    }  # fmt: skip
    assert ended["counts"] == {"rows": 3, "rows_rejected": 0, "records": 2, "records_rejected": 0, "unchanged": 0}
    by_rest = {
        "sale_id": "T1", "customer_code": "C1", "sold_at": "2026-11-20T10:31:00+01:00",
        "lines": [
            {"product_key": "P1", "label": "Étagère", "quantity": "2", "unit_price": "39.90", "discount": "5.00"},
            {"product_key": "P2", "quantity": "1", "unit_price": "9.90"},
        ],
    }  # fmt: skip
    answer = await shop.api.client.post("/sales", json=by_rest)
    assert answer.status_code == 202
    records = await shop.records("sales")
    of_t1 = [record for record in records if headers_of(record)["ce_subject"] == "T1"]
    assert len(records) == 3
    assert len(of_t1) == 2
    assert of_t1[0].value == of_t1[1].value
    assert of_t1[0].key == of_t1[1].key
    ours, theirs = (headers_of(record) for record in of_t1)
    assert {name for name in ours if ours[name] != theirs[name]} <= {"ce_id", "ce_time", "ce_requestid"}


async def test_a_sale_with_one_bad_line_is_refused_whole_and_the_others_go_on(shop: Shop) -> None:
    file = (
        "sale_id,customer_code,sold_at,product_key,quantity,unit_price\n"
        "A,C1,2026-11-20T10:00:00Z,P1,1,5\n"
        "B,C1,2026-11-20T10:00:00Z,P1,1,5\n"
        "A,C1,2026-11-20T10:00:00Z,P2,-3,5\n"
        "C,C1,2026-11-20T10:00:00Z,P1,1\n"
        "D,C1,yesterday,P1,1,5\n"
        "E,=cmd(),2026-11-20T10:00:00Z,P1,1,5\n"
    )
    ended = await shop.take(file.encode())
    assert ended["state"] == "completed", ended
    assert (ended["counts"]["records"], ended["counts"]["records_rejected"]) == (2, 2)
    assert {(error["row"], error["field"]) for error in ended["errors"]} == {
        (5, ""), (4, "quantity"), (2, ""), (6, "sold_at"),
    }  # fmt: skip
    rows = list(csv.DictReader(io.StringIO(await shop.rejected(ended["import_id"]))))
    assert {row["row"]: row["reason"] for row in rows}["4"] == "must be greater than 0"
    assert {row["row"]: row["reason"] for row in rows}["2"] == "goes with row 4, which is refused"
    assert {row["row"]: row["quantity"] for row in rows}["4"] == "'-3", "a cell that starts with - may start a formula"
    assert {headers_of(record)["ce_subject"] for record in await shop.records("sales")} == {"B", "E"}


async def test_the_same_file_again_makes_the_same_events(shop: Shop) -> None:
    first, second = [await shop.take(SALES.encode()) for _ in range(2)]
    assert first["sha256"] == second["sha256"]
    records = await shop.records("sales")
    ids = [headers_of(record)["ce_id"] for record in records]
    assert len(ids) == 4
    assert len(set(ids)) == 2
    assert len({(record.key, record.value) for record in records}) == 2


async def test_backfill_marks_every_event(shop: Shop) -> None:
    await shop.take(SALES.encode(), backfill="true")
    assert [headers_of(record)["ce_backfill"] for record in await shop.records("sales")] == ["true"] * 2
    await shop.take(b"customer_code,last_name\nC1,Ruiz\n", "c.csv", kind="customers", backfill="true")
    await shop.installation_published()
    assert headers_of((await shop.records("customers"))[0])["ce_backfill"] == "true"


async def test_a_dry_run_shows_what_would_happen_and_changes_nothing(shop: Shop) -> None:
    ended = await shop.take((SALES + "T3;C1;nonsense;P1;;1;1,00;\n").encode(), dry_run="true")
    assert ended["state"] == "completed"
    assert ended["understood"]["suggestion"]["Qté"] == "quantity"
    assert ended["counts"]["records"] == 2
    assert [error["column"] for error in ended["errors"]] == ["Date"]
    assert {sale["sale_id"] for sale in ended["sample"]} == {"T1", "T2"}
    assert await shop.records("sales") == []


async def test_parquet_and_ndjson_mean_the_same_as_csv(shop: Shop) -> None:
    rows = [
        {"sale_id": "A", "customer_code": "C1", "sold_at": "2026-11-20T10:00:00+01:00", "product_key": "P1",
         "quantity": 2, "unit_price": 39.9},
        {"sale_id": "A", "customer_code": "C1", "sold_at": "2026-11-20T10:00:00+01:00", "product_key": "P2",
         "quantity": 1, "unit_price": 5.25},
    ]  # fmt: skip
    parquet = io.BytesIO()
    frame = pl.DataFrame(rows).with_columns(pl.col("sold_at").str.to_datetime(time_zone="UTC"))
    frame.write_parquet(parquet)
    nested = {key: rows[0][key] for key in ("sale_id", "customer_code", "sold_at")}
    lines = [{key: row[key] for key in ("product_key", "quantity", "unit_price")} for row in rows]
    files = {
        "s.csv": frame.with_columns(sold_at=pl.lit("2026-11-20 10:00")).write_csv().encode(),
        "s.parquet": parquet.getvalue(),
        "flat.ndjson": "\n".join(json.dumps(row) for row in rows).encode(),
        "nested.jsonl": json.dumps({**nested, "lines": lines}).encode(),
    }
    for name, content in files.items():
        ended = await shop.take(content, name)
        assert ended["state"] == "completed", ended
        assert ended["counts"]["records"] == 1, ended
    assert len({record.value for record in await shop.records("sales")}) == 1


async def test_returns_take_their_rows_together(shop: Shop) -> None:
    file = (
        "return_id,sale_id,returned_at,product_key,quantity,amount\n"
        "R1,T1,2026-11-22,P1,1,37.40\n"
        "R1,T1,2026-11-22,P2,1,9.90\n"
        "R2,T1,2026-11-22,P2,1,\n"
    )
    ended = await shop.take(file.encode(), "returns.csv", kind="returns")
    assert (ended["counts"]["records"], ended["counts"]["records_rejected"]) == (1, 1)
    (record,) = await shop.records("sales")
    assert headers_of(record)["ce_type"] == "sale.returned.v1"
    assert [line["product_key"] for line in json.loads(record.value)["lines"]] == ["P1", "P2"]


async def test_customers_and_products_set_what_the_file_has_and_leave_the_rest(shop: Shop) -> None:
    client = shop.api.client
    consent = {"email": {"status": "opted_out", "at": "2026-01-01T00:00:00Z", "source": "till"}}
    stored = {"customer_code": "C1", "first_name": "Ana", "consents": consent, "attributes": {"a": "1"}}
    assert (await client.post("/customers", json=stored)).status_code == 201
    file = (
        "Code client;Nom;E-mail;Optin SMS;Date optin SMS;Ville\n"
        "C1;Ruiz;ana@example.org;oui;25/01/2026;Lyon\n"
        "C2;Doe;not an address;;;\n"
        "C3;Roe;;oui;;\n"
        "C4;One;;;;\n"
        "C4;Two;;;;\n"
    )
    mapping = {"Ville": "attributes.city"}
    ended = await shop.take(file.encode(), "clients.csv", kind="customers", mapping=mapping)
    assert ended["state"] == "completed", ended
    assert (ended["counts"]["records"], ended["counts"]["rows_rejected"]) == (1, 4)
    one = (await client.get("/customers/C1")).json()
    assert (one["first_name"], one["last_name"], one["email"]) == ("Ana", "Ruiz", "ana@example.org")
    assert one["attributes"] == {"a": "1", "city": "Lyon"}
    assert {channel: said["status"] for channel, said in one["consents"].items()} == {
        "email": "opted_out",
        "sms": "opted_in",
    }
    again = await shop.take(file.encode(), "clients.csv", kind="customers", mapping=mapping)
    assert again["counts"]["unchanged"] == 1
    assert (await client.get("/customers/C1")).json()["updated_at"] == one["updated_at"]
    products = b'{"product_key": "P1", "name": "Shelf", "price": "39.90"}\n{"product_key": "P2", "family": "Oak"}\n'
    ended = await shop.take(products, "p.ndjson", kind="products")
    assert ended["counts"]["records"] == 2, ended
    assert (await client.get("/products/P1")).json()["name"] == "Shelf"


async def test_a_product_whose_key_is_an_alias_is_refused_with_the_product_that_it_stands_for(shop: Shop) -> None:
    client = shop.api.client
    assert (await client.post("/products", json={"product_key": "P1"})).status_code == 201
    assert (await client.post("/product-aliases", json={"alias": "T9", "product_key": "P1"})).status_code == 201
    ended = await shop.take(b"product_key,name\nP1,Shelf\nT9,Till\nP2,Lamp\n", "p.csv", kind="products")
    assert (ended["state"], ended["counts"]["records"], ended["counts"]["records_rejected"]) == ("completed", 2, 1)
    (error,) = ended["errors"]
    assert (error["row"], error["field"]) == (3, "product_key")
    assert "alias of the product P1" in error["reason"]
    assert (await client.get("/products/T9")).status_code == 404
    assert (await client.get("/products/P2")).json()["name"] == "Lamp"
