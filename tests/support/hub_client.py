"""Pushing, here and in a process that talks to the local Hub: libraries read their environment when they are
imported."""

import importlib
import json
import subprocess
import sys

import pytest

_CLIENT = """
import contextlib, io, json, sys, time, traceback
answers = sys.stdout
time.sleep = lambda seconds: None  # the Hub's client waits seconds between two tries
for line in sys.stdin:
    code, arguments = json.loads(line)
    names, output, error = {"arguments": arguments, "result": None}, io.StringIO(), None
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
        try:
            exec(code, names)
        except Exception as exception:
            traceback.print_exc()
            error = f"{type(exception).__name__}: {exception}"
    print(json.dumps([names["result"], error, output.getvalue()]), file=answers, flush=True)
"""


def push(kind: str, source, repo_id: str, **options) -> dict:
    """Push a "model", "dataset" or "space" and return the report; options as for `Target` and for the kind."""
    from majl_hf.publish.hub import Target

    target = {name: options.pop(name) for name in Target.__dataclass_fields__ if name in options}
    module = importlib.import_module(f"majl_hf.publish.{kind}")
    return vars(getattr(module, f"push_{kind}")(source, Target(repo_id, **target), **options))


def refused(kind: str, source, match: str, *, repo_id: str = "tester/refused", **options) -> None:
    """Assert that a push is refused before anything is sent, so in this process."""
    from majl_hf.errors import PushError

    with pytest.raises(PushError, match=match):
        push(kind, source, repo_id, dry_run=True, **options)


class ClientError(Exception):
    """What the client raised, as `TYPE: MESSAGE`."""


class Client:
    """A process that only uses the local Hub. It is kept for the session, because its imports take most of the time.

    Args:
        environment: of the process; its HF_HOME is kept for the session.
        output: everything printed by the last code, tracebacks included.
    """

    def __init__(self, environment: dict[str, str], folder):
        self.output = ""
        self.environment = environment
        self._process = subprocess.Popen(
            [sys.executable, "-c", _CLIENT],
            env=environment,
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, code: str, **arguments):
        """Run `code`, which gets `arguments` as a dict of this name, and return its variable `result`."""
        self._process.stdin.write(json.dumps([code, arguments]) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "the client process died"
        result, error, self.output = json.loads(line)
        if error is not None:
            raise ClientError(error)
        return result

    def push(self, kind: str, source, repo_id: str, **options) -> dict:
        """See `push`."""
        options |= {"kind": kind, "source": str(source), "repo_id": repo_id}
        return self.run("from hub_client import push; result = push(**arguments)", **options)

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait(60)
        self._process.stdout.close()
