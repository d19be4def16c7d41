"""The reference of topics and payloads, generated from the catalogue, the models and the golden examples."""

import json
from pathlib import Path
from typing import Any

from shared.events.catalogue import ALL, Topic
from shared.events.examples import Example, load_examples
from shared.events.payloads import PAYLOADS

PAGE = Path(__file__).parents[1] / "docs" / "events.md"
HEAD = """# Topics and events
This page is generated from the catalogue, the payload models and the golden examples: `python -m cli.events`. The same
as AsyncAPI 3.0, for tools: `GET /asyncapi.json` on the gateway. How to produce to `sales` yourself:
[sending sales](sending-sales.md).

Every record is a CloudEvent 1.0 in Kafka's binary mode: attributes in headers, JSON in the value. Types carry their
version. A field may be added to a version; one is never renamed, removed, or given another meaning: that is a new
version with examples of its own. A topic's name on the broker is the installation's prefix (`IACRM_TOPIC_PREFIX`,
empty by default) and the name below.

| header | required | meaning |
|---|---|---|
| `ce_specversion` | yes | `1.0` |
| `ce_id` | yes | unique per event |
| `ce_type` | yes | type and version of the payload |
| `ce_source` | yes | who made it |
| `ce_time` | yes | RFC 3339 with offset: when it was accepted; of two events of one natural key the earlier stands |
| `ce_tenantid` | yes | tenant, a UUID |
| `content-type` | yes | `application/json` |
| `ce_subject` | no | what it is about |
| `ce_requestid` | no | the request that caused it |
| `ce_backfill` | no | `true`: history that was loaded later; it counts as usual, and never causes a message |

What a consumer cannot apply goes to the topic's dead-letter twin with the original key, value and headers, and with
`dead_reason`, `dead_detail`, `dead_topic`, `dead_partition`, `dead_offset`, `dead_at` and `dead_service` beside them:
see the [runbook](runbook.md).
"""
KEPT = {-1: "for ever"}
DAY_MS = 24 * 3600 * 1000


def render() -> str:
    """The whole page as Markdown."""
    return "\n".join([HEAD, "## Topics", _overview(), *(_topic(topic) for topic in ALL)])


def _overview() -> str:
    rows = ["| topic | written by | read by | partitions | kept | dead letters |", "|---|---|---|---|---|---|"]
    for topic in ALL:
        readers = ", ".join(topic.consumers) or "whoever wants to know"
        dead = f"`{topic.dead_letter.name}`" if topic.consumers else "none"
        cells = (f"[`{topic.name}`](#{topic.name})", topic.producer, readers, topic.partitions, _kept(topic), dead)
        rows.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join([*rows, ""])


def _kept(topic: Topic) -> str:
    if topic.cleanup == "compact":
        return "newest record per key"
    return KEPT.get(topic.retention_ms, f"{topic.retention_ms // DAY_MS} days")


def _topic(topic: Topic) -> str:
    parts = [f"## {topic.name}", f"{topic.description} Key: `{topic.key}`."]
    if topic.cleanup == "compact":
        parts.append("A record without a value is a tombstone: what its key names was deleted.")
    return "\n".join([*parts, "", *(_type(type_) for type_ in topic.types)])


def _type(type_: str) -> str:
    model = PAYLOADS[type_]
    schema = model.model_json_schema()
    about = " ".join((model.__doc__ or "").split())
    rows = ["| field | type | required | meaning |", "|---|---|---|---|"]
    required = set(schema.get("required", ()))
    for name, part in schema["properties"].items():
        meaning = str(part.get("description", "")).replace("|", "\\|")
        rows.append(f"| `{name}` | {_shape(part, schema)} | {'yes' if name in required else 'no'} | {meaning} |")
    example = json.dumps(_example(type_).value, indent=2, ensure_ascii=False)
    return "\n".join([f"### {type_}", about, "", *rows, "", "```json", example, "```", ""])


def _shape(part: dict[str, Any], schema: dict[str, Any]) -> str:
    """A field's type in a few words."""
    if "$ref" in part:
        return _shape(schema["$defs"][part["$ref"].rsplit("/", 1)[1]], schema)
    if "anyOf" in part:
        return " or ".join(dict.fromkeys(_shape(option, schema) for option in part["anyOf"]))
    if "enum" in part or "const" in part:
        return ", ".join(f"`{value}`" for value in part.get("enum", [part.get("const")]))
    kind = str(part.get("format") or part.get("type", "any"))
    if kind == "array":
        return f"list of {_shape(part.get('items', {}), schema)}"
    names = ", ".join(f"`{name}`" for name in part.get("properties", ()))
    return f"{kind} of {names}" if names else kind


def _example(type_: str) -> Example:
    """The fullest example that is still short enough to read."""
    shown = [example for example in load_examples(type_) if example.value is not None]
    readable = [example for example in shown if len(json.dumps(example.value)) < 2500]
    return max(readable or shown, key=lambda example: (example.name == "full", len(json.dumps(example.value))))


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
    print(f"written: {PAGE}")
