"""Uploads as streams: taken apart and fingerprinted alike, however they are cut."""

from collections.abc import AsyncIterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.types import Message

from services.api_gateway import multipart
from services.api_gateway.errors import Problem
from services.api_gateway.idempotency import StreamedBody
from services.api_gateway.multipart import Field, FileData, FileEnd, FileStart

CONTENT = b"a;b\r\n--not-it\r\n1;2\r\n"


def body(boundary: bytes, content: bytes = CONTENT, kind: str = "sales") -> bytes:
    return (
        b"--" + boundary + b'\r\nContent-Disposition: form-data; name="kind"\r\n\r\n' + kind.encode() + b"\r\n"
        b"--" + boundary + b'\r\nContent-Disposition: form-data; name="file"; filename="C:\\\\x\\\\s\xc3\xa9.csv"\r\n'
        b"Content-Type: text/csv\r\n\r\n" + content + b"\r\n--" + boundary + b"--\r\n"
    )  # fmt: skip


def cut(whole: bytes, sizes: list[int]) -> list[bytes]:
    chunks, at = [], 0
    for size in sizes:
        chunks.append(whole[at : at + size])
        at += size
    return [*chunks, whole[at:]]


async def _events(chunks: list[bytes], boundary: str) -> list[multipart.Event]:
    async def stream() -> AsyncIterator[bytes]:
        for chunk in chunks:
            yield chunk

    found = multipart.events(stream(), f"multipart/form-data; boundary={boundary}")
    return [event async for event in found]


@settings(deadline=None)
@given(sizes=st.lists(st.integers(0, 40), max_size=20))
async def test_a_body_is_taken_apart_alike_however_it_is_cut(sizes: list[int]) -> None:
    events = await _events(cut(body(b"XyZ"), sizes), "XyZ")
    assert events[0] == Field("kind", "sales")
    assert events[1] == FileStart("file", "sé.csv")
    assert b"".join(event.content for event in events[2:-1] if isinstance(event, FileData)) == CONTENT
    assert events[-1] == FileEnd()


@pytest.mark.parametrize(
    "content",
    [
        body(b"XyZ")[:-8],
        b"--XyZ\r\n\r\nno name\r\n--XyZ--\r\n",
        b"--XyZ\r\nContent-Disposition: form-data\r\n\r\nx\r\n--XyZ--\r\n",
        b'--XyZ\r\nContent-Disposition: form-data; name="kind"\r\n\r\n\xff\r\n--XyZ--\r\n',
        b'--XyZ\r\nContent-Disposition: form-data; name="x"\r\n\r\n' + b"x" * 300_000 + b"\r\n--XyZ--\r\n",
        b'--XyZ\r\nContent-Disposition: form-data; name="x"\r\n\r\nx\r\n' * 41 + b"--XyZ--\r\n",
    ],
)
async def test_what_is_no_such_body_is_a_problem(content: bytes) -> None:
    with pytest.raises(Problem) as caught:
        await _events([content], "XyZ")
    assert caught.value.status_code in (400, 413, 422)


async def _fingerprint(whole: bytes, boundary: bytes, sizes: list[int]) -> bytes:
    chunks = cut(whole, sizes)
    waiting = [
        {"type": "http.request", "body": chunk, "more_body": place < len(chunks) - 1}
        for place, chunk in enumerate(chunks)
    ]

    async def receive() -> Message:
        return waiting.pop(0)

    scope = {
        "type": "http", "method": "POST", "path": "/v1/imports",
        "headers": [(b"content-type", b"multipart/form-data; boundary=" + boundary)],
    }  # fmt: skip
    passing = StreamedBody(scope, receive)
    await passing.skip()
    assert passing.complete
    return passing.fingerprint()


@settings(deadline=None)
@given(sizes=st.lists(st.integers(0, 40), max_size=20))
async def test_a_fingerprint_depends_on_what_is_sent_and_not_on_boundary_or_cuts(sizes: list[int]) -> None:
    usual = await _fingerprint(body(b"XyZ"), b"XyZ", [])
    assert await _fingerprint(body(b"XyZ"), b"XyZ", sizes) == usual
    assert await _fingerprint(body(b"another-boundary-7"), b"another-boundary-7", sizes) == usual
    assert await _fingerprint(body(b"XyZ", CONTENT + b"3;4\r\n"), b"XyZ", sizes) != usual
    assert await _fingerprint(body(b"XyZ", kind="returns"), b"XyZ", sizes) != usual
