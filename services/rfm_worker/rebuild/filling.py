"""Fills the shadow with what the worker itself makes of records and of the ledger's rows."""

import asyncio
import zlib
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncEngine

from services.rfm_worker.domain.facts import Item, Sale
from services.rfm_worker.handlers import Applier, decode
from services.rfm_worker.rebuild.topics import Log, Offsets
from services.rfm_worker.repository.batch import BatchWriter
from services.rfm_worker.repository.erasures import Pseudonyms
from shared.events.catalogue import SALES
from shared.messaging.dead_letters import Dead, DeadLetterWriter
from shared.messaging.delivery import BatchDelivery, Limits
from shared.messaging.errors import PoisonedItems
from shared.messaging.record import NextOffsets, TopicPartition

BATCH = 3000
"""Records in one transaction: nobody waits for it."""
LANES = 2
"""Batches under way at a time: while the database works on one, the next is decoded."""
_NO_LIMIT = 2**62


class _Counted(DeadLetterWriter):
    """The worker has buried these records; here they are only counted."""

    def __init__(self) -> None:
        self.count = 0

    async def write(self, dead: Sequence[Dead]) -> None:
        """Counts them."""
        self.count += len(dead)


class Filling:
    """Applies to the shadow, and knows how far it has come."""

    def __init__(
        self,
        shadow: AsyncEngine,
        erasure_secret: str,
        *,
        pseudonyms: Pseudonyms,
        tenant_id: UUID | None,
        now: Callable[[], datetime],
    ) -> None:
        """Args:
        shadow: engine whose search path is the shadow.
        pseudonyms: of the erasures that the live tables know.
        tenant_id: only what concerns this tenant; None for all.
        now: the present moment, with its zone.
        """
        self._applier = Applier(shadow, BatchWriter(erasure_secret, pseudonyms), now, lambda: None)
        self._buried = _Counted()
        self._tenant_id = tenant_id
        self.position: dict[TopicPartition, int] = {}
        self.records = 0
        self.lines = 0

    @property
    def refused(self) -> int:
        """Records that can never be applied."""
        return self._buried.count

    async def take(self, log: Log, end: Offsets, applied: Callable[[int], None]) -> None:
        """Applies the records from where it is up to `end`: first what is not a sale, which is little and decides much.

        Args:
            applied: told how many records each batch had.
        """
        for sales in (False, True):
            places = [place for place in end if (place[0] == SALES.name) is sales]
            lanes = [{place: end[place] for place in places if place[1] % LANES == lane} for lane in range(LANES)]
            await _together(self._lane(log, mine, applied) for mine in lanes)

    async def _lane(self, log: Log, end: Offsets, applied: Callable[[int], None]) -> None:
        delivery = BatchDelivery[Item](
            decode=decode, apply=self._apply, dead_letters=self._buried, limits=Limits(max_dead_run=_NO_LIMIT)
        )
        async for records in log.read(self.position, end, BATCH):
            self.position |= await delivery.handle(records)
            self.records += len(records)
            applied(len(records))
        self.position |= end

    async def add(self, items: AsyncIterator[Sequence[Item]], applied: Callable[[int], None]) -> None:
        """Applies facts of one kind that come from the ledger; as from the topics, all sales of a customer in one lane.

        Args:
            items: up to `LANES` batches at a time.
        """
        lanes = [asyncio.Queue[Sequence[Item]](maxsize=1) for _ in range(LANES)]
        await _together([_deal(items, lanes), *(self._applied(lane, applied) for lane in lanes)])

    async def _applied(self, lane: "asyncio.Queue[Sequence[Item]]", applied: Callable[[int], None]) -> None:
        while some := await lane.get():
            await self._apply(some, {})
            self.records += len(some)
            applied(len(some))

    async def _apply(self, items: Sequence[Item], following: NextOffsets) -> None:
        places = [n for n, item in enumerate(items) if self._tenant_id in (None, item.tenant_id)]
        mine = [items[n] for n in places]
        try:
            await self._applier.apply(mine, following)
        except PoisonedItems as error:
            raise PoisonedItems({places[n]: poison for n, poison in error.items.items()}) from None
        self.lines += sum(len(item.body.products) for item in mine if isinstance(item, Sale))


async def _deal(items: AsyncIterator[Sequence[Item]], lanes: Sequence["asyncio.Queue[Sequence[Item]]"]) -> None:
    """Gives each lane its items, and nothing at the end."""
    async for some in items:
        for n, lane in enumerate(lanes):
            if mine := [item for item in some if _lane_of(item) == n]:
                await lane.put(mine)
    for lane in lanes:
        await lane.put(())


def _lane_of(item: Item) -> int:
    """What takes something off a sale does not tell whose it is: all of that has one lane."""
    if not isinstance(item, Sale):
        return 0
    return zlib.crc32((item.body.customer_code or item.body.sale_id).encode()) % LANES


async def _together(lanes: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Runs them side by side; the first that fails ends the others, and its error is the error."""
    try:
        async with asyncio.TaskGroup() as group:
            for lane in lanes:
                group.create_task(lane, name="rebuild-lane")
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from None
