"""`./iacrm rebuild rfm`: the tables anew from the topics or the ledger, beside the worker, swapped at the end."""

from services.rfm_worker.rebuild.errors import NoSuchTenantError, RebuildError
from services.rfm_worker.rebuild.news import News
from services.rfm_worker.rebuild.run import Rebuilt, Source, rebuild, run
from services.rfm_worker.rebuild.settings import RebuildSettings

__all__ = ["News", "NoSuchTenantError", "RebuildError", "RebuildSettings", "Rebuilt", "Source", "rebuild", "run"]
