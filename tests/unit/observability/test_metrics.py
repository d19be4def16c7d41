"""The catalogue of metrics: a sentence each, and labels from closed sets."""

from prometheus_client import REGISTRY

import shared.observability.metrics as catalogue

OURS = [metric for metric in REGISTRY.collect() if metric.name.startswith("iacrm_")]
COLLECTORS = [value for value in vars(catalogue).values() if hasattr(value, "_labelnames")]


def test_every_metric_is_explained_in_a_sentence():
    assert len(OURS) == len(COLLECTORS) > 30
    for metric in OURS:
        assert metric.documentation.endswith("."), metric.name
        assert " " in metric.documentation


def test_no_label_could_name_a_tenant_or_a_person():
    labels = {name for collector in COLLECTORS for name in collector._labelnames}
    assert not labels & {"tenant", "tenant_id", "customer", "customer_code", "user", "email", "request_id", "event_id"}
