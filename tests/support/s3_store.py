"""A store that speaks S3: moto's, behind a server that can be told to fail."""

import io
import os
import re
import socket
import sys
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingMixIn
from typing import Literal
from urllib.parse import parse_qs, unquote, urlsplit
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from moto.server import DomainDispatcherApplication, create_backend_app

ACCESS_KEY, SECRET_KEY = "AKIAMAJLSTANDIN", "stand-in/of+a/secret"
_ERROR = '<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code><Message>{message}</Message></Error>'
_CODES = {403: "InvalidAccessKeyId", 500: "InternalError", 503: "SlowDown"}

Fault = Literal["cut", "half", "hang", "lost"] | int


class S3Store:
    """The server, in threads of this process.

    Args:
        requests: "KIND KEY" of every request, in order. A kind is "list", "get", "head", "put", "delete", "create"
            (of an upload in parts), "part", "complete" or "abort".
        num_faults: How many requests have failed, by "KIND FAULT".
        knows_ranges: Whether a range of a file can be read.
    """

    def __init__(self):
        self.requests: list[str] = []
        self.num_faults: dict[str, int] = {}
        self.knows_ranges = True
        self._plan: list[_Planned] = []
        self.lock = threading.Lock()
        self.application = DomainDispatcherApplication(create_backend_app)
        self.released = threading.Event()
        self._server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"store": self}))
        self._server.set_app(self.application)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> "S3Store":
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()

    @property
    def environment(self) -> dict[str, str]:
        """Of a process that uses this store."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }

    def fail(self, kind: str, *faults: Fault, key: str = "", times: int = 1) -> None:
        """From now on fail requests whose kind is `kind` and whose key matches the pattern `key`, `times` times with
        each fault, in order.

        Args:
            faults: The status of the answer, or what happens to the connection: "cut" before an answer, "half" in the
                middle of its body, "lost" after the request has been carried out, or "hang" until `recover`.
        """
        with self.lock:
            self._plan += [_Planned(kind, re.compile(key), fault, times) for fault in faults]

    def recover(self) -> None:
        """Undo `fail`."""
        with self.lock:
            self._plan.clear()
            self.released.set()
            self.released = threading.Event()

    def planned(self) -> list[str]:
        """The faults that have not occurred yet."""
        with self.lock:
            return [f"{planned.kind} {planned.fault}" for planned in self._plan if planned.times > 0]

    def take_fault(self, kind: str, key: str) -> Fault | None:
        """The fault of this request, counted."""
        with self.lock:
            self.requests.append(f"{kind} {key}")
            for planned in self._plan:
                if planned.times > 0 and kind == planned.kind and planned.key.search(key):
                    planned.times -= 1
                    name = f"{kind} {planned.fault}"
                    self.num_faults[name] = self.num_faults.get(name, 0) + 1
                    return planned.fault
        return None

    def create(self, bucket: str) -> str:
        """The address of a new and empty bucket."""
        self._backend().create_bucket(bucket, "us-east-1")
        return f"s3://{bucket}"

    def put(self, bucket: str, files: dict[str, bytes]) -> None:
        """Add files to a bucket."""
        for key, content in files.items():
            self._backend().put_object(bucket, key, content)

    def delete(self, bucket: str, key: str) -> None:
        """Remove a file of a bucket."""
        self._backend().delete_object(bucket, key)

    def clear(self) -> None:
        """Remove all buckets, and forget requests and faults."""
        self.recover()
        self._backend().reset()
        self.requests.clear()
        self.num_faults.clear()
        self.knows_ranges = True

    def files(self, bucket: str) -> dict[str, bytes]:
        """Key -> content of a bucket."""
        keys = self._backend().get_bucket(bucket).keys
        return {key: keys[key].value for key in sorted(keys)}

    def _backend(self):
        from moto.s3.models import s3_backends

        return s3_backends["123456789012"]["aws"]


@dataclass
class _Planned:
    kind: str
    key: re.Pattern
    fault: Fault
    times: int


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request, client_address):
        if not isinstance(sys.exception(), OSError):  # the client has gone, as it should when a server hangs
            super().handle_error(request, client_address)


class _Handler(WSGIRequestHandler):
    store: S3Store
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    handle = BaseHTTPRequestHandler.handle  # keeps connections

    def log_message(self, *_):
        pass

    def parse_request(self) -> bool:
        self._fault: Fault | None = None
        return super().parse_request()

    def handle_expect_100(self) -> bool:
        """A client that has asked whether its body is wanted gets no answer from a server that hangs."""
        self._decide()
        return self._fault == "hang" or super().handle_expect_100()

    def do_GET(self):
        if "100-continue" not in self.headers.get("Expect", ""):
            self._decide()
        fault = self._fault
        if fault == "hang":
            self._released.wait()
        if fault in ("hang", "cut"):
            return self._cut()
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if fault is None and not self._is_signed():
            fault = 403
        if isinstance(fault, int):
            content = _ERROR.format(code=_CODES[fault], message=f"This is the stand-in's error {fault}.").encode()
            return self._send(f"{fault} Error", [("Content-Type", "application/xml")], content)
        status, headers, content = self._carry_out(body)
        if fault == "lost":
            return self._cut()
        self._send(status, headers, content, cut=fault == "half")

    do_HEAD = do_POST = do_PUT = do_DELETE = do_GET

    def _decide(self) -> None:
        url = urlsplit(self.path)
        kind = self._kind(url.path, parse_qs(url.query, keep_blank_values=True))
        self._released = self.store.released
        self._fault = self.store.take_fault(kind, unquote(url.path.lstrip("/")))

    def _is_signed(self) -> bool:
        """Whether the key is known, in a header or in the query of an address that has been signed."""
        given = self.headers.get("Authorization", "") + unquote(urlsplit(self.path).query)
        return re.search(f"(Credential|AccessKeyId)={ACCESS_KEY}", given) is not None

    def _kind(self, path: str, query: dict) -> str:
        if "uploads" in query:
            return "create"
        if "uploadId" in query:
            return {"PUT": "part", "POST": "complete", "DELETE": "abort"}[self.command]
        if self.command == "GET" and "list-type" in query:
            return "list"
        return self.command.lower()

    def _carry_out(self, body: bytes) -> tuple[str, list[tuple[str, str]], bytes]:
        answer = []
        environ = self.server.base_environ | self.get_environ()
        environ |= {"wsgi.input": io.BytesIO(body), "wsgi.errors": io.StringIO(), "wsgi.url_scheme": "http"}
        if not self.store.knows_ranges:
            environ.pop("HTTP_RANGE", None)
        environ |= {"RAW_URI": self.path, "REQUEST_URI": self.path, "wsgi.multithread": True}
        content = b"".join(
            self.store.application(environ, lambda status, headers, *_: answer.extend((status, headers)))
        )
        return answer[0], answer[1], content

    def _send(self, status: str, headers: list[tuple[str, str]], content: bytes, cut: bool = False) -> None:
        number, _, phrase = status.partition(" ")
        self.send_response(int(number), phrase)
        for name, value in headers:
            if name.lower() not in ("connection", "date", "server"):
                self.send_header(name, value)
        if "content-length" not in {name.lower() for name, _ in headers}:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content[: len(content) // 2] if cut else content)
        if cut:
            self._cut()

    def _cut(self) -> None:
        self.close_connection = True
        self.wfile.flush()
        self.connection.shutdown(socket.SHUT_RDWR)
