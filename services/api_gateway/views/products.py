"""Products in requests and answers."""

from datetime import date, datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from services.api_gateway import examples
from services.api_gateway.problem_docs import OffendingField
from services.api_gateway.views.numbers import Amount, Quantity
from shared.events.fields import Code, Label, PlainNote
from shared.events.payloads import Payload, ProductFields

COLUMNS = tuple(ProductFields.model_fields)


class ProductBody(ProductFields):
    """Body of POST /products, and one item of /products/bulk."""

    product_key: Code


class ProductPatch(ProductFields):
    """A merge patch (RFC 7396): what is left out stays, null clears, keys of attributes are merged one by one."""

    active: bool | None = None  # type: ignore[assignment]
    tags: Annotated[list[Label], Field(max_length=50)] | None = None  # type: ignore[assignment]
    attributes: Annotated[dict[Label, PlainNote | None], Field(max_length=50)] | None = None  # type: ignore[assignment]

    def apply(self, stored: ProductFields) -> ProductFields:
        """The fields after this patch.

        Raises:
            pydantic.ValidationError: together they break a limit (more than 50 attributes).
        """
        merged = stored.model_dump()
        for name in self.model_fields_set:
            value = getattr(self, name)
            if name == "attributes" and value is not None:
                both = {**merged["attributes"], **value}
                merged[name] = {key: text for key, text in both.items() if text is not None}
            elif name in ("tags", "attributes", "active") and value is None:
                del merged[name]
            else:
                merged[name] = value
        return ProductFields.model_validate(merged)


class Product(BaseModel):
    """A product as stored. `version` grows by one per change and is the ETag."""

    product_key: str
    name: str | None
    family: str | None
    sub_family: str | None
    price: Amount | None
    margin: Amount | None
    stock: Quantity | None
    active: bool
    tags: list[str]
    attributes: dict[str, str]
    version: int
    created_at: datetime
    updated_at: datetime


def product_of(row: Any) -> Product:
    """A product, from its row."""
    return Product.model_validate(row, from_attributes=True)


def fields_of(row: Any) -> ProductFields:
    """The fields of a row that people may change."""
    return ProductFields.model_validate({name: getattr(row, name) for name in COLUMNS})


class RejectedProduct(BaseModel):
    """A product of a bulk body that was not stored, and why."""

    index: int
    product_key: str | None
    errors: list[OffendingField]


class ProductsResult(BaseModel):
    """How many of a bulk body were stored, and which were not."""

    accepted: int
    rejected: list[RejectedProduct]


class ProductsBulk(Payload):
    """Body of POST /products/bulk."""

    products: list[ProductBody] = Field(max_length=5000)


class ProductSales(BaseModel):
    """What was sold of a product, returns and cancellations taken off on the day of their sale."""

    orders: int
    units: Quantity
    revenue: Amount
    customers: int = Field(description="distinct customers with a counting order of it; erased ones are none")


class Popularity(BaseModel):
    """How much a product sells compared with the tenant's best."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.POPULARITY]})

    product_key: str
    popularity: float = Field(
        ge=0, le=1, description="net units, halved every 90 days, as a share of the tenant's largest; six decimals"
    )
    reference_date: date
    all_time: ProductSales
    last_30_days: ProductSales = Field(description="local days up to the reference date")


def popularity_of(product_key: str, row: Any) -> Popularity:
    """The popularity of a product, from its row."""
    return Popularity(
        product_key=product_key,
        popularity=float(row.popularity),
        reference_date=row.reference_date,
        all_time=ProductSales(orders=row.orders, units=row.units, revenue=row.revenue, customers=row.customers),
        last_30_days=ProductSales(
            orders=row.recent_orders,
            units=row.recent_units,
            revenue=row.recent_revenue,
            customers=row.recent_customers,
        ),
    )
