"""`majl demo`: wrong usage in one line, and a server that shuts down cleanly."""

import os
import signal
import subprocess
import sys
import time

import pytest
from typer.testing import CliRunner

from majl_hf.cli import app


def run(*arguments):
    return CliRunner().invoke(app, ["demo", "--no-open", *arguments])


def test_missing_gradio_is_reported_with_advice(monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    monkeypatch.delitem(sys.modules, "majl_hf.demo.app", raising=False)
    result = run()
    assert result.exit_code == 2
    assert "needs gradio, which is not installed; run: pip install 'majl_hf[demo]'" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["--max-minutes", "0"], "max_minutes is 0.0"),
        (["--model", "no-such-model"], "There is no model 'no-such-model'"),
    ],
)
def test_wrong_usage(arguments, match):
    pytest.importorskip("gradio", reason="needs the extra demo")
    result = run(*arguments)
    assert result.exit_code == 2 and match in result.stderr, result.output


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ends_in_good_order(tmp_path, tiny_model_folder, number):
    httpx = pytest.importorskip("httpx")
    pytest.importorskip("gradio", reason="needs the extra demo")
    process = subprocess.Popen(
        [sys.executable, "-m", "majl_hf.cli", "demo", "--no-open", "--model", tiny_model_folder],
        env={**os.environ, "TMPDIR": str(tmp_path), "PYTHONUNBUFFERED": "1"}, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        url = process.stdout.readline().split()[0]
        assert url.startswith("http://127.0.0.1:") and httpx.get(url, timeout=60).status_code == 200
        assert list(tmp_path.glob("majl-demo-*"))
        process.send_signal(number)
        assert process.wait(timeout=60) == 128 + number
    finally:
        process.kill()
    deadline_s = time.monotonic() + 10
    while list(tmp_path.glob("majl-demo-*")) and time.monotonic() < deadline_s:
        time.sleep(0.1)
    assert not list(tmp_path.glob("majl-demo-*"))
