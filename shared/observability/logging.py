"""Structured logs: JSON lines in production, readable in development, never a name, an address or a secret."""

import logging
import re
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import structlog
from structlog.types import EventDict, Processor

HIDDEN = "[redacted]"
SECRET_KEYS = re.compile(
    r"pass(word|wd)?$|secret|token|authori[sz]ation|cookie|api_?key$|credential"
    r"|e?_?mail$|phone|(first|last|given|family|full|middle)_?name|^name$|address|street|postal|zip|city|birth"
    r"|^(value|body|payload|input|record|sale|customer|attributes|headers)$",
    re.IGNORECASE,
)
"""Names of log fields whose content is never written, whatever it is."""
_PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]+"), r"\1 " + HIDDEN),
    (re.compile(r"\beyJ[\w-]+\.[\w-]+\.[\w-]*"), HIDDEN),
    (re.compile(r"\b[\w.+-]+@[\w-]+(\.[\w-]+)+\b"), HIDDEN),
    (re.compile(r"://[^\s:/@]+:[^\s@]+@"), f"://{HIDDEN}@"),
    (re.compile(r"(?m)^(DETAIL|CONTEXT|\[parameters): .*$"), r"\1: " + HIDDEN),
    (re.compile(r"\[parameters: .*"), f"[parameters: {HIDDEN}]"),
    (re.compile(r"input_value=.*?(?=, input_type=)", re.DOTALL), f"input_value={HIDDEN}"),
)
NOISY = ("aiokafka", "faststream", "sqlalchemy.pool")


class RateLimit(logging.Filter):
    """Lets a noisy library log each kind of message `burst` times per `period_s`, then says how many it held back.

    aiokafka repeats itself about a hundred times a second while a broker is away.
    """

    def __init__(
        self,
        prefixes: tuple[str, ...] = NOISY,
        *,
        burst: int = 5,
        period_s: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self._prefixes, self._burst, self._period_s, self._clock = prefixes, burst, period_s, clock
        self._windows: dict[tuple[str, int, str], list[float]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether this record is written."""
        if not record.name.startswith(self._prefixes):
            return True
        kind = (record.name, record.levelno, str(record.msg)[:80])
        now = self._clock()
        window = self._windows.setdefault(kind, [now, 0.0])
        if now - window[0] >= self._period_s:
            held = int(window[1] - self._burst)
            window[:] = [now, 0.0]
            if held > 0:
                record.msg = f"{record.getMessage()} ({held} more like this in the last {self._period_s:g} s)"
                record.args = ()
        window[1] += 1
        return window[1] <= self._burst


def scrub(text: str) -> str:
    """The text without anything that looks like a credential, an e-mail address or a row's content."""
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text


def redact(_logger: Any, _method: str, event: EventDict) -> EventDict:
    """structlog processor: hides fields by name and patterns by look, in nested values too."""
    for key, value in event.items():
        event[key] = scrub(value) if key in ("event", "exception") and isinstance(value, str) else _clean(key, value)
    return event


def _clean(key: str, value: Any) -> Any:
    if SECRET_KEYS.search(key) and value is not None and not isinstance(value, bool):
        return HIDDEN
    if isinstance(value, str):
        return scrub(value)
    if isinstance(value, Mapping):
        return {k: _clean(str(k), v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_clean("", v) for v in value]
    if isinstance(value, bytes | bytearray | memoryview):
        return f"<{len(value)} bytes>"
    return value


def configure(service: str, env: str, level: str = "INFO") -> None:
    """Sets up structlog and routes the standard library's loggers through it. Call once, first thing.

    Args:
        service: written on every line.
        env: "production" writes JSON lines to stdout, anything else readable ones.
        level: least severe level written.
    """

    def name_service(_logger: Any, _method: str, event: EventDict) -> EventDict:
        event["service"] = service
        return event

    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        name_service,
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    _route_stdlib(shared, env, level)


def _route_stdlib(shared: list[Processor], env: str, level: str) -> None:
    renderer: Processor = (
        structlog.processors.JSONRenderer(default=str)
        if env == "production"
        else structlog.dev.ConsoleRenderer(colors=sys.stdout.isatty())
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.addFilter(RateLimit())
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                redact,
                renderer,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "faststream"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
    logging.getLogger("uvicorn.access").setLevel(logging.WARNING)


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """A logger whose calls take an event and fields: `log.info("batch applied", records=500)`."""
    logger: structlog.stdlib.BoundLogger = structlog.get_logger(name)
    return logger


def bind(**ids: Any) -> Mapping[str, Any]:
    """Puts request_id, event_id or tenant_id on every line of this task; returns tokens for `unbind`."""
    return structlog.contextvars.bind_contextvars(**ids)


def unbind(tokens: Mapping[str, Any]) -> None:
    """Takes back what `bind` put on."""
    structlog.contextvars.reset_contextvars(**tokens)
