"""Order, duplication and splitting never show: every delivery of a stream ends in the rows of a recomputation."""

import random
from typing import Any
from uuid import uuid4

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncEngine

from services.rfm_worker.domain.facts import AliasChange, CustomerChange, Item, ProductChange
from tests.integration.rfm.conftest import SECRET, Rfm
from tests.integration.rfm.stored import stored
from tests.support import rfm_items as make
from tests.support.rfm_recomputation import recompute

CUSTOMERS = st.sampled_from(["ada", "bob", "cyd"])
PRODUCTS = st.sampled_from(["milk", "bread", "tea"])
DAYS = st.integers(0, 12).map(lambda step: step * 0.8)
MINUTES = st.integers(0, 3)
SHORT = st.sampled_from(["0", "0.50", "1.25", "3"])
LINES = st.lists(st.tuples(PRODUCTS, st.sampled_from(["1", "2.5", "3"]), SHORT), min_size=1, max_size=3)
SOLD = st.tuples(
    st.just("sale"), st.sampled_from(["s1", "s2", "s3", "s4", "s5"]), st.one_of(st.none(), CUSTOMERS), LINES, DAYS,
    MINUTES,
)  # fmt: skip
BACK = st.tuples(st.just("return"), st.sampled_from(["r1", "r2"]), st.sampled_from(["s1", "s2", "s3"]), LINES, MINUTES)
VOID = st.tuples(st.just("cancel"), st.sampled_from(["s1", "s4"]), MINUTES)
ERASED = st.tuples(st.just("erase"), CUSTOMERS, DAYS)
PERSON = st.tuples(st.just("person"), CUSTOMERS, st.one_of(st.none(), st.integers(1, 3)), DAYS)
ARTICLE = st.tuples(st.just("article"), PRODUCTS, st.one_of(st.none(), st.integers(1, 3)))
ALIAS = st.tuples(st.just("alias"), PRODUCTS, PRODUCTS, st.one_of(st.none(), st.integers(1, 3)))
TENANT = st.tuples(
    st.just("tenant"), st.integers(1, 3), st.sampled_from(["UTC", "Asia/Tokyo", "America/New_York"]),
    st.sampled_from(["now", "latest_sale", "2026-01-20"]),
)  # fmt: skip
MASTER = CustomerChange | ProductChange | AliasChange
STREAM = st.tuples(
    st.lists(st.one_of(SOLD, SOLD, SOLD, BACK, VOID), min_size=1, max_size=14),
    st.lists(st.one_of(ERASED, PERSON, PERSON, ARTICLE, ALIAS, ALIAS, TENANT), max_size=7),
)


def item(rfm: Rfm, made: tuple[Any, ...], number: int) -> Item:
    """A generated description as an item; its number makes ids that a duplicate shares."""
    t, event_id = rfm.tenant_id, f"e{number:03}"
    match made:
        case ("sale", sale_id, customer, lines, day, minute):
            return make.sale(t, sale_id, customer, lines, day=day, minute=minute, event_id=event_id)
        case ("return", return_id, sale_id, lines, minute):
            return make.returned(t, return_id, sale_id, lines, minute=minute, event_id=event_id)
        case ("cancel", sale_id, minute):
            return make.cancelled(t, sale_id, minute=minute, event_id=event_id)
        case ("erase", code, day):
            return make.erased(SECRET, t, code, day=day)
        case ("person", code, None, _):
            return make.gone(t, code)
        case ("person", code, version, day):
            return make.person(t, code, version, day=day, first_name=f"{code} {version}")
        case ("article", key, None):
            return make.no_article(t, key)
        case ("article", key, version):
            return make.article(t, key, version, f"family {version}")
        case ("alias", key, _, None):
            return make.no_alias(t, key)
        case ("alias", key, product, version):
            return make.alias(t, key, version, product)
        case ("tenant", version, zone, reference):
            return make.tenant(t, version, timezone=zone, reference_date=reference)
    raise AssertionError(made)


def versions_agree(stream: list[Item]) -> list[Item]:
    """The same version of a tenant always says the same: keeps the first of each."""
    seen: set[int] = set()
    kept = []
    for one in stream:
        version = getattr(one.body, "version", None) if type(one).__name__ == "TenantChange" else None  # type: ignore[union-attr]
        if version is None or version not in seen:
            kept.append(one)
        if version is not None:
            seen.add(version)
    return kept


def delivery(stream: list[Item], chance: random.Random) -> list[Item]:
    """Any order, but that records of one master data key keep theirs; facts may come twice."""
    spots = [(chance.random(), one) for one in stream]
    facts = [one for one in stream if not isinstance(one, MASTER)]
    spots += [(chance.random(), one) for one in facts if chance.random() < 0.3]
    spots.sort(key=lambda spot: spot[0])
    shuffled = [one for _, one in spots]
    ordered = iter([one for one in stream if isinstance(one, MASTER)])
    return [next(ordered) if isinstance(one, MASTER) else one for one in shuffled]


def batches(items: list[Item], chance: random.Random) -> list[list[Item]]:
    """Cuts a delivery anywhere."""
    parts: list[list[Item]] = [[]]
    for one in items:
        if parts[-1] and chance.random() < 0.4:
            parts.append([])
        parts[-1].append(one)
    return parts


@settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(made=STREAM, seed=st.integers(0, 2**32))
async def test_every_delivery_ends_in_the_rows_of_a_recomputation(
    rfm_engine: AsyncEngine, made: tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]], seed: int
) -> None:
    chance = random.Random(seed)
    rfm = Rfm(rfm_engine, tenant_id=uuid4())
    stream = versions_agree([item(rfm, one, n) for n, one in enumerate([*made[0], *made[1]])])
    delivered = delivery(stream, chance)
    for batch in batches(delivered, chance):
        await rfm.apply(*batch)
        if chance.random() < 0.2:
            await rfm.score()
        if chance.random() < 0.3:
            await rfm.mover.step(rfm.tenant_id)
    await rfm.move()
    await rfm.score()
    assert await stored(rfm) == recompute(stream, SECRET)
    report = await rfm.verified()
    assert report, report.lines()
