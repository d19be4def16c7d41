"""The server's HTTP parser, whose refusals are problems like all others."""

import uuid

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from services.api_gateway.context import RequestContext
from services.api_gateway.errors import malformed, render
from shared.observability import metrics


class HttpProtocol(HttpToolsProtocol):
    """uvicorn's, but for what it answers to bytes that are no HTTP: these never reach the application."""

    def send_400_response(self, msg: str) -> None:
        """Answers 400 as a problem and closes the connection. `msg` is the parser's and of no use to anybody."""
        problem = malformed("This is not a valid HTTP/1.1 request.", [{"field": "", "reason": "is not valid HTTP"}])
        context = RequestContext(uuid.uuid4().hex)
        answer = render(problem, {"type": "http", "path": "", "iacrm": context})
        headers = [
            *self.server_state.default_headers,
            *answer.raw_headers,
            (b"x-request-id", context.request_id.encode()),
            (b"x-content-type-options", b"nosniff"),
            (b"connection", b"close"),
        ]
        lines = [b"HTTP/1.1 400 Bad Request", *(name + b": " + value for name, value in headers)]
        self.transport.write(b"\r\n".join(lines) + b"\r\n\r\n" + bytes(answer.body))
        self.transport.close()
        metrics.HTTP_REQUESTS.labels("other", "unknown", "400").inc()
