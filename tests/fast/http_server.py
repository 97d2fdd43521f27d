"""An HTTP server on the loopback interface that misbehaves on request."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Answer = Callable[["Exchange"], None]


@dataclass
class Exchange:
    """One request: its path and headers, and the means to answer it."""

    handler: BaseHTTPRequestHandler
    stop: threading.Event

    @property
    def path(self) -> str:
        return self.handler.path

    @property
    def headers(self) -> Message:
        return self.handler.headers

    def head(self, status: int, **headers: object) -> None:
        self.handler.send_response(status)
        for name, value in headers.items():
            self.handler.send_header(name.replace("_", "-"), str(value))
        self.handler.end_headers()

    def body(self, data: bytes) -> None:
        self.handler.wfile.write(data)
        self.handler.wfile.flush()

    def first_byte(self) -> int | None:
        """The start of the range that was asked for."""
        text = self.headers.get("Range")
        return None if text is None else int(text.removeprefix("bytes=").rstrip("-"))


@dataclass
class Server:
    """``answers`` maps a path to what its first, second, ... request gets; the last answer repeats."""

    address: str = ""
    answers: dict[str, list[Answer]] = field(default_factory=dict)
    requests: list[tuple[str, Message]] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def set(self, path: str, *answers: Answer) -> str:
        self.answers[path] = list(answers)
        return self.address + path

    def ranges(self) -> list[str | None]:
        return [headers.get("Range") for _, headers in self.requests]

    def answer(self, exchange: Exchange) -> None:
        with self.lock:
            self.requests.append((exchange.path, exchange.headers))
            plan = self.answers.get(exchange.path, [status(404)])
            chosen = plan.pop(0) if len(plan) > 1 else plan[0]
        chosen(exchange)


@contextmanager
def running_server() -> Iterator[Server]:
    """Serve on a free port of 127.0.0.1 until the end of the body."""
    server = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            try:
                server.answer(Exchange(self, server.stop))
            except (BrokenPipeError, ConnectionResetError):
                pass  # the client hung up, as some tests want it to
            self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:
            """Stay silent."""

    class Quiet(ThreadingHTTPServer):
        daemon_threads = False
        block_on_close = True

    http = Quiet(("127.0.0.1", 0), Handler)
    server.address = f"http://127.0.0.1:{http.server_address[1]}"
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.stop.set()
        http.shutdown()
        http.server_close()
        thread.join()


def good(data: bytes, etag: str | None = '"one"', modified: str | None = None) -> Answer:
    """The file, or the range of it that was asked for when If-Range names this version."""

    def answer(exchange: Exchange) -> None:
        names: dict[str, object] = {}
        if etag is not None:
            names["ETag"] = etag
        if modified is not None:
            names["Last_Modified"] = modified
        start = exchange.first_byte()
        if start is None or exchange.headers.get("If-Range") not in (etag, modified):
            exchange.head(200, Content_Length=len(data), **names)
            exchange.body(data)
        elif start >= len(data):
            exchange.head(416, Content_Length=0, Content_Range=f"bytes */{len(data)}")
        else:
            rest = data[start:]
            span = f"bytes {start}-{len(data) - 1}/{len(data)}"
            exchange.head(206, Content_Length=len(rest), Content_Range=span, **names)
            exchange.body(rest)

    return answer


def cut(data: bytes, after: int, etag: str | None = '"one"', length: int | None = None) -> Answer:
    """Promise the whole file (or ``length`` bytes), send the first ``after`` bytes and hang up."""

    def answer(exchange: Exchange) -> None:
        names = {} if etag is None else {"ETag": etag}
        exchange.head(200, Content_Length=len(data) if length is None else length, **names)
        exchange.body(data[:after])

    return answer


def stall(data: bytes, after: int, etag: str = '"one"') -> Answer:
    """Send the first ``after`` bytes and then nothing, with the connection open."""

    def answer(exchange: Exchange) -> None:
        exchange.head(200, Content_Length=len(data), ETag=etag)
        exchange.body(data[:after])
        exchange.stop.wait(20)

    return answer


def drip(data: bytes, pause: float) -> Answer:
    """Send a byte at a time."""

    def answer(exchange: Exchange) -> None:
        exchange.head(200, Content_Length=len(data), ETag='"one"')
        for i in range(len(data)):
            exchange.body(data[i : i + 1])
            if exchange.stop.wait(pause):
                return

    return answer


def chunked(data: bytes, whole: bool = True) -> Answer:
    """Send the file in chunks without stating its length; not ``whole``: hang up before the last one."""

    def answer(exchange: Exchange) -> None:
        exchange.handler.protocol_version = "HTTP/1.1"
        exchange.head(200, Transfer_Encoding="chunked", ETag='"one"')
        half = len(data) // 2
        for part in (data[:half], data[half:])[: 2 if whole else 1]:
            exchange.body(f"{len(part):x}\r\n".encode() + part + b"\r\n")
        if whole:
            exchange.body(b"0\r\n\r\n")

    return answer


def endless(block: bytes) -> Answer:
    """Send for ever, without stating a length."""

    def answer(exchange: Exchange) -> None:
        exchange.head(200)
        while not exchange.stop.is_set():
            exchange.body(block)

    return answer


def status(code: int, **headers: object) -> Answer:
    """An empty answer with a status."""

    def answer(exchange: Exchange) -> None:
        exchange.head(code, Content_Length=0, **headers)

    return answer
