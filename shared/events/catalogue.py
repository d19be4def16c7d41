"""The one declaration of every topic. Creation, documentation and subscribers read it."""

from dataclasses import dataclass
from typing import Literal

CUSTOMER_PARTITIONS = 4
"""Topics keyed by customer share it, so that one worker sees all of a customer in one partition."""
FOR_EVER = -1
THIRTY_DAYS_MS = 30 * 24 * 3600 * 1000

Cleanup = Literal["delete", "compact"]


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic: what it carries, how it is keyed and kept, who writes and who reads it."""

    name: str
    description: str
    key: str
    partitions: int
    cleanup: Cleanup
    retention_ms: int
    producer: str
    consumers: tuple[str, ...]
    types: tuple[str, ...]

    @property
    def dead_letter(self) -> "Topic":
        """The twin that keeps what could not be applied, with its origin and reason in the headers.

        Facts are kept for ever. What a compacted topic carries is stored by who wrote it and may name a person who is
        erased later, so its dead letters go away by themselves.
        """
        return Topic(
            name=f"{self.name}.dead",
            description=f"Records of {self.name} that a consumer could not apply, with origin and reason.",
            key=self.key,
            partitions=1,
            cleanup="delete",
            retention_ms=FOR_EVER if self.cleanup == "delete" else THIRTY_DAYS_MS,
            producer="every consumer",
            consumers=("operator",),
            types=self.types,
        )

    def full_name(self, prefix: str = "") -> str:
        """The name on the broker: the installation's prefix and the topic's own name."""
        return f"{prefix}{self.name}"

    def config(self) -> dict[str, str]:
        """Topic settings for the broker."""
        config = {"cleanup.policy": self.cleanup, "max.message.bytes": "2097152"}
        if self.cleanup == "delete":
            config["retention.ms"] = str(self.retention_ms)
        return config


TENANTS = Topic(
    "tenants",
    "Full state of each tenant and its settings.",
    "tenant_id",
    CUSTOMER_PARTITIONS,
    "compact",
    FOR_EVER,
    "api_gateway",
    ("rfm_worker",),
    ("tenant.changed.v1",),
)
CUSTOMERS = Topic(
    "customers",
    "Full state of each customer's master data; the only topic with personal data.",
    "tenant_id:customer_code (erasures: tenant_id:erased:hash)",
    CUSTOMER_PARTITIONS,
    "compact",
    FOR_EVER,
    "api_gateway",
    ("rfm_worker",),
    ("customer.changed.v1", "customer.erased.v1"),
)
PRODUCTS = Topic(
    "products",
    "Full state of each product; a tombstone deletes it.",
    "tenant_id:product_key",
    CUSTOMER_PARTITIONS,
    "compact",
    FOR_EVER,
    "api_gateway",
    ("rfm_worker",),
    ("product.changed.v1",),
)
PRODUCT_ALIASES = Topic(
    "product-aliases",
    "Which product of the catalogue a key of a till or shop stands for; a tombstone takes that back.",
    "tenant_id:alias",
    CUSTOMER_PARTITIONS,
    "compact",
    FOR_EVER,
    "api_gateway",
    ("rfm_worker",),
    ("product-alias.changed.v1",),
)
SALES = Topic(
    "sales",
    "Sales, returns and cancellations as accepted.",
    "tenant_id:customer_code, or tenant_id:sale_id where no customer is known",
    CUSTOMER_PARTITIONS,
    "delete",
    FOR_EVER,
    "api_gateway and upstream systems",
    ("rfm_worker",),
    ("sale.recorded.v1", "sale.returned.v1", "sale.cancelled.v1"),
)
CUSTOMER_SEGMENTS = Topic(
    "customer-segments",
    "Every change of a customer's segment.",
    "tenant_id:customer_code",
    CUSTOMER_PARTITIONS,
    "delete",
    FOR_EVER,
    "rfm_worker",
    (),
    ("customer.segment-changed.v1",),
)
ALL: tuple[Topic, ...] = (TENANTS, CUSTOMERS, PRODUCTS, PRODUCT_ALIASES, SALES, CUSTOMER_SEGMENTS)
BY_NAME = {topic.name: topic for topic in ALL}


def consumed_by(service: str) -> tuple[Topic, ...]:
    """The topics that a service subscribes to, in the order of the catalogue."""
    return tuple(topic for topic in ALL if service in topic.consumers)
