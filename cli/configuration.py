"""The configuration reference, generated from the settings classes so that it cannot go stale."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings

from shared.settings import DEVELOPMENT_SECRET

PAGE = Path(__file__).parents[1] / "docs" / "configuration.md"
HEAD = """# Configuration
Every setting is an environment variable. This page is generated from the settings classes:
`python -m cli.configuration`.

With `IACRM_ENV=production` a process refuses to start while a secret is missing, a default, or shorter than 32
characters. Settings of a tenant (time zone, currency, method, limits) are data, not configuration: see
`GET /v1/tenants/current/settings`.
"""


def render() -> str:
    """The whole page as Markdown."""
    from migrations.settings import MigrationSettings
    from services.api_gateway.importer.settings import ImporterSettings
    from services.api_gateway.settings import GatewaySettings, ImportStorageSettings
    from services.rfm_worker.jobs.settings import RfmJobsSettings
    from services.rfm_worker.rebuild import RebuildSettings
    from services.rfm_worker.settings import RfmWorkerSettings
    from shared.settings import CommonSettings

    common = set(CommonSettings.model_fields)
    files = set(ImportStorageSettings.model_fields)
    parts = [
        HEAD,
        _section("Every service", CommonSettings, common),
        _section("api_gateway", GatewaySettings, set(GatewaySettings.model_fields) - common - files),
        _section("importer", ImporterSettings, set(ImporterSettings.model_fields) - files),
        _section("api_gateway and importer", ImportStorageSettings, files - common),
        _section("rfm_worker", RfmWorkerSettings, set(RfmWorkerSettings.model_fields) - common),
        _section("rfm_jobs", RfmJobsSettings, set(RfmJobsSettings.model_fields) - common),
        _section("Rebuild (`./iacrm rebuild rfm`)", RebuildSettings, set(RebuildSettings.model_fields) - common),
        _section("Setup job (`python -m migrations`)", MigrationSettings, set(MigrationSettings.model_fields)),
    ]
    return "\n".join(parts)


def _section(title: str, settings: type[BaseSettings], names: Iterable[str]) -> str:
    chosen = set(names)
    prefix = str(settings.model_config.get("env_prefix", "")).upper()
    rows = [_row(prefix, name, field) for name, field in settings.model_fields.items() if name in chosen]
    return "\n".join([f"## {title}", "| variable | default | meaning |", "|---|---|---|", *rows, ""])


def _row(prefix: str, name: str, field: FieldInfo) -> str:
    meaning = (field.description or "").replace("|", "\\|")
    limits = _limits(field)
    return f"| `{prefix}{name.upper()}` | {_default(field)} | {meaning}{f' ({limits})' if limits else ''} |"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, SecretStr) and value.get_secret_value() != DEVELOPMENT_SECRET:
        return f"`{value.get_secret_value()}`"
    if isinstance(value, SecretStr) or _holds_secrets(field.annotation):
        return "a development value, refused in production"
    return f"`{value}`" if value not in ("", None) else "empty"


def _holds_secrets(annotation: Any) -> bool:
    return annotation is SecretStr or any(_holds_secrets(part) for part in get_args(annotation))


def _limits(field: FieldInfo) -> str:
    if get_origin(field.annotation) is not None and str(get_origin(field.annotation)) == "typing.Literal":
        return "one of " + ", ".join(f"`{value}`" for value in get_args(field.annotation))
    bounds = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}
    found = [
        f"{word} {getattr(item, key)}" for item in field.metadata for key, word in bounds.items() if hasattr(item, key)
    ]
    return ", ".join(found)


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
    print(f"written: {PAGE}")
