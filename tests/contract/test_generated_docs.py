"""Pages that are generated from the code say what the code says now."""

from types import ModuleType

import pytest

from cli import configuration, events, exports
from shared.events.catalogue import ALL
from shared.events.payloads import PAYLOADS


@pytest.mark.parametrize("generator", [configuration, events, exports], ids=["configuration", "events", "exports"])
def test_a_generated_page_is_current(generator: ModuleType) -> None:
    written = generator.PAGE.read_text(encoding="utf-8")
    assert written == generator.render(), f"run: python -m {generator.__name__}"


def test_the_page_of_events_names_every_topic_type_and_field() -> None:
    page = events.render()
    for topic in ALL:
        assert f"\n## {topic.name}\n" in page
    for type_, model in PAYLOADS.items():
        section = page.partition(f"\n### {type_}\n")[2].partition("\n##")[0]
        assert section, type_
        assert {name for name in model.model_fields if f"| `{name}` |" not in section} == set()
