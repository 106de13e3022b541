"""What assistants may call: addresses that are refused, links that only the caller has, the tools as MCP lists them."""

import asyncio
import contextlib
import functools
import http.server
import json
import threading

import httpx
import pytest

pytest.importorskip("gradio", reason="needs the extra demo")

from majl_hf.demo import fetching
from majl_hf.demo.app import Demo, build_page, launch
from majl_hf.demo.fetching import fetch, is_public
from majl_hf.demo.limits import Limits
from majl_hf.errors import MajlError


class _Files(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments): ...

    def do_GET(self):
        if self.path == "/inside":
            self.send_response(302)
            self.send_header("Location", "http://169.254.169.254/latest/meta-data/")
            self.end_headers()
        else:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                super().do_GET()


@pytest.fixture
def site(tmp_path, monkeypatch):
    """Address of a folder's files; this machine counts as public."""
    monkeypatch.setattr(fetching, "is_public", lambda address: address == "127.0.0.1" or is_public(address))
    handler = functools.partial(_Files, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.0.0.1", "169.254.169.254", "100.100.100.200", "0.0.0.0", "::1", "::ffff:127.0.0.1",
     "fe80::1%eth0", "fd00::1", "64:ff9b::7f00:1", "2002:7f00:1::", "224.0.0.1", "168.63.129.16"],
)  # fmt: skip
def test_what_is_not_public(address):
    assert not is_public(address)
    assert is_public("1.1.1.1") and is_public("2606:4700::1111")


@pytest.mark.parametrize(
    ("address", "match"),
    [
        ("http://localhost/a.mp3", "“localhost” is not on the public internet"),
        ("http://2130706433/a.mp3", "not on the public internet"),
        ("http://[::1]/a.mp3", "not on the public internet"),
        ("file:///etc/passwd", "has to begin with https"),
        ("/etc/passwd", "has to begin with https"),
        ("", "has to begin with https"),
    ],
)
def test_addresses_that_are_refused(tmp_path, address, match):
    with pytest.raises(MajlError, match=match):
        list(fetch(address, tmp_path, Limits()))


def test_fetching(site, tmp_path):
    (tmp_path / "a song.bin").write_bytes(b"x" * 300_000)
    (tmp_path / "to").mkdir()
    list(fetch(f"{site}/a%20song.bin?x=1", tmp_path / "to", Limits()))
    assert (tmp_path / "to/a song.bin").stat().st_size == 300_000
    for path, limits, match in (
        ("a%20song.bin", Limits(max_megabytes=0.1), "larger than 0.1 MB"),
        ("a%20song.bin", Limits(max_upload_s=1e-9), "took longer than 0 s"),
        ("none", Limits(), "answered 404"),
        ("inside", Limits(), "“169.254.169.254” is not on the public internet"),
    ):
        with pytest.raises(MajlError, match=match):
            list(fetch(f"{site}/{path}", tmp_path / "to", limits))


def test_only_the_tools_are_listed(tiny_model, tmp_path):
    endpoints = build_page(Demo(tiny_model, Limits(), tmp_path), mcp=True).get_api_info()["named_endpoints"]
    assert endpoints.keys() == {"/separate_song", "/transcribe_song"}
    assert all("links to the files" in endpoint["description"] for endpoint in endpoints.values())
    endpoints = build_page(Demo(tiny_model, Limits(), tmp_path)).get_api_info()["named_endpoints"]
    assert endpoints.keys() == {"/separate", "/voicing"}


def test_an_assistant(tiny_model, make_song, site, tmp_path, monkeypatch):
    pytest.importorskip("mcp", reason="needs the extra mcp")
    from mcp import ClientSession
    from mcp.client.streamable_http import streamablehttp_client

    monkeypatch.setenv("GRADIO_TEMP_DIR", "")  # changed by the demo
    make_song(tmp_path / "a song.flac")
    make_song(tmp_path / "long.flac", seconds=7.0)

    async def converse(running):
        async with streamablehttp_client(running.mcp_url) as (read, write, _), ClientSession(read, write) as session:
            await session.initialize()
            tools = {tool.name: tool for tool in (await session.list_tools()).tools}
            answers = [
                await session.call_tool(tool, {"song": f"{site}/{file}"})
                for tool, file in (
                    ("separate_song", "a%20song.flac"), ("transcribe_song", "a%20song.flac"),
                    ("separate_song", "long.flac"), ("separate", "a%20song.flac"),
                )
            ]  # fmt: skip
        return tools, answers

    with launch(tiny_model, Limits(max_minutes=0.1), host="127.0.0.1", mcp=True) as running:
        tools, (separated, transcribed, long, hidden) = asyncio.run(converse(running))
        assert tools.keys() == {"separate_song", "transcribe_song"}
        assert tools["separate_song"].inputSchema["properties"]["song"]["description"].startswith("Address")
        assert long.isError and "longer than 0.1 minutes" in long.content[0].text
        assert hidden.isError and "Unknown tool" in hidden.content[0].text
        separated, transcribed = (json.loads(answer.content[0].text) for answer in (separated, transcribed))
        assert separated["name"] == "a song" and len(transcribed["notes"]) == transcribed["num_notes"] > 0
        assert separated["files"].keys() == {"vocals", "accompaniment", "pitch_csv"}
        for link in (separated["files"] | transcribed["files"]).values():
            assert httpx.get(link).status_code == 200
            assert httpx.get(link.split("?")[0]).status_code == 403
        own, other = separated["files"]["vocals"], transcribed["files"]["pitch_csv"]
        assert httpx.get(own.split("?")[0] + "?" + other.split("?")[1]).status_code == 403
        assert httpx.get(f"{running.url}gradio_api/mcp/sse").status_code == 403
        root = running.demo.sessions.root
        assert len([path for path in root.iterdir() if path.name != "uploads"]) == 2  # fetched songs are gone
    assert not root.exists()


def test_without_the_package(tiny_model, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MajlError, match="majl_hf\\[mcp\\]"):
        launch(tiny_model, mcp=True)
