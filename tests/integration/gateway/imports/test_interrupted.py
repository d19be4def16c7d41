"""Pause, cancel, a killed importer, a closed tenant, another storage: what is done stays done, once."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cli.ports import HOST, is_free
from tests.integration.gateway.imports.conftest import ENDED, Shop
from tests.support.api import Api
from tests.support.installation import Installation
from tests.support.processes import KILLED
from tests.support.topics import headers_of
from tests.support.waiting import until

LINES = 3


def many_sales(count: int) -> bytes:
    """A file whose sales lie apart: the first lines of all, then the second ones ..."""
    head = "sale_id,customer_code,sold_at,product_key,label,quantity,unit_price\n"
    filler = "x" * 120  # makes several parts of few lines
    return (
        head
        + "".join(
            f"S{number},C{number % 50},2026-11-20T10:00:00Z,P{line},{filler},1,2.50\n"
            for line in range(LINES)
            for number in range(count)
        )
    ).encode()


async def _shop(installation: Installation, **settings: str) -> Shop:
    gateway = installation.gateway(**settings)
    await gateway.ready()
    installation.url = gateway.url
    return Shop(installation, await Api.register(gateway.url))


async def test_a_killed_importer_loses_nothing_and_another_goes_on(installation: Installation) -> None:
    shop = await _shop(installation)
    first = installation.importer(fault_point="before_checkpoint")
    await first.ready()
    count = 20_000
    import_id = await shop.begin(many_sales(count))
    assert await first.ended(60) == KILLED
    half_done = await shop.get(import_id)
    assert half_done["state"] == "running"
    assert half_done["counts"]["records"] == 0, "nothing was written down of the part that was published"
    published = len(await shop.records("sales"))
    assert 0 < published < count
    second = installation.importer()
    await second.ready()
    ended = await shop.state(import_id, *ENDED)
    assert ended["state"] == "completed", ended
    assert (ended["counts"]["rows"], ended["counts"]["records"]) == (LINES * count, count)
    records = await shop.records("sales")
    assert len(records) == count + published, "one part was published twice"
    assert len({headers_of(record)["ce_id"] for record in records}) == count
    assert not list((installation.folder / "import-work").glob("*")), "parts are removed"
    await shop.api.close()


async def test_what_a_killed_importer_leaves_goes_on_at_once_and_what_a_living_one_has_is_its_own(
    installation: Installation,
) -> None:
    shop = await _shop(installation)
    long = {"import_lease_s": "600"}
    first = installation.importer(**long)
    await first.ready()
    count = 60_000
    import_id = await shop.begin(many_sales(count))
    claim = "select claimed_by from gateway.import_job where state = 'running' and held_at is not null"

    async def at_work() -> bool:
        return bool(await installation.query(claim))

    await until(at_work, seconds=20, what="the importer shows that it lives")
    (mine,) = await installation.query(claim)
    second = installation.importer(**long)
    await second.ready()
    await asyncio.sleep(0.5)  # five looks of the second one
    assert await installation.query(claim) == [mine], "the second one takes nothing from the first"
    first.kill()
    ended = await shop.state(import_id, *ENDED)
    assert ended["state"] == "completed", ended
    assert (ended["counts"]["rows"], ended["counts"]["records"]) == (LINES * count, count)
    assert len({headers_of(record)["ce_id"] for record in await shop.records("sales")}) == count
    await shop.api.close()


async def test_an_importer_that_loses_its_connection_goes_on_with_what_it_has(installation: Installation) -> None:
    shop = await _shop(installation)
    importer = installation.importer(import_lease_s="600")
    await importer.ready()
    count = 20_000
    import_id = await shop.begin(many_sales(count))
    ends = """
        select pg_terminate_backend(l.pid) as ended from pg_locks l
        join gateway.import_job j on j.state = 'running' and j.held_at is not null
            and (l.classid::bigint << 32 | l.objid::bigint) = hashtextextended('importer ' || j.claimed_by, 0)
        where l.locktype = 'advisory' and l.granted
    """

    async def cut() -> bool:
        return bool(await installation.query(ends))

    await until(cut, seconds=20, what="its connection is ended")
    ended = await shop.state(import_id, *ENDED)
    assert (ended["state"], ended["counts"]["records"]) == ("completed", count), ended
    assert len(await shop.records("sales")) == count, "no part was published twice"
    await shop.api.close()


async def test_an_import_pauses_goes_on_and_is_cancelled(installation: Installation) -> None:
    shop = await _shop(installation)
    import_id = await shop.begin(many_sales(2_000))
    client = shop.api.client
    assert (await client.post(f"/imports/{import_id}/resume")).json()["state"] == "queued"
    for _ in range(2):
        paused = await client.post(f"/imports/{import_id}/pause")
        assert (paused.status_code, paused.json()["state"]) == (200, "paused")
    importer = installation.importer()
    await importer.ready()
    other = await shop.take(b"sale_id,sold_at,product_key,quantity,unit_price\nA,2026-11-20,P,1,5\n")
    assert other["state"] == "completed", "a paused import is in nobody's way"
    assert (await shop.get(import_id))["state"] == "paused"
    assert (await client.post(f"/imports/{import_id}/resume")).json()["state"] == "queued"
    assert (await shop.state(import_id, *ENDED))["state"] == "completed"
    assert (await client.post(f"/imports/{import_id}/cancel")).status_code == 409
    await importer.stop()
    unwanted = await shop.begin(many_sales(10))
    assert (await client.post(f"/imports/{unwanted}/cancel")).json()["state"] == "cancelled"
    assert (await client.post(f"/imports/{unwanted}/resume")).status_code == 409
    await shop.api.close()


async def test_an_import_that_is_paused_while_it_runs_stops_and_goes_on(installation: Installation) -> None:
    shop = await _shop(installation)
    importer = installation.importer()
    await importer.ready()
    count = 40_000
    import_id = await shop.begin(many_sales(count))
    await shop.state(import_id, "running", *ENDED)
    paused = await shop.api.client.post(f"/imports/{import_id}/pause")
    if paused.status_code == 200:
        await asyncio.sleep(4)  # longer than a lease
        still = await shop.get(import_id)
        before = len(await shop.records("sales"))
        assert still["state"] == "paused"
        await asyncio.sleep(1)
        assert len(await shop.records("sales")) == before
        await shop.api.client.post(f"/imports/{import_id}/resume")
    ended = await shop.state(import_id, *ENDED)
    assert (ended["state"], ended["counts"]["records"]) == ("completed", count), ended
    assert len({headers_of(record)["ce_id"] for record in await shop.records("sales")}) == count
    await shop.api.close()


async def test_a_closed_tenants_import_ends_and_its_erasure_deletes_the_files(installation: Installation) -> None:
    shop = await _shop(installation, grace_days="0", janitor_s="0.2")
    import_id = await shop.begin(many_sales(10))
    mine = installation.folder / "imports" / str(shop.api.tenant_id)
    assert list(mine.glob("*/source"))
    closed = "update gateway.tenant set status = 'closed', closed_at = now() + interval '1 day' where tenant_id = $1"
    await installation.query(closed, shop.api.tenant_id)
    importer = installation.importer()
    await importer.ready()

    async def ended() -> bool:
        (row,) = await installation.query("select state, reason from gateway.import_job")
        return (row["state"], row["reason"]) == ("cancelled", "The tenant is closed.")

    await until(ended, seconds=20, what=f"import {import_id} ended")
    assert await shop.records("sales") == []
    await installation.query("update gateway.tenant set closed_at = now() - interval '1 day'")

    async def erased() -> bool:
        left = await installation.query("select 1 from gateway.import_job")
        return not left and not mine.exists()

    await until(erased, seconds=20, what="rows and files erased")
    await shop.api.close()


async def test_the_erasure_of_a_person_takes_the_files_of_ended_imports_with_it(installation: Installation) -> None:
    shop = await _shop(installation, janitor_s="0.2")
    importer = installation.importer()
    await importer.ready()
    file = b"customer_code,last_name,email\nC1,Ruiz,no address\nC2,Doe,\n"
    ended = await shop.take(file, "c.csv", kind="customers", dry_run="true")
    assert "Ruiz" in await shop.rejected(ended["import_id"])
    assert ended["sample"] == [{"customer_code": "C2", "last_name": "Doe", "email": None}]
    assert (await shop.api.client.post("/customers", json={"customer_code": "C1"})).status_code == 201
    assert (await shop.api.client.delete("/customers/C1")).status_code == 204
    folder = installation.folder / "imports" / str(shop.api.tenant_id) / ended["import_id"]
    await until(lambda: not folder.exists(), seconds=20, what="files deleted")
    left = await installation.query("select count(*) as n from gateway.import_job j where j::text ~ 'Doe|Ruiz'")
    assert left[0]["n"] == 0
    await shop.api.close()


async def test_files_go_after_their_time_and_the_import_stays_in_the_list(installation: Installation) -> None:
    shop = await _shop(installation, janitor_s="0.2")
    importer = installation.importer(import_retention_days="0")
    await importer.ready()
    bad = b"sale_id,sold_at,product_key,quantity,unit_price\nA,2026-11-20,P,0,5\n"
    ended = await shop.take(bad, dry_run="true")
    folder = installation.folder / "imports" / str(shop.api.tenant_id) / ended["import_id"]
    await until(lambda: not folder.exists(), seconds=20, what="files deleted")

    async def gone() -> bool:
        return (await shop.api.client.get(f"/imports/{ended['import_id']}/rejected")).status_code == 409

    await until(gone, seconds=20, what="the rejected rows are gone")
    left = await shop.get(ended["import_id"])
    assert (left["state"], left["counts"]["rows_rejected"], left["sample"]) == ("completed", 1, None)
    await shop.api.close()


@pytest.fixture
async def s3(tmp_path: Path) -> AsyncIterator[str]:
    """An S3 of this machine alone."""
    import boto3
    from moto.server import ThreadedMotoServer

    port = next(port for port in range(23_000, 24_000) if is_free(port))
    server = ThreadedMotoServer(HOST, port)
    await asyncio.to_thread(server.start)
    url = f"http://{HOST}:{port}"
    client = boto3.client(
        "s3", endpoint_url=url, aws_access_key_id="k", aws_secret_access_key="s", region_name="us-east-1"
    )
    await asyncio.to_thread(lambda: client.create_bucket(Bucket="files"))
    yield url
    await asyncio.to_thread(server.stop)


async def test_files_may_lie_in_s3(installation: Installation, s3: str) -> None:
    options = {"key": "k", "secret": "s", "endpoint_url": s3, "client_kwargs": {"region_name": "us-east-1"}}
    settings = {"import_storage": "s3://files/imports", "import_storage_options": json.dumps(options)}
    shop = await _shop(installation, **settings)
    importer = installation.importer(**settings)
    await importer.ready()
    count = 20_000
    file = many_sales(count) + b"bad row\n"
    assert len(file) > 8 * 1024 * 1024, "more than one part of a multipart upload to S3"
    ended = await shop.take(file)
    assert (ended["state"], ended["counts"]["records"]) == ("completed", count), ended
    assert f"{LINES * count + 2},," in await shop.rejected(ended["import_id"])
    assert (await shop.upload(b"", "s.csv")).status_code == 422
    assert not list((installation.folder / "import-work").glob("*")), "no copy is left on this machine"
    await shop.api.close()


async def test_a_stored_file_that_is_gone_fails_the_import(installation: Installation) -> None:
    shop = await _shop(installation)
    import_id = await shop.begin(many_sales(10))
    (installation.folder / "imports" / str(shop.api.tenant_id) / import_id / "source").unlink()
    importer = installation.importer()
    await importer.ready()
    ended = await shop.state(import_id, *ENDED)
    assert (ended["state"], ended["reason"]) == ("failed", "The stored file is gone.")
    await shop.api.close()
