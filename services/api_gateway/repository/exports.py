"""What may be exported: columns with fixed types, and the statements that find them, read through a cursor."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Literal
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from shared.db.engine import driver_connection, transaction

FETCH_TIMEOUT_S = 300
"""Most seconds that the database may take for one part of an export; a whole export may take as long as it has to."""

Kind = Literal["text", "words", "json", "integer", "money", "sum", "time", "date", "boolean"]
Rows = Sequence[Sequence[Any]]


@dataclass(frozen=True, slots=True)
class Column:
    """A column of an export.

    Attributes:
        name: as it stands in the file.
        kind: its type, the same in every file of this export.
        sql: the expression that finds it.
        meaning: for people.
    """

    name: str
    kind: Kind
    sql: str
    meaning: str


@dataclass(frozen=True, slots=True)
class Export:
    """What can be exported under one name. In `source`, $1 is the tenant and further parameters are its filters."""

    name: str
    about: str
    columns: tuple[Column, ...]
    source: str
    order: str
    filters: tuple[str, ...] = ()

    @property
    def statement(self) -> str:
        """Finds every row, one column each."""
        selected = ", ".join(column.sql for column in self.columns)
        return f"select {selected} from {self.source} order by {self.order}"  # noqa: S608 - our own expressions


def _consent(channel: str) -> tuple[Column, ...]:
    place = f"m.consents -> '{channel}' ->>"
    return (
        Column(f"{channel}_consent", "text", f"{place} 'status'", "`opted_in` or `opted_out`"),
        Column(f"{channel}_consent_at", "time", f"({place} 'at')::timestamptz", "when that was said"),
        Column(f"{channel}_consent_source", "text", f"{place} 'source'", "where that was said"),
    )


_SCORED = "case when c.r is not null then"
CUSTOMERS = Export(
    name="customers",
    about="Everybody who exists, from master data or from sales, with scores; sorted by code.",
    columns=(
        Column("customer_code", "text", "customer_code", "the tenant's own code"),
        Column("first_name", "text", "m.first_name", ""),
        Column("last_name", "text", "m.last_name", ""),
        Column("email", "text", "m.email", ""),
        Column("phone", "text", "m.phone", ""),
        Column("language", "text", "m.language", ""),
        Column("timezone", "text", "m.timezone", ""),
        Column("birth_date", "date", "m.birth_date", ""),
        Column("tags", "words", "coalesce(m.tags, '{}')", ""),
        Column("attributes", "json", "coalesce(m.attributes, '{}')::text", "an object of texts"),
        *_consent("email"),
        *_consent("sms"),
        Column("created_at", "time", "m.created_at", "of the master data; empty for one known from sales alone"),
        Column("updated_at", "time", "m.updated_at", "of the master data"),
        Column("recency_days", "integer", f"{_SCORED} greatest(0, q.reference_date - c.last_order_day) end", ""),
        Column("frequency", "integer", "coalesce(c.frequency, 0)", "counting orders"),
        Column("monetary", "sum", "coalesce(c.monetary, 0)", "net, in the tenant's currency"),
        Column("average_basket", "sum", "rfm.average_basket(c.monetary, c.frequency)", ""),
        Column("r", "integer", "c.r", "1 to 5; empty without a counting order, like `f`, `m` and what follows"),
        Column("f", "integer", "c.f", "1 to 5"),
        Column("m", "integer", "c.m", "1 to 5"),
        Column("rfm_code", "text", f"{_SCORED} concat(c.r, c.f, c.m) end", "three digits"),
        Column("rfm_score", "integer", "c.r + c.f + c.m", "3 to 15"),
        Column("segment", "text", "coalesce(c.segment, 'prospect')", ""),
        Column("segment_since", "time", "c.segment_since", ""),
        Column("first_order_at", "time", "c.first_order_at", ""),
        Column("last_order_at", "time", "c.last_order_at", ""),
        Column("reference_date", "date", "q.reference_date", "recency is counted from it"),
    ),
    source=(
        "(select * from gateway.customer where tenant_id = $1) m "
        "full join (select * from rfm.customer where tenant_id = $1) c using (customer_code) "
        "left join (select * from rfm.cutoffs where tenant_id = $1) q on true "
        "where ($2::text is null or coalesce(c.segment, 'prospect') = $2)"
    ),
    order="customer_code",
    filters=("segment",),
)
SALES = Export(
    name="sales",
    about=(
        "The ledger, one row per **line** of a sale, oldest first. Columns that begin with `sale_` belong to the whole "
        "sale and stand on each of its lines: take them from `line` 1 only when you add them up."
    ),
    columns=(
        Column("sale_id", "text", "s.sale_id", "the tenant's own id"),
        Column("line", "integer", "l.n::int", "1 is the first line of the sale"),
        Column("customer_code", "text", "s.customer_code", "empty for an anonymous sale; a pseudonym after an erasure"),
        Column("sold_at", "time", "s.sold_at", ""),
        Column("day", "date", "s.day", "local date in the tenant's time zone"),
        Column("channel", "text", "s.channel", ""),
        Column("currency", "text", "s.currency", "empty where the sale named none: the tenant's"),
        Column("product_key", "text", "l.product_key", "as it was sent"),
        Column("effective_key", "text", "coalesce(l.effective_key, l.product_key)", "the product it counts for"),
        Column("label", "text", "l.label", "as it was sent"),
        Column("quantity", "money", "l.quantity", "units"),
        Column("unit_price", "money", "l.unit_price", ""),
        Column("discount", "money", "l.discount", ""),
        Column("amount", "money", "l.amount", "of this line, before returns"),
        Column("sale_gross", "money", "s.gross", "sum of the amounts of the sale's lines"),
        Column("sale_net", "money", "s.net", "what counts of the sale after returns and cancellation"),
        Column("sale_returned", "boolean", "s.returned", "whether there is a return of it"),
        Column("sale_cancelled", "boolean", "s.cancelled", "whether it was cancelled"),
        Column("sale_metadata", "json", "coalesce(s.metadata, '{}')::text", "an object of texts, as it was sent"),
    ),
    source=(
        "rfm.sale s, unnest(s.product_keys, s.effective_keys, s.labels, s.quantities, s.unit_prices, s.discounts, "
        "s.amounts) with ordinality as l(product_key, effective_key, label, quantity, unit_price, discount, amount, n) "
        "where s.tenant_id = $1 and s.recorded "
        "and ($2::date is null or s.day >= $2) and ($3::date is null or s.day <= $3) "
        "and ($4::timestamptz is null or s.sold_at >= $4) and ($5::timestamptz is null or s.sold_at < $5)"
    ),
    order="s.sold_at, s.sale_id, l.n",
    filters=("from", "to"),
)
PRODUCTS = Export(
    name="products",
    about="The catalogue and whatever else was sold, with net sales; sorted by key.",
    columns=(
        Column("product_key", "text", "product_key", "the tenant's own key"),
        Column("in_catalogue", "boolean", "m.version is not null", "false for a key known from sales alone"),
        Column("name", "text", "m.name", ""),
        Column("family", "text", "m.family", ""),
        Column("sub_family", "text", "m.sub_family", ""),
        Column("price", "money", "m.price", ""),
        Column("margin", "money", "m.margin", "money earned per unit; may be negative"),
        Column("stock", "money", "m.stock", "units on hand; empty when not tracked"),
        Column("active", "boolean", "m.active", ""),
        Column("tags", "words", "coalesce(m.tags, '{}')", ""),
        Column("attributes", "json", "coalesce(m.attributes, '{}')::text", "an object of texts"),
        Column("created_at", "time", "m.created_at", ""),
        Column("updated_at", "time", "m.updated_at", ""),
        Column("orders", "integer", "coalesce(p.orders, 0)", "counting orders with it"),
        Column("units", "sum", "coalesce(p.units, 0)", "net"),
        Column("revenue", "sum", "coalesce(p.revenue, 0)", "net"),
    ),
    source=(
        "(select * from gateway.product where tenant_id = $1) m "
        "full join (select * from rfm.product where tenant_id = $1) p using (product_key)"
    ),
    order="product_key",
)
SEGMENTS_HISTORY = Export(
    name="segments-history",
    about="Every move of a customer from one segment to another; sorted by customer, then in the order of the moves.",
    columns=(
        Column("customer_code", "text", "h.customer_code", "a pseudonym after an erasure"),
        Column("changed_at", "time", "h.changed_at", ""),
        Column("previous", "text", "h.previous", "empty when the customer was seen for the first time"),
        Column("segment", "text", "h.segment", ""),
        Column("rfm_code", "text", "h.rfm_code", "three digits"),
        Column("cause", "text", "h.cause", "sale, return, cancellation, cutoff_shift, time, settings or erasure"),
        Column("cause_id", "text", "h.cause_id", "the sale or return, where one caused it"),
    ),
    source=(
        "rfm.segment_change h join rfm.tenant t using (tenant_id) where h.tenant_id = $1 "
        "and ($2::date is null or (h.changed_at at time zone t.timezone)::date >= $2) "
        "and ($3::date is null or (h.changed_at at time zone t.timezone)::date <= $3) "
        "and ($4::timestamptz is null or h.changed_at >= $4) and ($5::timestamptz is null or h.changed_at < $5)"
    ),
    order="h.customer_code, h.id",
    filters=("from", "to"),
)
EXPORTS = (CUSTOMERS, SALES, PRODUCTS, SEGMENTS_HISTORY)


def within(since: date | datetime | None, until: date | datetime | None) -> tuple[Any, ...]:
    """The parameters of the filters `from` and `to`: days apart from moments."""
    bounds = (since, until)
    days = tuple(None if isinstance(bound, datetime) else bound for bound in bounds)
    return (*days, *(bound if isinstance(bound, datetime) else None for bound in bounds))


async def read(
    engine: AsyncEngine, tenant_id: UUID, export: Export, parameters: Sequence[Any], *, rows: int
) -> AsyncGenerator[Rows]:
    """The rows of an export in parts of at most `rows`, all as of the moment at which the first was asked for.

    One cursor is one snapshot, and only the part at hand is in memory here. The transaction ends with this iterator,
    so whoever reads it must close it.
    """
    async with transaction(engine, tenant_id=tenant_id) as connection:
        fetch = await _open(connection, export.statement, (tenant_id, *parameters), rows)
        while part := await fetch():
            yield part


async def _open(connection: AsyncConnection, statement: str, parameters: Sequence[Any], rows: int) -> Any:
    raw = await driver_connection(connection)
    await raw.execute(f"set local statement_timeout = '{FETCH_TIMEOUT_S}s'")
    # Planned for the first rows: walking an index costs no memory and begins at once, sorting everything does neither.
    await raw.execute("set local cursor_tuple_fraction = 0.00001")
    await raw.execute(f"declare export no scroll cursor for {statement}", *parameters)
    following = await raw.prepare(f"fetch {rows} from export")
    return following.fetch
