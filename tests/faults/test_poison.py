"""Records that can never be applied: kept apart with origin and reason, and the worker goes on, or stops loudly."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from aiokafka import ConsumerRecord

from shared.events.catalogue import SALES, TENANTS
from shared.events.envelope import Envelope
from shared.events.payloads import TenantChangedV1
from shared.events.tenant_settings import TenantSettings
from shared.messaging.dead_letters import original_headers
from shared.messaging.record import Headers, Message
from shared.messaging.topics import create_topics
from tests.support.exactness import assert_exact
from tests.support.installation import Installation
from tests.support.processes import Process
from tests.support.sales_stream import a_sale, recorded, sales_stream
from tests.support.topics import administration, configure_topic, headers_of, read_topic
from tests.support.waiting import until

pytestmark = pytest.mark.faults
DEAD_RUN = 100
"""Dead records in a row that a worker accepts."""


@dataclass(frozen=True)
class PoisonCase:
    """A record that must die, and the reason that must be given."""

    name: str
    reason: str
    message: Message


async def test_each_kind_of_poison_dies_alone_and_can_be_traced(installation: Installation) -> None:
    await _tell_tenant(installation, currency="EUR", version=1)
    worker = installation.worker()
    await installation.all_applied()
    facts = sales_stream(seed=61, events=300)
    cases = _poison(installation.tenant_id)
    mixed: list[Message] = []
    for number, fact in enumerate(facts):
        mixed.append(fact.message(installation.tenant_id))
        if number % 10 == 0 and number // 10 < len(cases):
            mixed.append(cases[number // 10].message)
    async with installation.producer() as producer:
        await installation.publish(producer, mixed)
    await installation.all_applied()

    sent = {record.value: record for record in await _records(installation, SALES.name) if record.value is not None}
    dead = {record.value: record for record in await _dead(installation)}
    assert len(dead) == len(await _dead(installation)) == len(cases)
    for case in cases:
        letter, origin = dead[case.message.value or b""], sent[case.message.value or b""]
        about = headers_of(letter)
        assert about["dead_reason"] == case.reason, case.name
        where = (about["dead_topic"], int(about["dead_partition"]), int(about["dead_offset"]))
        assert where == ("sales", origin.partition, origin.offset), case.name
        assert about["dead_service"] == "rfm_worker"
        assert letter.key == origin.key
        assert list(original_headers(letter.headers)) == list(origin.headers)
    for reason in {case.reason for case in cases}:
        expected = sum(case.reason == reason for case in cases)
        assert await worker.metric("iacrm_dead_letters_total", topic="sales", reason=reason) == expected, reason
    await assert_exact(installation, facts)
    await worker.stop()


async def test_a_dead_letter_is_applied_by_a_replay_once_its_cause_is_gone(installation: Installation) -> None:
    await _tell_tenant(installation, currency="EUR", version=1)
    worker = installation.worker()
    await installation.all_applied()
    sale = recorded(a_sale("S-1", currency="USD"))
    await installation.produce([sale])
    await installation.all_applied()
    assert [headers_of(letter)["dead_reason"] for letter in await _dead(installation)] == ["currency_mismatch"]
    assert await installation.query("select from rfm.sale where recorded") == []

    await _tell_tenant(installation, currency="USD", version=2)
    await installation.all_applied()
    listed = await installation.run("shared.messaging.replay", "sales", "--list")
    assert "currency_mismatch" in listed
    await installation.run("shared.messaging.replay", "sales", "--reason", "currency_mismatch")
    await until(lambda: _ledger_has(installation, "S-1"), seconds=20, what="the replayed sale is applied")
    # Once is enough: nothing waits any more, and a second replay sends nothing.
    again = await installation.run("shared.messaging.replay", "sales", "--reason", "currency_mismatch")
    assert again.startswith("0 dead letters")
    assert len(await _records(installation, SALES.name)) == 2
    await assert_exact(installation, [sale])
    await worker.stop()


@pytest.mark.parametrize("how", ["deleted", "too small"])
async def test_nothing_is_committed_while_a_dead_letter_cannot_be_written(installation: Installation, how: str) -> None:
    dead_topic = SALES.dead_letter.full_name(installation.prefix)
    facts = sales_stream(seed=62, events=200)
    poison = Message(SALES.name, b"k", b"not json" * 200, _headers(installation.tenant_id))
    if how == "deleted":
        async with administration(installation.bootstrap) as admin:
            await admin.delete_topics([dead_topic])
    else:
        await configure_topic(installation.bootstrap, dead_topic, {"max.message.bytes": "500"})
    async with installation.producer() as producer:
        await installation.publish(producer, [poison])
    ((_, partition),) = installation.produced
    await installation.produce(facts)
    worker = installation.worker()
    await worker.answers("/health/live", 200)
    await until(lambda: _tries_again(worker), seconds=40, what="the worker tries again")
    assert await worker.status("/health/ready") == 503
    await _nothing_is_done_of(installation, partition)

    if how == "deleted":
        await create_topics(installation.bootstrap, prefix=installation.prefix)
    else:
        await configure_topic(installation.bootstrap, dead_topic, {"max.message.bytes": "2000000"})
    await installation.all_applied()
    assert {headers_of(letter)["dead_reason"] for letter in await _dead(installation)} == {"undecodable"}
    await assert_exact(installation, facts)
    await worker.stop()


async def test_a_run_of_dead_records_stops_the_worker_and_loses_nothing(installation: Installation) -> None:
    headers = _headers(installation.tenant_id)
    bad = [Message(SALES.name, b"k", f"broken {number}".encode(), headers) for number in range(DEAD_RUN + 1)]
    good = recorded(a_sale("S-after"))
    async with installation.producer() as producer:
        await installation.publish(producer, bad)
    ((_, partition),) = installation.produced
    await installation.produce([good])
    worker = installation.worker()
    code = await worker.ended(40)
    assert code > 0, f"the worker ended with {code}\n{worker.tail()}"
    assert "dead records in a row" in worker.tail(200)
    await _nothing_is_done_of(installation, partition)
    assert await _dead(installation) == []


async def test_as_many_dead_records_as_allowed_do_not_stop_the_worker(installation: Installation) -> None:
    headers = _headers(installation.tenant_id)
    good = recorded(a_sale("S-after"))
    bad = [Message(SALES.name, b"k", f"broken {number}".encode(), headers) for number in range(DEAD_RUN)]
    async with installation.producer() as producer:
        await installation.publish(producer, [*bad, good.message(installation.tenant_id)])
    worker = installation.worker()
    await installation.all_applied()
    assert len(await _dead(installation)) == DEAD_RUN
    await assert_exact(installation, [good])
    await worker.stop()


async def _nothing_is_done_of(installation: Installation, partition: int) -> None:
    """Partitions of the other lane may go on."""
    assert partition not in await installation.committed()
    assert (SALES.name, partition) not in await installation.applied()


def _poison(tenant_id: UUID) -> list[PoisonCase]:
    headers = dict(_headers(tenant_id))

    def case(name: str, reason: str, value: bytes, changes: dict[str, bytes | None] | None = None) -> PoisonCase:
        wanted = {**headers, **(changes or {})}
        kept: Headers = [(key, text) for key, text in wanted.items() if text is not None]
        return PoisonCase(name, reason, Message(SALES.name, f"{tenant_id}:{name}".encode(), value, kept))

    def sale(name: str, **fields: Any) -> bytes:
        return json.dumps(a_sale(name, **fields)).encode()

    return [
        case("bytes", "undecodable", b"\xff\xfe\x00 nothing that decodes"),
        case("not json", "undecodable", b"{]"),
        case("unknown type", "unknown_type", sale("A"), {"ce_type": b"sale.imagined.v9"}),
        case("other topic's type", "unknown_type", sale("B"), {"ce_type": b"product.changed.v1"}),
        case("no value that is a sale", "undecodable", b""),
        case("no headers", "invalid_envelope", sale("C"), dict.fromkeys(headers)),
        case("no tenant", "invalid_envelope", sale("D"), {"ce_tenantid": None}),
        case("tenant is no uuid", "invalid_envelope", sale("E"), {"ce_tenantid": b"all of them"}),
        case("time without offset", "invalid_envelope", sale("F"), {"ce_time": b"2026-10-01T00:00:00"}),
        case("header not utf-8", "invalid_envelope", sale("G"), {"ce_source": b"\xc3\x28"}),
        case("negative quantity", "invalid_payload", _with_line("H", quantity="-1")),
        case("nan", "invalid_payload", _with_line("I", unit_price="NaN")),
        case("amount does not fit", "invalid_payload", _with_line("J", amount="1.00")),
        case("no lines", "invalid_payload", json.dumps({**a_sale("K"), "lines": []}).encode()),
        case("e-mail as code", "invalid_payload", sale("L", customer_code="ana@example.org")),
        case("nul character", "invalid_payload", sale("M\u0000")),
        case("wrong currency", "currency_mismatch", sale("N", currency="USD")),
    ]


def _with_line(sale_id: str, **line: str) -> bytes:
    sale = a_sale(sale_id)
    return json.dumps({**sale, "lines": [{**sale["lines"][0], **line}]}).encode()


def _headers(tenant_id: UUID) -> list[tuple[str, bytes]]:
    return Envelope("e-1", "sale.recorded.v1", "upstream-till", datetime.now(UTC), tenant_id).to_headers()


async def _tell_tenant(installation: Installation, *, currency: str, version: int) -> None:
    tenant_id = installation.tenant_id
    payload = TenantChangedV1(
        tenant_id=tenant_id, name="Faults", status="active", settings=TenantSettings(currency=currency),
        version=version, updated_at=datetime.now(UTC),
    )  # fmt: skip
    envelope = Envelope.new("tenant.changed.v1", tenant_id, source="api_gateway")
    value = payload.model_dump_json().encode()
    async with installation.producer() as producer:
        await installation.publish(
            producer, [Message(TENANTS.name, str(tenant_id).encode(), value, envelope.to_headers())]
        )


async def _records(installation: Installation, topic: str) -> Sequence[ConsumerRecord]:
    return await read_topic(installation.bootstrap, f"{installation.prefix}{topic}")


async def _dead(installation: Installation) -> Sequence[ConsumerRecord]:
    return await _records(installation, SALES.dead_letter.name)


async def _tries_again(worker: Process) -> bool:
    return await worker.metric("iacrm_apply_retries_total") >= 2


async def _ledger_has(installation: Installation, sale_id: str) -> bool:
    return bool(await installation.query("select from rfm.sale where recorded and sale_id = $1", sale_id))
