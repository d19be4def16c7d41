"""Aliases of products in requests and answers."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from services.api_gateway.problem_docs import OffendingField
from services.api_gateway.views.numbers import Amount, Quantity
from shared.events.fields import Code, Text, label_key
from shared.events.payloads import Payload, ProductAliasFields


class _OfLabel(str):
    """An alias that a label names, and that was not given itself."""

    __slots__ = ()


def _key_of_label(seen: dict[str, Any]) -> str:
    return _OfLabel(label_key(seen.get("label") or ""))


class AliasBody(ProductAliasFields):
    """Body of POST /product-aliases, and one item of /product-aliases/bulk: an alias, or a label in its place."""

    label: Text | None = Field(None, description="of lines without a product_key, in place of `alias`")
    alias: Code = Field(
        default_factory=_key_of_label,
        validate_default=True,
        description="a key as it is sent; left out, it is `label:` and the label in lower case",
    )

    @field_validator("alias", mode="before")
    @classmethod
    def _one_of_both(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, _OfLabel):
            return str(value)
        if isinstance(value, str) and info.data.get("label") is not None:
            raise PydanticCustomError(
                "one_of_both", "must not stand beside a label: send exactly one of alias and label"
            )
        return value


class ProductAlias(BaseModel):
    """An alias as stored. `version` grows by one per change and is the ETag."""

    alias: str
    product_key: str
    version: int
    created_at: datetime
    updated_at: datetime
    history_moved: bool = Field(description="whether all that was sold under it counts for the product by now")


class ProductSuggestion(BaseModel):
    """A product of the catalogue that looks like what was asked for; `score` is 0 to 1."""

    product_key: str
    name: str | None
    score: float


class Suggestions(BaseModel):
    """Products that look like what was asked for, best first."""

    items: list[ProductSuggestion]


class UnmappedKey(BaseModel):
    """A key that was sold and stands for no product of the catalogue, with what was sold under it, net."""

    key: str
    label: str | None = Field(description="with which it was sold last; null when recent sales show none")
    orders: int
    units: Quantity
    revenue: Amount
    suggestions: list[ProductSuggestion]


class RejectedAlias(BaseModel):
    """An alias of a bulk body that was not stored, and why."""

    index: int
    alias: str | None
    errors: list[OffendingField]


class AliasesResult(BaseModel):
    """How many of a bulk body were stored, and which were not."""

    accepted: int
    rejected: list[RejectedAlias]


class AliasesBulk(Payload):
    """Body of POST /product-aliases/bulk."""

    aliases: list[AliasBody] = Field(max_length=5000)
