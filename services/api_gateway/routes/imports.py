"""Files of sales, returns, customers or products: stored as they come, and taken by the importer in the background."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import ValidationError

from services.api_gateway import consistency_token, multipart
from services.api_gateway.consistency import HEADER
from services.api_gateway.context import context_of
from services.api_gateway.dependencies import Reader, Services, ServicesDep, check_scope, require_any_scope
from services.api_gateway.errors import conflict, invalid, not_found, problem_responses, validation_problem
from services.api_gateway.file_store import rejected_of, source_of
from services.api_gateway.multipart import Field, FileData, FileEnd, FileStart
from services.api_gateway.pagination import Cursor, Limit, Page, decode_cursor, encode_cursor
from services.api_gateway.rejected_rows import first_line
from services.api_gateway.repository import imports as repository
from services.api_gateway.security.callers import Caller
from services.api_gateway.uploads import Stored, Upload
from services.api_gateway.views.imports import SCOPES, Import, ImportAccepted, ImportOptions, import_of
from services.api_gateway.views.uploads import UPLOAD
from shared.db.engine import transaction

router = APIRouter(prefix="/v1/imports", tags=["imports"])
Writer = Annotated[Caller, Depends(require_any_scope("sales:write", "customers:write", "products:write"))]
ImportId = Annotated[UUID, Path(description="from the answer to the upload")]
LIST = "imports"
CSV = "text/csv; charset=utf-8"


@router.post(
    "",
    status_code=202,
    response_model=ImportAccepted,
    summary="Upload a file to import",
    responses=problem_responses(400, 401, 403, 409, 413, 415, 422, 429, 503),
    openapi_extra=UPLOAD,
)
async def upload(request: Request, caller: Writer, services: ServicesDep) -> Response:
    """Stores a CSV, NDJSON or Parquet file; follow it with GET /imports/{import_id}.

    The fields come before the file, so that what is not allowed is refused before the file is sent.
    """
    receiver = _Receiver(services, caller, context_of(request.scope).request_id)
    try:
        async for event in multipart.events(request.stream(), request.headers.get("content-type", "")):
            await receiver.take(event)
        import_id = await receiver.finish()
    except BaseException:
        await receiver.abandon()
        raise
    answer = ImportAccepted(import_id=import_id)
    location = {"Location": f"{router.prefix}/{import_id}"}
    return Response(answer.model_dump_json(), 202, location, media_type="application/json")


class _Receiver:
    """Turns the parts of one upload into an import."""

    def __init__(self, services: Services, caller: Caller, request_id: str) -> None:
        self._services, self._caller, self._request_id = services, caller, request_id
        self._fields: dict[str, str] = {}
        self._id = uuid.uuid4()
        self._upload: Upload | None = None
        self._stored: Stored | None = None

    async def take(self, event: multipart.Event) -> None:
        match event:
            case Field(name, value):
                self._field(name, value)
            case FileStart(name, file_name):
                await self._begin(name, file_name)
            case FileData(content):
                assert self._upload is not None  # noqa: S101 - a file begins before its data
                await self._upload.write(content)
            case FileEnd():
                assert self._upload is not None  # noqa: S101 - a file begins before it ends
                self._stored = await self._upload.finish()

    async def finish(self) -> UUID:
        """The import, ready for an importer."""
        if self._stored is None:
            raise invalid("file", "is required")
        stored = self._stored
        values = {"format": stored.format, "size_bytes": stored.size_bytes, "sha256": stored.sha256}
        async with transaction(self._services.engine, tenant_id=self._caller.tenant_id) as connection:
            if not await repository.uploaded(connection, self._caller.tenant_id, self._id, values):
                raise not_found("import")
        return self._id

    async def abandon(self) -> None:
        """Leaves nothing behind."""
        if self._upload is None:
            return
        await self._upload.abandon()
        async with transaction(self._services.engine, tenant_id=self._caller.tenant_id) as connection:
            await repository.forget(connection, self._caller.tenant_id, self._id)

    def _field(self, name: str, value: str) -> None:
        if self._upload is not None:
            raise invalid(name, "must come before the file")
        if name in self._fields:
            raise invalid(name, "stands twice")
        if value:
            self._fields[name] = value

    async def _begin(self, name: str, file_name: str) -> None:
        if name != "file":
            raise invalid(name, "is no file; the file's part is named file")
        if self._upload is not None:
            raise invalid("file", "stands twice: send one file at a time")
        options = self._options()
        check_scope(self._caller, SCOPES[options.kind])
        key = source_of(self._caller.tenant_id, self._id)
        async with transaction(self._services.engine, tenant_id=self._caller.tenant_id) as connection:
            await repository.begin(connection, self._row(options, file_name))
        self._upload = Upload(self._services.files, key, name=file_name, wanted=options.format)

    def _options(self) -> ImportOptions:
        try:
            return ImportOptions.model_validate(self._fields)
        except ValidationError as error:
            raise validation_problem(error) from None

    def _row(self, options: ImportOptions, file_name: str) -> dict[str, Any]:
        return {
            "tenant_id": self._caller.tenant_id,
            "import_id": self._id,
            "kind": options.kind,
            "options": options.model_dump(mode="json", exclude_unset=True),
            "file_name": file_name,
            "request_id": self._request_id,
            "created_by": self._caller.subject,
        }


@router.get("", summary="List imports", responses=problem_responses(400, 401, 403, 422, 429, 503))
async def list_imports(caller: Reader, services: ServicesDep, limit: Limit = 50, cursor: Cursor = None) -> Page[Import]:
    """Imports, newest first."""
    before = decode_cursor(cursor, LIST, caller.tenant_id, (datetime, UUID))
    async with transaction(services.engine, tenant_id=caller.tenant_id) as connection:
        place = None if before is None else (before[0], before[1])
        rows = await repository.newest(connection, caller.tenant_id, before=place, count=limit + 1)
    last = rows[limit - 1] if len(rows) > limit else None
    following = None if last is None else encode_cursor(LIST, caller.tenant_id, (last.created_at, last.import_id))
    return Page(items=[import_of(row) for row in rows[:limit]], next_cursor=following)


@router.get(
    "/{import_id}",
    summary="Get an import and its progress",
    responses=problem_responses(400, 401, 403, 404, 422, 429, 503),
)
async def get_import(response: Response, caller: Reader, services: ServicesDep, import_id: ImportId) -> Import:
    """State, progress, counts, the first errors and how the file is read.

    Its X-Consistency-Token lets a read wait for what has been imported so far.
    """
    row = await _find(services, caller, import_id)
    response.headers[HEADER] = consistency_token.of_positions(row.positions)
    return import_of(row)


@router.get(
    "/{import_id}/rejected",
    summary="Download the rows that were rejected, with reasons",
    response_class=StreamingResponse,
    responses={
        200: {"description": "CSV: row, field, reason, and the cells of the row", "content": {"text/csv": {}}},
        **problem_responses(400, 401, 403, 404, 409, 422, 429, 503),
    },
)
async def get_rejected(caller: Reader, services: ServicesDep, import_id: ImportId) -> StreamingResponse:
    """All rejected rows so far as CSV. No cell can start a formula: one that would is preceded by an apostrophe."""
    row = await _find(services, caller, import_id)
    if row.expires_at is None and row.finished_at is not None:
        raise conflict("files-deleted", "The stored files of this import have been deleted.")
    headers = {"Content-Disposition": f'attachment; filename="rejected-{import_id}.csv"'}
    return StreamingResponse(_rejected(services, row), media_type=CSV, headers=headers)


async def _rejected(services: Services, row: Any) -> AsyncIterator[bytes]:
    yield first_line(row.understood)
    for part in range(row.parts_done + 1):
        content = await asyncio.to_thread(services.files.read, rejected_of(row.tenant_id, row.import_id, part))
        if content:
            yield content


@router.post(
    "/{import_id}/pause",
    response_model=Import,
    summary="Pause an import",
    responses=problem_responses(400, 401, 403, 404, 409, 413, 415, 422, 429, 503),
)
async def pause(caller: Writer, services: ServicesDep, import_id: ImportId) -> Import:
    """Stops it after the part that is being published; what is done stays done."""
    return await _change(services, caller, import_id, "paused", ("queued", "running"))


@router.post(
    "/{import_id}/resume",
    response_model=Import,
    summary="Resume a paused import",
    responses=problem_responses(400, 401, 403, 404, 409, 413, 415, 422, 429, 503),
)
async def resume(caller: Writer, services: ServicesDep, import_id: ImportId) -> Import:
    """Goes on where it was paused."""
    return await _change(services, caller, import_id, "queued", ("paused",), already=("running",))


@router.post(
    "/{import_id}/cancel",
    response_model=Import,
    summary="Cancel an import",
    responses=problem_responses(400, 401, 403, 404, 409, 413, 415, 422, 429, 503),
)
async def cancel(caller: Writer, services: ServicesDep, import_id: ImportId) -> Import:
    """Ends it for good. What has been imported stays: sales are facts, and can be cancelled one by one."""
    return await _change(services, caller, import_id, "cancelled", ("queued", "running", "paused"))


async def _find(services: Services, caller: Caller, import_id: UUID) -> Any:
    async with transaction(services.engine, tenant_id=caller.tenant_id) as connection:
        row = await repository.find(connection, caller.tenant_id, import_id)
    if row is None:
        raise not_found("import")
    return row


async def _change(
    services: Services,
    caller: Caller,
    import_id: UUID,
    state: str,
    allowed: tuple[str, ...],
    *,
    already: tuple[str, ...] = (),
) -> Import:
    async with transaction(services.engine, tenant_id=caller.tenant_id) as connection:
        row = await repository.find(connection, caller.tenant_id, import_id, lock=True)
        if row is None:
            raise not_found("import")
        check_scope(caller, SCOPES[row.kind])
        if row.state in (state, *already):
            return import_of(row)
        if row.state not in allowed:
            raise conflict(
                "wrong-state", f"It is {row.state}, and this is for imports that are {' or '.join(allowed)}."
            )
        return import_of(await repository.change_state(connection, row, state, services.settings.import_retention_days))
