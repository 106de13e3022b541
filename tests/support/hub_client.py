"""A process that talks to the local Hub: libraries read their environment when they are imported."""

import json
import subprocess
import sys

_CLIENT = """
import contextlib, io, json, sys, traceback
answers = sys.stdout
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


class ClientError(Exception):
    """What the client raised, as `TYPE: MESSAGE`."""


class Client:
    """A process that knows no Hub but ours. It is kept for the session, for its imports take most of the time.

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
        """Run `code`, which finds `arguments` in a dict of this name, and return what it leaves in `result`."""
        self._process.stdin.write(json.dumps([code, arguments]) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "the client process died"
        result, error, self.output = json.loads(line)
        if error is not None:
            raise ClientError(error)
        return result

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait(60)
        self._process.stdout.close()
