"""The baseline of the gateway's benchmark: FastAPI routes that parse the same bodies with the same models and stop.

`/raw/...` parses the bytes in one step, which is the quickest way; `/declared/...` lets FastAPI parse a declared body,
which is the usual way. Run: python -m benchmarks.noop_gateway PORT
"""

import sys
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from pydantic import BaseModel, TypeAdapter

from shared.events.payloads import SaleRecordedV1


class Batch(BaseModel):
    """Body of POST /sales/batch."""

    sales: list[SaleRecordedV1]


SALE, BATCH = TypeAdapter(SaleRecordedV1), TypeAdapter(Batch)
app = FastAPI()


@app.post("/raw/sales", status_code=202)
async def raw_sale(request: Request) -> dict[str, Any]:
    """One sale, parsed from bytes."""
    sale = SALE.validate_json(await request.body())
    return {"sale_id": sale.sale_id, "event_id": None}


@app.post("/raw/sales/batch", status_code=202)
async def raw_batch(request: Request) -> dict[str, Any]:
    """A batch, parsed from bytes."""
    return {"accepted": len(BATCH.validate_json(await request.body()).sales), "rejected": []}


@app.post("/declared/sales", status_code=202)
async def declared_sale(sale: SaleRecordedV1) -> dict[str, Any]:
    """One sale, parsed by FastAPI."""
    return {"sale_id": sale.sale_id, "event_id": None}


@app.post("/declared/sales/batch", status_code=202)
async def declared_batch(batch: Batch) -> dict[str, Any]:
    """A batch, parsed by FastAPI."""
    return {"accepted": len(batch.sales), "rejected": []}


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", access_log=False, loop="uvloop")
