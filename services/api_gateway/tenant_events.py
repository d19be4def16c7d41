"""A tenant as event, as cached state and as answer."""

from services.api_gateway.dependencies import SOURCE
from services.api_gateway.repository.tenants import TenantRow
from services.api_gateway.tenant_cache import TenantState
from shared.events.catalogue import TENANTS
from shared.events.envelope import Envelope
from shared.events.payloads import TenantChangedV1
from shared.events.tenant_settings import TenantSettings
from shared.messaging.record import Message


def state_of(row: TenantRow) -> TenantState:
    """What requests need of a stored tenant."""
    return TenantState(row.tenant_id, row.name, row.status, TenantSettings.model_validate(row.settings), row.version)


def changed(row: TenantRow, request_id: str | None = None) -> Message:
    """`tenant.changed.v1` with the full state of a stored tenant."""
    payload = TenantChangedV1.model_validate(
        {
            "tenant_id": row.tenant_id,
            "name": row.name,
            "status": row.status,
            "settings": row.settings,
            "version": row.version,
            "updated_at": row.updated_at,
        }
    )
    envelope = Envelope.new(
        "tenant.changed.v1", row.tenant_id, source=SOURCE, subject=str(row.tenant_id), request_id=request_id
    )
    return Message(TENANTS.name, str(row.tenant_id).encode(), payload.model_dump_json().encode(), envelope.to_headers())
