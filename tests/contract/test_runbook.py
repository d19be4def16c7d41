"""The runbook speaks of what exists: metrics, reasons, tables, settings, modules."""

import re
from importlib.util import find_spec

from prometheus_client import Counter, Gauge, Histogram

from cli import configuration
from services.rfm_worker.tables import KEPT_TABLES
from shared.messaging.errors import DeadReason
from shared.observability import metrics
from tests.stack import ROOT

PAGE = (ROOT / "docs" / "runbook.md").read_text(encoding="utf-8")


def _metrics() -> set[str]:
    """Names as they are served."""
    found = set()
    for metric in vars(metrics).values():
        if isinstance(metric, Counter | Gauge | Histogram):
            (family,) = metric.describe()
            found.add(family.name + ("_total" if isinstance(metric, Counter) else ""))
    return found


def test_every_metric_it_names_exists_and_every_metric_is_named() -> None:
    named = set(re.findall(r"`(iacrm_[a-z_]+)", PAGE))
    assert named - _metrics() == set()
    assert _metrics() - named <= {
        "iacrm_http_in_flight", "iacrm_consistency_wait_seconds", "iacrm_published_total", "iacrm_consumed_total",
        "iacrm_applied_total", "iacrm_offset_commit_seconds", "iacrm_last_applied_timestamp_seconds",
        "iacrm_outbox_relayed_total",
    }  # fmt: skip


def test_every_reason_of_a_dead_letter_is_explained() -> None:
    assert {reason for reason in DeadReason if f"| `{reason.value}` |" not in PAGE} == set()


def test_what_a_rebuild_does_not_touch_is_named() -> None:
    (sentence,) = re.findall(r"What it does not touch: (.*?`)\.\s", PAGE, re.DOTALL)
    assert set(re.findall(r"`rfm\.([a-z_]+)`", sentence)) == set(KEPT_TABLES)


def test_every_setting_and_module_it_names_exists() -> None:
    known = configuration.render()
    for setting in set(re.findall(r"`(IACRM_[A-Z_]+)`", PAGE)):
        assert f"`{setting}`" in known, setting
    for module in set(re.findall(r"python -m ([a-z_.]+)", PAGE)):
        assert find_spec(module) is not None, module


def test_its_links_lead_somewhere() -> None:
    anchors = {
        re.sub(r"[^a-z0-9 -]", "", line[3:].lower()).replace(" ", "-")
        for line in PAGE.splitlines()
        if line[:3] == "## "
    }
    for target in re.findall(r"\]\(([^)]+)\)", PAGE):
        if target.startswith("#"):
            assert target[1:] in anchors, target
        else:
            assert (ROOT / "docs" / target).is_file(), target
