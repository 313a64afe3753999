"""Limits for the head of a request: its first line and its headers.

h11 takes 5 µs for each header, in the event loop. So the lines are counted before h11 reads them.
"""

from __future__ import annotations

import re
from typing import Final

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from nostro.tools.server.errors import ApiError
from nostro.tools.server.strict_json import dump

HEADERS_MAX: Final = 100
HEADER_BYTES_MAX: Final = 16 * 1024
"""The path, the query and all headers together."""
HEAD_TOO_LARGE: Final = (
    f"a request has at most {HEADERS_MAX} headers, and {HEADER_BYTES_MAX:,} bytes before its body"
)
_HEAD_END: Final = re.compile(rb"\r?\n\r?\n")
_STEP_BYTES: Final = 1_024


class HeadProtocol(H11Protocol):
    """uvicorn's protocol with limits for a head, and with errors in JSON."""

    def data_received(self, data: bytes) -> None:
        # After an early answer, h11 drops the body and reads the next head in one step.
        step = _STEP_BYTES if self.conn.our_state is h11.DONE else max(len(data), 1)
        for start in range(0, len(data), step):
            super().data_received(data[start : start + step])

    def handle_events(self) -> None:
        if self.conn.their_state is not h11.SEND_BODY and self._is_head_too_large():
            self._refuse(431, "headers_too_large", HEAD_TOO_LARGE)
        else:
            super().handle_events()

    def send_400_response(self, msg: str) -> None:
        """Answer what h11 does not accept."""
        del msg
        self._refuse(400, "invalid_http", "the request is not valid HTTP/1.1")

    def _should_upgrade(self) -> bool:
        return False  # uvicorn would log how to install a package for WebSockets

    def _is_head_too_large(self) -> bool:
        text, _ = self.conn.trailing_data
        end = _HEAD_END.search(text)
        size = end.end() if end else len(text)
        lines = text.count(b"\n", 0, size)
        return size > HEADER_BYTES_MAX or lines > HEADERS_MAX + 2  # the first and the empty line

    def _refuse(self, status: int, type_: str, message: str) -> None:
        """Answer with an error and close the connection; only close it during another answer."""
        if self.conn.our_state is h11.IDLE:
            failure = ApiError(status, type_, message)
            body = dump(failure.as_json(writing=False))
            headers = [
                ("content-type", "application/json"),
                ("content-length", str(len(body))),
                ("connection", "close"),
            ]
            for event in (
                h11.Response(status_code=status, headers=headers),
                h11.Data(data=body),
                h11.EndOfMessage(),
            ):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()
