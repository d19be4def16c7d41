"""The page about personal data names tables that exist, and cleans up after every one that it says holds a person."""

import re

from services.api_gateway.tables import metadata as gateway_metadata
from services.rfm_worker.tables import metadata as rfm_metadata
from tests.stack import ROOT

PAGE = (ROOT / "docs" / "personal-data.md").read_text(encoding="utf-8")
TABLE = r"\b((?:gateway|rfm)\.[a-z_]+)"


def test_every_table_it_names_exists() -> None:
    named = set(re.findall(TABLE, PAGE))
    assert {"gateway.customer", "rfm.customer"} <= named
    assert named <= {*gateway_metadata.tables, *rfm_metadata.tables}


def test_what_holds_a_person_is_vacuumed() -> None:
    (first, *_) = PAGE.split("## Handing out")
    (vacuumed,) = re.findall(r"`VACUUM (gateway[^`]*)`", PAGE)
    assert set(re.findall(TABLE, first)) <= set(re.findall(TABLE, vacuumed))
    assert "rfm.customer_search" in vacuumed, "it repeats names for the search"
