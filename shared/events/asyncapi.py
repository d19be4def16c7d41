"""The event log as an AsyncAPI 3.0 document, made from the catalogue, the payload models and the golden examples."""

from functools import cache
from typing import Any

from shared.events.catalogue import ALL, Topic
from shared.events.examples import load_examples
from shared.events.payloads import PAYLOADS

_HEADERS: dict[str, tuple[str, bool]] = {
    "ce_specversion": ("Always 1.0 (CloudEvents).", True),
    "ce_id": ("Unique per event; a repeated one is the same event.", True),
    "ce_type": ("Type and version of the payload.", True),
    "ce_source": ("Who made the event.", True),
    "ce_time": ("When it was accepted, RFC 3339 with offset; between two of one key the earlier stands.", True),
    "ce_tenantid": ("Tenant, a UUID.", True),
    "content-type": ("application/json", True),
    "ce_subject": ("What it is about.", False),
    "ce_requestid": ("The request that caused it.", False),
    "ce_backfill": ("`true` for history that was loaded later: no message is ever sent because of it.", False),
}
_BINDING = "0.5.0"


@cache
def document() -> dict[str, Any]:
    """The document as JSON-ready objects. Do not change what is returned: it is kept."""
    schemas: dict[str, Any] = {}
    messages = {type_: _message(type_, schemas) for type_ in PAYLOADS}
    messages["tombstone"] = {
        "name": "tombstone",
        "title": "Tombstone",
        "summary": "A null value: what the key names was deleted.",
        "payload": {"type": "null"},
    }
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "ia-crm events",
            "version": "1.0.0",
            "description": "CloudEvents 1.0 in Kafka headers (binary mode), JSON payloads, versioned types. "
            "Upstream systems may produce to `sales`; workers check every record with the same models as the API.",
        },
        "defaultContentType": "application/json",
        "channels": {topic.name: _channel(topic) for topic in ALL},
        "operations": _operations(),
        "components": {"messages": messages, "schemas": schemas},
    }


def _message(type_: str, schemas: dict[str, Any]) -> dict[str, Any]:
    model = PAYLOADS[type_]
    schema = model.model_json_schema(mode="validation", ref_template="#/components/schemas/{model}")
    schemas.update(schema.pop("$defs", {}))
    schemas[model.__name__] = schema
    return {
        "name": type_,
        "title": model.__name__,
        "summary": (model.__doc__ or "").strip().splitlines()[0],
        "contentType": "application/json",
        "headers": {
            "type": "object",
            "required": [name for name, (_, required) in _HEADERS.items() if required],
            "properties": {name: {"type": "string", "description": text} for name, (text, _) in _HEADERS.items()},
        },
        "payload": {"$ref": f"#/components/schemas/{model.__name__}"},
        "examples": [
            {"name": example.name, "headers": example.headers, "payload": example.value}
            for example in load_examples(type_)
            if example.value is not None
        ],
    }


def _channel(topic: Topic) -> dict[str, Any]:
    names = [*topic.types, *(["tombstone"] if topic.cleanup == "compact" else [])]
    return {
        "address": topic.name,
        "description": f"{topic.description} Key: {topic.key}. What cannot be applied: {topic.dead_letter.name}.",
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in names},
        "bindings": {
            "kafka": {
                "topic": topic.name,
                "partitions": topic.partitions,
                "topicConfiguration": {"cleanup.policy": [topic.cleanup], "retention.ms": topic.retention_ms},
                "bindingVersion": _BINDING,
            }
        },
    }


def _operations() -> dict[str, Any]:
    operations: dict[str, Any] = {}
    for topic in ALL:
        channel = {"$ref": f"#/channels/{topic.name}"}
        operations[f"send-{topic.name}"] = {
            "action": "send",
            "channel": channel,
            "summary": f"Written by {topic.producer}.",
        }
        for consumer in topic.consumers:
            operations[f"{consumer}-receives-{topic.name}"] = {
                "action": "receive",
                "channel": channel,
                "summary": f"Read by {consumer}.",
            }
    return operations
