"""A relay that dies between publishing and noting it tells twice, and never forgets."""

import pytest

from shared.events.catalogue import CUSTOMER_SEGMENTS
from tests.support.exactness import assert_exact, assert_told
from tests.support.installation import Installation
from tests.support.processes import KILLED
from tests.support.sales_stream import sales_stream
from tests.support.topics import headers_of, read_topic

pytestmark = pytest.mark.faults


async def test_what_was_published_but_not_noted_is_published_again(installation: Installation) -> None:
    facts = sales_stream(seed=91, events=600)
    await installation.produce(facts)
    doomed = installation.worker(fault_point="before_mark")
    assert await doomed.ended(40) == KILLED, doomed.tail()
    (waiting,) = await installation.query("select count(*) as rows from rfm.outbox where published_at is null")
    first = await _told(installation)
    assert first, "it died before it published: the test shows nothing"
    assert waiting["rows"] >= len(first)

    successor = installation.worker()
    await installation.all_applied()
    changes = await assert_told(installation)
    assert changes > 0
    again = await _told(installation)
    assert len(again) >= changes + len(first)
    assert set(again) >= set(first)
    await assert_exact(installation, facts)
    await successor.stop()


async def _told(installation: Installation) -> list[str]:
    name = CUSTOMER_SEGMENTS.full_name(installation.prefix)
    return [headers_of(record)["ce_id"] for record in await read_topic(installation.bootstrap, name)]
