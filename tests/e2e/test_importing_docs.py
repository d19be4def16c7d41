"""What docs/importing.md tells people to paste works word for word."""

from typing import Any

import pytest

from tests.e2e.installation import Installation
from tests.e2e.pages import IACRM, bash, blocks_of, json_values, program
from tests.stack import ROOT

PAGE = ROOT / "docs" / "importing.md"


@pytest.fixture(scope="module")
async def printed(installation: Installation, tmp_path_factory: pytest.TempPathFactory) -> list[list[Any]]:
    """What each block of shell printed, run in one shell."""
    folder = tmp_path_factory.mktemp("importing")
    program(folder, "iacrm", IACRM.replace("BASE", installation.base_url))
    marker = "@@@ next block @@@"
    script = f"\necho '{marker}'\n".join(blocks_of(PAGE, "sh"))
    return [json_values(part) for part in (await bash(script, folder)).split(marker)]


def test_the_page_shows_a_dry_run_an_import_its_rejected_rows_and_what_came_of_it(printed: list[list[Any]]) -> None:
    registered, trial, done, rejected, customer = (values[-1] for values in printed)
    assert registered["name"] == "Book Shop"
    assert (trial["state"], trial["dry_run"]) == ("completed", True)
    assert {sale["sale_id"] for sale in trial["sample"]} == {"T7-001", "T7-002"}
    assert (done["state"], done["backfill"]) == ("completed", True)
    assert (done["counts"]["records"], done["counts"]["records_rejected"]) == (2, 1)
    assert [(row["row"], row["field"], row["Qté"]) for row in rejected] == [("5", "quantity", "'-1")]
    assert (customer["rfm"]["frequency"], customer["rfm"]["monetary"]) == (1, "84.70")
