"""Knobs of the importer, beside those that it shares with the gateway."""

import tempfile
from pathlib import Path

from pydantic import Field

from services.api_gateway.settings import ImportStorageSettings


class ImporterSettings(ImportStorageSettings):
    """Environment variables `IACRM_*` of this process. `IACRM_DATABASE_URL` names the role iacrm_gateway."""

    import_work: str = Field(
        "",
        description="folder for the parts of the file being worked on, which takes about its size (CSV) to ten times "
        "that (Parquet); a folder of the system's temporary one when empty",
    )
    import_poll_s: float = Field(1.0, gt=0, le=60, description="seconds between two looks for work")
    import_lease_s: int = Field(
        30,
        ge=3,
        le=600,
        description="seconds without a sign of life after which another importer goes on; it does so at once where the "
        "connection to the database has ended",
    )
    import_attempts: int = Field(
        5, ge=1, le=100, description="attempts without progress after which an import has failed"
    )

    @property
    def work_folder(self) -> Path:
        """Where parts are kept."""
        return Path(self.import_work or Path(tempfile.gettempdir()) / "iacrm-imports")
