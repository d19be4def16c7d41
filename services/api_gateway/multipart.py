"""Multipart bodies as a stream of events: nothing is spooled, whatever the size of a file in it."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header

from services.api_gateway.errors import Problem, malformed

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

LONGEST_FIELD = 256 * 1024
MOST_FIELDS = 40
LONGEST_NAME = 200


@dataclass(frozen=True, slots=True)
class Field:
    """A text field, whole."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class FileStart:
    """A file begins; its `FileData` follow."""

    name: str
    file_name: str


@dataclass(frozen=True, slots=True)
class FileData:
    """Some bytes of the file that began last."""

    content: bytes


@dataclass(frozen=True, slots=True)
class FileEnd:
    """The file is complete."""


Event = Field | FileStart | FileData | FileEnd


async def events(stream: AsyncIterator[bytes], content_type: str) -> AsyncIterator[Event]:
    """Takes a multipart body apart as it comes.

    Raises:
        Problem: 400 when it is no complete multipart body, 413 when a text field is too long, 422 with too many parts.
    """
    reader = _Reader()
    parser = MultipartParser(_boundary(content_type), reader.callbacks())
    try:
        async for chunk in stream:
            parser.write(chunk)
            for event in reader.take():
                yield event
        parser.finalize()
    except FormParserError:
        raise malformed("The body is not valid multipart/form-data.") from None
    if not reader.ended:
        raise malformed("The multipart body ends too early.")


def boundary_of(content_type: str) -> bytes | None:
    """The boundary that a Content-Type names."""
    return parse_options_header(content_type)[1].get(b"boundary") or None


def _boundary(content_type: str) -> bytes:
    boundary = boundary_of(content_type)
    if boundary is None:
        raise malformed("Content-Type names no boundary.")
    return boundary


class _Reader:
    """Collects what the parser calls back."""

    def __init__(self) -> None:
        self.ended = False
        self._events: list[Event] = []
        self._headers: dict[bytes, bytes] = {}
        self._header = [b"", b""]
        self._field: bytearray | None = None
        self._name = ""
        self._parts = 0

    def callbacks(self) -> "MultipartCallbacks":
        return {
            "on_part_begin": self._begin,
            "on_header_field": lambda data, start, end: self._add(0, data[start:end]),
            "on_header_value": lambda data, start, end: self._add(1, data[start:end]),
            "on_header_end": self._header_end,
            "on_headers_finished": self._headers_finished,
            "on_part_data": self._data,
            "on_part_end": self._end,
            "on_end": self._finish,
        }

    def take(self) -> list[Event]:
        taken, self._events = self._events, []
        return taken

    def _begin(self) -> None:
        self._headers = {}
        self._parts += 1
        if self._parts > MOST_FIELDS:
            raise Problem(422, "validation", "Some fields are not valid", f"At most {MOST_FIELDS} fields are taken.")

    def _add(self, part: int, data: bytes) -> None:
        self._header[part] += data

    def _header_end(self) -> None:
        self._headers[self._header[0].lower()] = self._header[1]
        self._header = [b"", b""]

    def _headers_finished(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        if b"name" not in options:
            raise malformed("A part of the body has no name.")
        file_name = options.get(b"filename")
        self._name = options[b"name"].decode("utf-8", "replace")[:LONGEST_NAME]
        self._field = None if file_name is not None else bytearray()
        if file_name is not None:
            self._events.append(FileStart(self._name, _plain_name(file_name.decode("utf-8", "replace"))))

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._field is None:
            self._events.append(FileData(data[start:end]))
            return
        self._field += data[start:end]
        if len(self._field) > LONGEST_FIELD:
            raise Problem(
                413,
                "too-large",
                "The body is too large",
                f"The field {self._name} is longer than {LONGEST_FIELD} bytes.",
            )

    def _end(self) -> None:
        if self._field is None:
            self._events.append(FileEnd())
            return
        try:
            self._events.append(Field(self._name, self._field.decode()))
        except UnicodeDecodeError:
            raise malformed(f"The field {self._name} is not UTF-8.") from None

    def _finish(self) -> None:
        self.ended = True


def _plain_name(file_name: str) -> str:
    """The last part of a path, printable and short."""
    last = file_name.replace("\\", "/").rpartition("/")[2]
    return "".join(letter for letter in last if letter.isprintable())[:LONGEST_NAME]
