"""Restricts files to the session that they belong to.

Gradio serves every file in its cache to anyone who knows the path, and accepts any such path as an input. Two measures
prevent that here:

- Results never enter gradio's cache. They have their own route, `majl/TOKEN/FILE`, which requires the key of the
  session that created them: the cookie that every browser gets with the page or, if the browser keeps no cookies (as in
  a frame of another site), the `key` in the links of that session.
- `SessionGuard` records who uploads what, and refuses requests that read or use someone else's upload, name someone
  else's session, or make gradio fetch other URLs. It also limits the size and time of uploads.
"""

import asyncio
import contextlib
import json
import secrets
import threading
from collections import OrderedDict
from pathlib import Path
from urllib.parse import quote

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Route

from ..errors import MajlError
from .decisions import Settings
from .desk import desk_block
from .downloads import DOWNLOADS, download_path
from .separation import SeparatedSong
from .sessions import NotYours, Sessions

COOKIE = "majl_session"
MIN_KEY_LENGTH = 32
API = "/gradio_api"
MAX_JSON_BYTES = 1_000_000  # of an event; files are uploaded separately
MAX_FORM_BYTES = 100_000  # overhead of the form around a file
MAX_SESSIONS_KNOWN = 20_000
# If an encoding is set, gradio does not compress the response, so ranges and lengths stay correct.
_HEADERS = {"Cache-Control": "private, no-cache", "Content-Encoding": "identity", "X-Content-Type-Options": "nosniff"}
# Routes of gradio that this app does not need: they fetch other URLs or expose a session's components; and the old
# transport of MCP, whose connections stay open.
_CLOSED = ("proxy=", "deep_link", "stream/", "component_server", "vibe", "dev/", "mcp/sse", "mcp/messages")


def cookie_key(request: Request) -> str | None:
    """The key in the browser's cookie, or None if there is no valid one."""
    key = request.cookies.get(COOKIE)
    return key if key and MIN_KEY_LENGTH <= len(key) <= 256 and key.isascii() else None


def result_routes(sessions: Sessions) -> list[Route]:
    """`GET majl/TOKEN/FILE`, with the query parameters of `Settings`, `save` (as a download) and `key`; and
    `GET majl/TOKEN/desk/NUMBER`, a block of what the mixing desk plays."""

    async def serve(request: Request) -> Response:
        file = request.path_params["file"]
        try:
            song, settings = await run_in_threadpool(_song, request, sessions)
            path = await run_in_threadpool(download_path, song, file, settings)
        except (NotYours, KeyError, MajlError, ValueError) as error:
            return _problem(error, 400 if file in DOWNLOADS else 404)
        if not path.is_file():
            return _problem(KeyError(file), 404)
        headers = dict(_HEADERS)
        if "save" not in request.query_params and DOWNLOADS[file].media_type in ("text/html", "image/svg+xml"):
            headers["Content-Security-Policy"] = "sandbox allow-scripts"  # a song's own page cannot act on this one
        name = f"{song.name}.{file}" if "save" in request.query_params else None
        return FileResponse(path, media_type=DOWNLOADS[file].media_type, headers=headers, filename=name)

    async def serve_block(request: Request) -> Response:
        try:
            song, settings = await run_in_threadpool(_song, request, sessions)
            content = await run_in_threadpool(desk_block, song, request.path_params["number"], settings)
        except (NotYours, KeyError, MajlError, ValueError) as error:
            return _problem(error, 400)
        except (OSError, RuntimeError):  # its file was deleted meanwhile
            return _problem(KeyError("stems"), 404)
        return Response(content, media_type="application/octet-stream", headers=_HEADERS)

    return [
        Route("/majl/{token}/desk/{number:int}", serve_block, methods=["GET"]),
        Route("/majl/{token}/{file}", serve, methods=["GET"]),
    ]


def _song(request: Request, sessions: Sessions) -> tuple[SeparatedSong, Settings]:
    """The song that a request may see, and the settings that it names.

    Raises:
        KeyError: there is no such song.
        NotYours: it belongs to another session.
        MajlError, ValueError: a setting that is not between 0 and 1, or not a number.
    """
    keys = [key for key in (cookie_key(request), request.query_params.get("key")) if key] or [None]
    for number, key in enumerate(keys, start=1):
        try:
            song = sessions.song(request.path_params["token"], key)
            break
        except NotYours:
            if number == len(keys):
                raise
    return song, Settings.of_model(song.config).changed(request.query_params)


def _problem(error: Exception, status: int) -> Response:
    if isinstance(error, NotYours):
        status = 403
    if isinstance(error, KeyError):
        return PlainTextResponse("This result was deleted. Separate the song again.", status_code=404)
    return PlainTextResponse(str(error), status_code=status)


def file_url(token: str, file: str, *, settings: dict | None = None, save: bool = False, key: str | None = None) -> str:
    """URL of a result's file, relative to the page."""
    queries = {**(settings or {}), "save": 1 if save else None, "key": key}
    text = "&".join(f"{name}={quote(str(value))}" for name, value in queries.items() if value is not None)
    return f"majl/{token}/{file}{'?' + text if text else ''}"


class Uploads:
    """Which file in gradio's cache was uploaded with which keys; None is for clients without a cookie."""

    def __init__(self):
        self._owners: dict[str, set[str | None]] = {}
        self._public: set[str] = set()
        self._lock = threading.Lock()

    def add(self, path: str, key: str | None) -> None:
        with self._lock:
            self._owners.setdefault(path, set()).add(key)

    def publish(self, path: str) -> None:
        """Let everyone use a file."""
        self._public.add(path)

    def allows(self, path: str, key: str | None) -> bool:
        return path in self._public or key in self._owners.get(path, ())

    def sweep(self, gone: set[str]) -> None:
        """Delete files whose owners are all `gone`, and entries of files that gradio has deleted."""
        with self._lock:
            for path, owners in list(self._owners.items()):
                owners -= gone
                if not owners and path not in self._public:
                    Path(path).unlink(missing_ok=True)
                    with contextlib.suppress(OSError):
                        Path(path).parent.rmdir()
                if not owners or not Path(path).exists():
                    del self._owners[path]


class SessionGuard:
    """ASGI middleware; see the module's docstring."""

    def __init__(self, app, sessions: Sessions, uploads: Uploads):
        self.app, self.sessions, self.uploads, self.limits = app, sessions, uploads, sessions.limits
        self._keys: OrderedDict[str, str | None] = OrderedDict()  # name of a session -> key that first used it

    async def __call__(self, scope, receive, send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request = Request(scope)
        key, path = cookie_key(request), _route(scope)
        if path is None:
            send = _giving_a_cookie(request, send) if key is None and request.method == "GET" else send
            await self.app(scope, receive, send)
        elif path.startswith(_CLOSED):
            await PlainTextResponse("This is not available here.", status_code=403)(scope, receive, send)
        elif path.startswith(("file=", "file/")):
            if self.uploads.allows(path[5:], key):
                await self.app(scope, receive, send)
            else:
                await _refuse(scope, receive, send)
        elif path.rstrip("/") == "upload":
            await self._upload(request, key, receive, send)
        elif not all(self._is_own(name, key) for name in _named_sessions(request, path)):
            await _refuse(scope, receive, send)
        elif path.startswith("heartbeat/"):
            if key is not None:  # a page is open, so its browser's uploads are kept
                await run_in_threadpool(self.sessions.open, path.removeprefix("heartbeat/"), key)
            await self.app(scope, receive, send)
        elif request.method == "POST":
            await self._event(request, key, receive, send)
        else:
            await self.app(scope, receive, send)

    async def _upload(self, request: Request, key: str | None, receive, send) -> None:
        """Forward an upload that is small and fast enough, and record its owner."""
        scope, limits = request.scope, self.limits
        announced = request.headers.get("content-length", "")
        if announced.isdecimal() and int(announced) > limits.max_bytes + MAX_FORM_BYTES:
            text = f"The file is larger than {limits.max_megabytes:g} MB. Make it smaller, for example as mp3 or m4a."
            await PlainTextResponse(text, status_code=413)(scope, receive, send)
            return
        started, body = False, bytearray()

        async def recording(message) -> None:
            nonlocal started
            started = True
            if message["type"] == "http.response.body":
                body.extend(message.get("body", b""))
                if not message.get("more_body", False):
                    for path in _paths_in_answer(body):
                        self.uploads.add(path, key)
            await send(message)

        try:
            async with asyncio.timeout(limits.max_upload_s):
                await self.app(scope, receive, recording)
        except TimeoutError:
            if started:
                raise
            text = f"The upload took longer than {limits.max_upload_s:.0f} s. Try a smaller file."
            await PlainTextResponse(text, status_code=408)(scope, receive, send)

    async def _event(self, request: Request, key: str | None, receive, send) -> None:
        """Forward an event if its files and session belong to the sender."""
        body = bytearray()
        async for part in _body(receive):
            body.extend(part)
            if len(body) > MAX_JSON_BYTES:
                text = "The request is too large; upload files first and refer to their paths."
                await PlainTextResponse(text, status_code=413)(request.scope, receive, send)
                return
        try:
            value = json.loads(body) if body else None
        except ValueError:
            value = None
        name = value.get("session_hash") if isinstance(value, dict) else None
        own = name is None or (isinstance(name, str) and self._is_own(name, key))
        if not own or not all(self.uploads.allows(path, key) for path in _paths_in_event(value)):
            await _refuse(request.scope, receive, send)
            return
        await self.app(request.scope, _replaying(bytes(body), receive), send)

    def _is_own(self, name: str, key: str | None) -> bool:
        """Whether a session is new or was used with this key before."""
        if name not in self._keys:
            self._keys[name] = key
            if len(self._keys) > MAX_SESSIONS_KNOWN:
                self._keys.popitem(last=False)
        self._keys.move_to_end(name)
        return self._keys[name] == key


def _route(scope) -> str | None:
    """Path after gradio's prefix, None for other paths."""
    path = scope["path"].removeprefix(scope.get("root_path", "").rstrip("/"))
    return path.removeprefix(f"{API}/") if path.startswith(f"{API}/") else None


def _named_sessions(request: Request, path: str) -> list[str]:
    """Sessions that a URL names."""
    names = request.query_params.getlist("session_hash")
    return [*names, path.removeprefix("heartbeat/")] if path.startswith("heartbeat/") else names


def _giving_a_cookie(request: Request, send):
    """`send` that adds a cookie with a new key."""
    https = request.headers.get("x-forwarded-proto", request.url.scheme).split(",")[0].strip() == "https"
    # Hugging Face shows Spaces in a frame of its own site, where browsers only keep partitioned cookies.
    kind = "SameSite=None; Secure; Partitioned" if https else "SameSite=Lax"
    cookie = f"{COOKIE}={secrets.token_urlsafe(32)}; Path=/; HttpOnly; {kind}".encode()

    async def sending(message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), (b"set-cookie", cookie)]}
        await send(message)

    return sending


async def _refuse(scope, receive, send) -> None:
    text = "This file or session is not yours, or was deleted. Load the page again and upload your file there."
    await PlainTextResponse(text, status_code=403)(scope, receive, send)


async def _body(receive):
    """Parts of a request's body."""
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return
        yield message.get("body", b"")
        if not message.get("more_body", False):
            return


def _replaying(body: bytes, receive):
    """`receive` for a body that was already read."""
    sent = False

    async def receiving():
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receiving


def _paths_in_answer(body: bytearray) -> list[str]:
    try:
        paths = json.loads(body)
    except ValueError:
        return []
    return [path for path in paths if isinstance(path, str)] if isinstance(paths, list) else []


def _paths_in_event(value) -> list[str]:
    """Paths and URLs of all files in an event's data, at any depth."""
    if isinstance(value, dict):
        own = [value["path"]] if isinstance(value.get("path"), str) else []
        return own + [path for item in value.values() for path in _paths_in_event(item)]
    if isinstance(value, list):
        return [path for item in value for path in _paths_in_event(item)]
    return []
