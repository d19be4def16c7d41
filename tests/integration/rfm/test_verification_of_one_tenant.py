"""Verifying one tenant: an id that nobody has is told apart from a tenant without a difference."""

import asyncio

import pytest

from cli import verify
from tests.stack import Database

STRANGER = "0192f0c1-7a1e-4c55-9f3e-2b7d4c1a9e10"


@pytest.mark.parametrize(
    ("written", "sentence"),
    [
        (STRANGER, f"There is no tenant {STRANGER} among those that the worker knows."),
        ("nonsense", "'nonsense' is not the id of a tenant: ids look like "),
        ("", "'' is not the id of a tenant: ids look like "),
    ],
)
async def test_an_id_that_no_tenant_has_is_a_sentence_and_no_success(
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    written: str,
    sentence: str,
) -> None:
    monkeypatch.setenv("IACRM_DATABASE_URL", database.rfm_url)
    assert await asyncio.to_thread(verify.run, written, as_json=False) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert sentence in told.err
    assert "Traceback" not in told.err


async def test_no_tenant_at_all_is_no_difference(
    database: Database, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("IACRM_DATABASE_URL", database.rfm_url)
    assert await asyncio.to_thread(verify.run, None, as_json=False) == 0
    assert "no difference" in capsys.readouterr().out
