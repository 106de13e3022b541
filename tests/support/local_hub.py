"""A stand-in for the Hub on 127.0.0.1: what huggingface_hub and datasets request, for models, datasets and Spaces.

Repositories live in memory as a list of commits; branches point at commits. Small text files are sent within the
commit, the others through the LFS protocol, as on the Hub. Private repositories and all writing need the token.

    with LocalHub() as hub:
        hub.fail("PUT /lfs/", times=1)
        subprocess.run([...], env=hub.environment(home))

Clients read the environment when they are imported, so they run in a separate process.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import socket
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

TOKEN = "hf_local_stand_in"
KINDS = ("models", "datasets", "spaces")
_REGULAR = (".md", ".json", ".txt", ".yaml", ".yml", ".py", ".jinja", ".gitattributes")


@dataclass
class Commit:
    oid: str
    title: str
    files: dict[str, bytes]


@dataclass
class Repository:
    kind: str
    id: str
    private: bool = False
    sdk: str | None = None  # of a Space
    commits: dict[str, Commit] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)

    def __post_init__(self):
        self.add_commit("main", "initial commit", {".gitattributes": b""})

    def add_commit(self, branch: str, title: str, files: dict[str, bytes]) -> Commit:
        seed = f"{self.kind}/{self.id}/{branch}/{len(self.commits)}/{title}"
        commit = Commit(hashlib.sha1(seed.encode()).hexdigest(), title, dict(sorted(files.items())))
        self.commits[commit.oid] = commit
        self.branches[branch] = commit.oid
        return commit

    def find(self, revision: str) -> Commit | None:
        return self.commits.get(self.branches.get(revision) or revision)


class LocalHub:
    """The server, in a thread of this process.

    Args:
        repositories: (kind, id) -> `Repository`, kind being "models", "datasets" or "spaces".
        lfs: SHA-256 -> content of what was uploaded outside a commit.
        requests: "METHOD path" of every request, in order.
    """

    def __init__(self):
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.lfs: dict[str, bytes] = {}
        self.requests: list[str] = []
        self._faults: list[_Fault] = []
        self.lock = threading.RLock()
        handler = type("Handler", (_Handler,), {"hub": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> LocalHub:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_) -> None:
        self._server.shutdown()
        self._server.server_close()

    def environment(self, home: str | Path, token: str | None = TOKEN) -> dict[str, str]:
        """Environment of a client process that uses no other Hub and keeps its cache in `home`."""
        hidden = ("HF_", "HUGGING", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
        environment = {name: value for name, value in os.environ.items() if not name.upper().startswith(hidden)}
        environment |= {
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(home),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_IMPLICIT_TOKEN": "0",
            "NO_PROXY": "*",
        }
        return environment | ({"HF_TOKEN": token} if token else {})

    def files(self, kind: str, repo_id: str, revision: str = "main") -> dict[str, bytes]:
        """Path -> content of a repository at a revision."""
        return self.repositories[kind, repo_id].find(revision).files

    def clear(self) -> None:
        """Delete everything, as on a new Hub."""
        with self.lock:
            for kept in (self.repositories, self.lfs, self.requests, self._faults):
                kept.clear()

    def fail(self, request: str, status: int | None = None, times: int | None = None) -> None:
        """From now on refuse requests whose "METHOD path" matches the pattern `request`.

        Args:
            status: of the answer; None cuts the connection in the middle of the request.
            times: how many requests; None for all.
        """
        with self.lock:
            self._faults.append(_Fault(re.compile(request), status, times))

    def recover(self) -> None:
        """Undo `fail`."""
        with self.lock:
            self._faults.clear()

    def take_fault(self, request: str) -> _Fault | None:
        """The fault of this request, counted as used once."""
        for fault in self._faults:
            if fault.times != 0 and fault.request.match(request):
                fault.times = None if fault.times is None else fault.times - 1
                return fault
        return None


@dataclass
class _Fault:
    request: re.Pattern
    status: int | None
    times: int | None


class _NotFound(Exception):
    def __init__(self, code: str, status: int = 404):
        super().__init__(code)
        self.code, self.status = code, status


class _Handler(BaseHTTPRequestHandler):
    hub: LocalHub
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 1 << 16

    def log_message(self, *_):
        pass

    def do_GET(self):
        self._handle()

    do_HEAD = do_POST = do_PUT = do_DELETE = do_GET

    def _handle(self):
        url = urlsplit(self.path)
        self.query = {key: values[-1] for key, values in parse_qs(url.query).items()}
        self.parts = [unquote(part) for part in url.path.strip("/").split("/")]
        request = f"{self.command} {unquote(url.path)}"
        with self.hub.lock:
            self.hub.requests.append(request)
            fault = self.hub.take_fault(request)
        if fault is not None and fault.status is None:
            return self._cut()
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if fault is not None:
            return self._send(fault.status, {"error": "made to fail"})
        with self.hub.lock:
            try:
                self._route()
            except _NotFound as error:
                self._send(error.status, {"error": error.code}, {"X-Error-Code": error.code})

    def _cut(self):
        """Read half of the body and close the connection."""
        self.rfile.read(int(self.headers.get("Content-Length") or 0) // 2)
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    # Routes

    def _route(self):
        parts, method = self.parts, self.command
        if parts[0] == "lfs" and method == "PUT":
            content = self.body
            assert hashlib.sha256(content).hexdigest() == parts[1], "an LFS object came with another content"
            self.hub.lfs[parts[1]] = content
            self._send(200, {})
        elif parts == ["api", "validate-yaml"]:
            self._send(200, {"errors": [], "warnings": []})
        elif parts[:2] == ["api", "repos"]:
            self._create(json.loads(self.body))
        elif parts[0] == "api" and parts[1] in KINDS:
            self._api(self._repository(parts[1], "/".join(parts[2:4])), parts[4:])
        elif "info" in parts and "lfs" in parts:
            self._lfs_batch()
        else:
            kind = parts.pop(0) if parts[0] in KINDS else "models"
            repository = self._repository(kind, "/".join(parts[:2]))
            if len(parts) < 5 or parts[2] != "resolve":
                raise _NotFound("EntryNotFound")
            self._resolve(repository, parts[3], "/".join(parts[4:]))

    def _create(self, asked: dict):
        self._need_token()
        kind, repo_id = asked.get("type", "model") + "s", f"{asked['organization']}/{asked['name']}"
        prefix = "" if kind == "models" else f"{kind}/"
        answer = {"url": f"{self.hub.url}/{prefix}{repo_id}", "name": repo_id, "id": repo_id}
        if (kind, repo_id) in self.hub.repositories:
            return self._send(409, {"error": "You already created this repo", **answer})
        private = asked.get("private") or asked.get("visibility") == "private"
        self.hub.repositories[kind, repo_id] = Repository(kind, repo_id, bool(private), asked.get("sdk"))
        return self._send(200, answer)

    def _api(self, repository: Repository, rest: list[str]):
        action, rest = (rest[0], rest[1:]) if rest else ("revision", ["main"])
        if action == "revision":
            self._send(200, self._info(repository, self._commit(repository, rest[0])))
        elif action == "tree":
            self._send(200, self._tree(self._commit(repository, rest[0]), "/".join(rest[1:])))
        elif action == "preupload":
            self._need_token()
            self._commit(repository, rest[0])
            paths = [file["path"] for file in json.loads(self.body)["files"]]
            modes = {path: "regular" if path.endswith(_REGULAR) else "lfs" for path in paths}
            files = [{"path": path, "uploadMode": mode, "shouldIgnore": False} for path, mode in modes.items()]
            self._send(200, {"files": files})
        elif action == "commit":
            self._need_token()
            self._add_commit(repository, rest[0])
        elif action == "branch":
            self._need_token()
            if rest[0] in repository.branches:
                return self._send(409, {"error": f"Reference {rest[0]} exists already"})
            repository.branches[rest[0]] = repository.branches["main"]
            self._send(200, {})
        else:
            raise _NotFound("EntryNotFound")

    def _info(self, repository: Repository, commit: Commit) -> dict:
        return {
            "id": repository.id,
            "sha": commit.oid,
            "private": repository.private,
            "tags": [],
            "sdk": repository.sdk,
            "siblings": [{"rfilename": path} for path in commit.files],
        }

    def _tree(self, commit: Commit, folder: str) -> list[dict]:
        recursive = self.query.get("recursive", "").lower() in ("true", "1")
        prefix = f"{folder}/" if folder else ""
        entries = {}
        for path in (path for path in commit.files if path.startswith(prefix)):
            below = path.removeprefix(prefix).split("/")
            for depth in range(1, len(below) if recursive else min(2, len(below))):
                name = prefix + "/".join(below[:depth])
                entries[name] = _entry(commit, name)
            if recursive or len(below) == 1:
                entries[path] = _entry(commit, path)
        return [entries[name] for name in sorted(entries)]

    def _add_commit(self, repository: Repository, branch: str):
        if branch not in repository.branches:
            raise _NotFound("RevisionNotFound")
        files = dict(repository.find(branch).files)
        title = ""
        for line in self.body.splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "header":
                title = value["summary"]
            elif entry["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "lfsFile":
                files[value["path"]] = self.hub.lfs[value["oid"]]
            elif entry["key"] == "deletedFile":
                files.pop(value["path"], None)
        commit = repository.add_commit(branch, title, files)
        prefix = "" if repository.kind == "models" else f"{repository.kind}/"
        url = f"{self.hub.url}/{prefix}{repository.id}/commit/{commit.oid}"
        self._send(200, {"success": True, "commitOid": commit.oid, "commitUrl": url, "hookOutput": ""})

    def _lfs_batch(self):
        self._need_token()
        objects = []
        for item in json.loads(self.body)["objects"]:
            answer = {"oid": item["oid"], "size": item["size"], "authenticated": True}
            if item["oid"] not in self.hub.lfs:
                answer["actions"] = {"upload": {"href": f"{self.hub.url}/lfs/{item['oid']}"}}
            objects.append(answer)
        self._send(200, {"transfer": "basic", "objects": objects})

    def _resolve(self, repository: Repository, revision: str, path: str):
        commit = self._commit(repository, revision)
        if path not in commit.files:
            raise _NotFound("EntryNotFound")
        content = commit.files[path]
        etag = f'"{_etag(path, content)}"'
        headers = {"ETag": etag, "X-Repo-Commit": commit.oid, "Accept-Ranges": "bytes"}
        if not path.endswith(_REGULAR):
            headers |= {"X-Linked-Etag": etag, "X-Linked-Size": str(len(content))}
        span = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))
        if span is None or self.command == "HEAD":
            return self._send(200, content, headers)
        size = len(content)
        first = int(span[1]) if span[1] else max(0, size - int(span[2]))
        last = min(int(span[2]) if span[1] and span[2] else size - 1, size - 1)
        return self._send(206, content[first : last + 1], {**headers, "Content-Range": f"bytes {first}-{last}/{size}"})

    # Parts

    def _has_token(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def _need_token(self):
        if not self._has_token():
            raise _NotFound("Unauthorized", 401)

    def _repository(self, kind: str, repo_id: str) -> Repository:
        repository = self.hub.repositories.get((kind, repo_id))
        if repository is None or (repository.private and not self._has_token()):
            raise _NotFound("RepoNotFound", 404 if self._has_token() else 401)
        return repository

    def _commit(self, repository: Repository, revision: str) -> Commit:
        commit = repository.find(revision)
        if commit is None:
            raise _NotFound("RevisionNotFound")
        return commit

    def _send(self, status: int, content: bytes | dict | list, headers: dict[str, str] | None = None):
        kind = "application/octet-stream"
        if not isinstance(content, bytes):
            content, kind = json.dumps(content).encode(), "application/json"
        self.send_response(status)
        for name, value in {"Content-Type": kind, **(headers or {}), "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


def _git_oid(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _lfs_facts(path: str, content: bytes) -> dict:
    if path.endswith(_REGULAR):
        return {}
    oid = hashlib.sha256(content).hexdigest()
    return {"lfs": {"oid": oid, "sha256": oid, "size": len(content), "pointerSize": 134}}


def _etag(path: str, content: bytes) -> str:
    return _lfs_facts(path, content).get("lfs", {}).get("oid") or _git_oid(content)


def _entry(commit: Commit, path: str) -> dict:
    if path not in commit.files:
        return {"type": "directory", "path": path, "oid": hashlib.sha1(path.encode()).hexdigest(), "size": 0}
    content = commit.files[path]
    facts = {"type": "file", "path": path, "oid": _git_oid(content), "size": len(content)}
    return facts | _lfs_facts(path, content)
