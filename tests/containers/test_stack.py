"""docker-compose.yml for real: a sale goes in over HTTP and comes out as a segment."""

import io
import json
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.containers.engine import EngineError
from tests.containers.stack import Stack
from tests.support.api import Answer, Api
from tests.support.waiting import until

pytestmark = [pytest.mark.containers, pytest.mark.timeout(900)]

OURS = ("api_gateway", "importer", "rfm_worker", "rfm_jobs")
SERVICES = ("postgres", "kafka", *OURS)
MEGABYTE = 1024**2


@pytest.fixture
async def api(containers: Stack) -> AsyncIterator[Api]:
    """The owner of a new tenant."""
    api = await Api.register(containers.url)
    yield api
    await api.close()


def _sale(customer: str) -> dict[str, Any]:
    line = {"product_key": "P-88", "label": "Oak shelf 80", "quantity": "2", "unit_price": "39.90", "discount": "5.00"}
    return {
        "sale_id": f"T7-{uuid.uuid4().hex[:12]}", "customer_code": customer,
        "sold_at": "2026-11-20T10:31:00+01:00", "lines": [line],
    }  # fmt: skip


async def _sell(api: Api, customer: str, count: int) -> str:
    """Posts a batch; the consistency token."""
    answer = await api.ask("POST", "/sales/batch", json={"sales": [_sale(customer) for _ in range(count)]})
    assert answer.status == 202, answer.body
    assert answer.body["accepted"] == count
    return answer.headers["X-Consistency-Token"]


async def _read(api: Api, path: str, token: str) -> Any:
    answer = await api.ask("GET", path, headers={"X-Consistency-Token": token, "Prefer": "wait=30"})
    assert answer.status == 200, answer.body
    return answer.body


async def test_a_sale_becomes_a_segment(containers: Stack, api: Api) -> None:
    made = await api.ask("POST", "/customers", json={"customer_code": "C-1042", "first_name": "Ana"})
    assert made.status == 201, made.body
    sold = await api.ask("POST", "/sales", json=_sale("C-1042"))
    assert sold.status == 202, sold.body
    token = sold.headers["X-Consistency-Token"]

    customer = await _read(api, "/customers/C-1042", token)
    assert customer["first_name"] == "Ana"
    assert (customer["rfm"]["frequency"], float(customer["rfm"]["monetary"])) == (1, 74.8)

    distribution = await _read(api, "/rfm/distribution", token)
    assert distribution["customers"] == 1
    counts = {each["segment"]: each["customers"] for each in distribution["segments"]}
    assert counts[customer["rfm"]["segment"]] == 1
    assert sum(counts.values()) == 1


async def _import(api: Api, content: bytes) -> tuple[Any, str]:
    """Uploads a file of sales; the import once it has ended, and its consistency token."""
    sent = await api.ask("POST", "/imports", data={"kind": "sales"}, files={"file": ("sales.csv", content)})
    assert sent.status == 202, sent.body
    found: list[Answer] = []

    async def ended() -> bool:
        found[:] = [await api.ask("GET", f"/imports/{sent.body['import_id']}")]
        return found[0].status == 200 and found[0].body["state"] in ("completed", "failed")

    await until(ended, seconds=60, what="the import ended")
    return found[0].body, found[0].headers["X-Consistency-Token"]


async def test_a_file_is_imported_exported_and_verified(containers: Stack, api: Api) -> None:
    rows = [f"T9-{number};C-{number % 7};20/11/2026 10:31;P-88;2;39,90" for number in range(70)]
    lines = ["N° ticket;Code client;Date de vente;Article;Qté;PU TTC", *rows]
    done, token = await _import(api, "\n".join(lines).encode())
    assert (done["state"], done["counts"]["records"]) == ("completed", 70), done
    assert (await _read(api, "/customers/C-3", token))["rfm"]["frequency"] == 10

    exported = await api.client.get("/exports/sales.parquet")
    assert exported.status_code == 200, exported.text
    assert pq.read_table(io.BytesIO(exported.content)).num_rows == 70

    check = ("python", "-m", "services.rfm_worker.jobs.check", str(api.tenant_id), "100")
    found = json.loads(containers.execute("rfm_jobs", *check))
    assert found["differences"] == 0
    assert sum(found["rows"].values()) >= 7
    containers.execute("rfm_jobs", "python", "-m", "services.rfm_worker.verification", str(api.tenant_id))


async def test_a_killed_worker_loses_nothing_and_counts_nothing_twice(containers: Stack, api: Api) -> None:
    before = await _sell(api, "C-7", 200)
    containers.engine.run("kill", "--signal", "KILL", containers.container("rfm_worker"))
    after = await _sell(api, "C-7", 100)
    containers.compose("start", "rfm_worker")
    for token in (before, after):
        customer = await _read(api, "/customers/C-7", token)
    assert customer["rfm"]["frequency"] == 300


async def test_processes_stop_when_asked(containers: Stack, api: Api) -> None:
    for service in OURS:
        containers.compose("stop", service)
        # 137 would mean that SIGTERM did not reach python and the engine killed it.
        assert containers.inspect(service)["State"]["ExitCode"] == 0, service
        containers.compose("start", service)
        containers.wait_healthy(service)
    sold = await api.ask("POST", "/sales", json=_sale("C-8"))
    assert sold.status == 202, sold.body
    assert (await _read(api, "/rfm/distribution", sold.headers["X-Consistency-Token"]))["customers"] == 1


def test_every_container_is_limited(containers: Stack) -> None:
    for service in SERVICES:
        limits = containers.inspect(service)["HostConfig"]
        assert 0 < limits["Memory"] <= 1024 * MEGABYTE, service
    for service in OURS:
        facts = containers.inspect(service)
        assert facts["HostConfig"]["PidsLimit"] == 200, service
        assert facts["HostConfig"]["ReadonlyRootfs"] is True, service
        assert containers.execute(service, "id", "-u") == "10001", service
        assert _capabilities(containers, service) == 0, service


def _capabilities(containers: Stack, service: str) -> int:
    status = containers.execute(service, "cat", "/proc/1/status")
    (line,) = [line for line in status.splitlines() if line.startswith("CapBnd")]
    return int(line.split()[1], 16)


def test_the_idle_stack_needs_little_memory(containers: Stack) -> None:
    for service in OURS:
        status = containers.execute(service, "cat", "/proc/1/status")
        (resident,) = [int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")]
        print(f"{service}: {resident / 1024:.0f} MB resident")
        assert resident * 1024 < 300 * MEGABYTE, service


def test_each_process_gets_only_the_secrets_it_needs(containers: Stack) -> None:
    worker = dict(one.split("=", 1) for one in containers.inspect("rfm_worker")["Config"]["Env"])
    gateway = dict(one.split("=", 1) for one in containers.inspect("api_gateway")["Config"]["Env"])
    assert "IACRM_JWT_SECRETS" not in worker
    assert "IACRM_ADMIN_DATABASE_URL" not in worker.keys() | gateway.keys()
    assert json.loads(gateway["IACRM_JWT_SECRETS"])
    assert "iacrm_rfm" in worker["IACRM_DATABASE_URL"]
    assert "iacrm_gateway" in gateway["IACRM_DATABASE_URL"]


def test_an_operator_is_made_inside_the_gateways_container(containers: Stack) -> None:
    name = f"op{uuid.uuid4().hex[:8]}"
    command = f"echo 'a long pass phrase' | python -m services.api_gateway.operators {name} {name}@example.org"
    uuid.UUID(containers.execute("api_gateway", "sh", "-c", command))


def test_setup_may_run_again(containers: Stack) -> None:
    try:
        containers.compose("run", "--rm", "setup")
    except EngineError as error:
        pytest.fail(str(error))
