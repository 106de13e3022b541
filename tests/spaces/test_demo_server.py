"""The served demo and its clients: results by API, many at once, and files that no other client can reach."""

import concurrent.futures
import io
import json
import time
from pathlib import Path

import httpx
import numpy as np
import pytest
import soundfile

pytest.importorskip("gradio_client", reason="needs the extra demo")

from gradio_client import handle_file
from gradio_client.exceptions import AppError

from majl_hf.demo.desk import desk_block
from majl_hf.demo.downloads import DOWNLOADS
from majl_hf.demo.guard import COOKIE

GRACE_S = 1.0  # of the server in conftest.py
NUM_CLIENTS, NUM_REQUESTS = 4, 20


@pytest.fixture
def song(make_song, tmp_path):
    return make_song(tmp_path / "ein Lied.wav")


def separate(client, path) -> dict:
    return client.predict(handle_file(str(path)), api_name="/separate")


def uploads_of(server, client) -> list[str]:
    return [path for path, owners in server.demo.uploads._owners.items() if client.cookies[COOKIE] in owners]


def samples(answer) -> np.ndarray:
    assert answer.status_code == 200, answer.text
    return soundfile.read(io.BytesIO(answer.content), dtype="float32", always_2d=True)[0].T


def post_event(server, client, data, session_hash) -> httpx.Response:
    """An event of the page as the browser sends it, with any data and session."""
    endpoint = next(e for e in client.endpoints.values() if e.api_name == "/separate")
    body = {"data": data, "fn_index": endpoint.fn_index, "session_hash": session_hash}
    return httpx.post(server.url + "gradio_api/queue/join", json=body, cookies=client.cookies)


def test_result_and_every_file(connect, fetch, song):
    path, mixture = song
    client = connect()
    result = separate(client, path)
    assert result["name"] == "ein Lied"
    assert (result["sampling_rate"], result["num_channels"], result["num_samples"]) == (44_100, *mixture.shape)
    assert result["files"].keys() == DOWNLOADS.keys() and result["num_notes"] > 0
    answers = {file: fetch(client, address) for file, address in result["files"].items()}
    assert all(answer.status_code == 200 and answer.content for answer in answers.values())
    kinds = {file: answer.headers["content-type"].split(";")[0] for file, answer in answers.items()}
    assert kinds == {file: download.media_type for file, download in DOWNLOADS.items()}
    stems = [samples(answers[f"{stem}.wav"]) for stem in ("vocals", "accompaniment")]
    assert np.abs(sum(stems) - mixture).max() <= np.spacing(np.abs(mixture).max())
    assert answers["f0.csv"].text.startswith("time_s,f0_hz,voicing,confidence\n")

    lower = client.predict(0.02, 0.5, 1.0, api_name="/voicing")
    assert lower["sung_share"] >= result["sung_share"]
    assert lower["files"]["vocals.wav"] == result["files"]["vocals.wav"]  # nothing was computed again
    assert (lower["min_note_s"], lower["voicing_threshold"]) == (1.0, 0.02)
    assert lower["num_notes"] < result["num_notes"]
    table = fetch(client, lower["files"]["notes.csv"]).text.splitlines()
    assert len(table) == 1 + lower["num_notes"]


def test_blocks_for_the_mixing_desk(server, connect, fetch, song):
    client, other = connect(), connect()
    files = separate(client, song[0])["files"]
    address = files["vocals.wav"].replace("vocals.wav", "desk/{}")
    (session,) = [s for s in server.demo.sessions._sessions.values() if s.owner == client.cookies[COOKIE]]
    query = "?note_threshold=0.5&min_note_s=0.3"
    block = fetch(client, address.format(0) + query)
    settings = server.demo.settings.changed({"note_threshold": 0.5, "min_note_s": 0.3})
    assert block.status_code == 200 and block.content == desk_block(session.song, 0, settings)
    assert int(block.headers["content-length"]) == len(block.content)
    assert fetch(other, address.format(0) + query).status_code == 403
    assert fetch(client, address.format(7)).status_code == 400
    assert fetch(client, address.format(-1)).status_code == 404
    assert fetch(client, address.format(0) + "?min_note_s=2").status_code == 400
    assert fetch(client, address.format(0) + "?min_note_s=much").status_code == 400


def test_pages_and_pictures_that_are_opened_cannot_act_for_their_reader(connect, fetch, song):
    client = connect()
    files = separate(client, song[0])["files"]
    for file in ("notes.html", "notes.svg"):
        assert fetch(client, files[file]).headers["content-security-policy"] == "sandbox allow-scripts"


def test_players_can_seek_and_names_are_kept(connect, fetch, song):
    client = connect()
    address = separate(client, song[0])["files"]["vocals.flac"]
    whole = fetch(client, address).content
    part = fetch(client, address, headers={"Range": "bytes=100-199", "Accept-Encoding": "br"})
    assert part.status_code == 206 and part.content == whole[100:200]
    saved = fetch(client, address + "?save=1")
    assert "attachment" in saved.headers["content-disposition"]
    assert "ein%20Lied.vocals.flac" in saved.headers["content-disposition"]
    assert saved.headers["x-content-type-options"] == "nosniff"


def test_another_sessions_files_are_refused(server, connect, fetch, song):
    anna, bert = connect(), connect()
    assert anna.cookies[COOKIE] != bert.cookies[COOKIE]
    result = separate(anna, song[0])
    for address in result["files"].values():
        assert fetch(bert, address).status_code == 403
        assert fetch(None, address).status_code == 403
        assert fetch(bert, address + "?key=" + "x" * 43).status_code == 403
    assert fetch(anna, result["files"]["f0.csv"]).status_code == 200

    # Her upload: neither read through gradio nor named as an input, whatever the spelling.
    (upload,) = uploads_of(server, anna)
    assert fetch(anna, f"gradio_api/file={upload}").status_code == 200
    folder, name = str(Path(upload).parent), Path(upload).name
    for address in (upload, f"{folder}/../{Path(folder).name}/{name}", f"/{upload}"):
        assert fetch(bert, f"gradio_api/file={address}").status_code == 403
        assert fetch(bert, f"gradio_api/file/{address}").status_code == 403
    data = [{"path": upload, "meta": {"_type": "gradio.FileData"}}]
    assert post_event(server, bert, data, bert.session_hash).status_code == 403
    # Nor her session.
    assert post_event(server, bert, [None], anna.session_hash).status_code == 403
    queue = f"gradio_api/queue/data?session_hash={anna.session_hash}"
    assert fetch(bert, queue).status_code == 403
    assert fetch(bert, f"gradio_api/heartbeat/{anna.session_hash}").status_code == 403


def test_results_are_outside_what_gradio_serves(server, connect, fetch, song):
    anna = connect()
    separate(anna, song[0])
    (result,) = [s.song for s in server.demo.sessions._sessions.values() if s.owner == anna.cookies[COOKIE]]
    assert fetch(anna, f"gradio_api/file={result.folder / 'vocals.wav'}").status_code == 403


@pytest.mark.parametrize("path", ["/etc/passwd", "http://127.0.0.1:1/song.wav", "https://example.org/song.wav"])
def test_gradio_is_not_made_to_fetch(server, connect, fetch, path):
    client = connect()
    data = [{"path": path, "url": path, "meta": {"_type": "gradio.FileData"}}]
    assert post_event(server, client, data, client.session_hash).status_code == 403
    assert fetch(client, f"gradio_api/file={path}").status_code == 403
    assert fetch(client, f"gradio_api/proxy={path}").status_code == 403


def test_a_client_without_cookies_gets_links_with_a_key(server, fetch, song, connect):
    client = connect()
    client.cookies.clear()
    client.reset_session()
    address = separate(client, song[0])["files"]["f0.csv"]
    assert fetch(None, address).status_code == 200
    assert fetch(None, address.split("?")[0]).status_code == 403


def test_errors_in_plain_words(connect, tmp_path, make_song):
    client = connect()
    (tmp_path / "words.mp3").write_text("no audio, only words")
    with pytest.raises(AppError, match=r"“words\.mp3” is not audio that can be decoded"):
        separate(client, tmp_path / "words.mp3")
    long, _ = make_song(tmp_path / "long.flac", seconds=31.0, num_channels=1)
    with pytest.raises(AppError, match=r"“long\.flac” is longer than 0\.5 minutes"):
        separate(client, long)
    with pytest.raises(AppError, match="There is no song yet"):
        client.predict(None, api_name="/separate")
    with pytest.raises(AppError, match="no result in this session"):
        connect().predict(0.5, api_name="/voicing")


def test_uploads_are_limited(server):
    def upload(num_bytes, **headers):
        files = {"files": ("big.wav", b"\0" * num_bytes)}
        return httpx.post(server.url + "gradio_api/upload", files=files, headers=headers, timeout=60)

    assert upload(1000).status_code == 200
    answer = upload(9_000_000)
    assert answer.status_code == 413 and "larger than 8 MB" in answer.text

    def parts():  # an upload without a stated length is stopped on the way
        yield b'--b\r\nContent-Disposition: form-data; name="files"; filename="big.wav"\r\n\r\n'
        for _ in range(90):
            yield b"\0" * 100_000
        yield b"\r\n--b--\r\n"

    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    assert httpx.post(server.url + "gradio_api/upload", content=parts(), headers=headers).status_code == 413
    huge = httpx.post(server.url + "gradio_api/queue/join", content=b"[" * 2_000_000)
    assert huge.status_code == 413


def test_nothing_leaves_for_telemetry(server):
    config = httpx.get(server.url + "config").json()
    assert config["analytics_enabled"] is False
    page = httpx.get(server.url).text
    assert "fonts.googleapis" not in page and "fonts.gstatic" not in page


def test_many_at_once(server, connect, fetch, make_song, tmp_path):
    """4 clients, 20 requests: each gets its own complete song, and memory and disk stay within bounds."""
    psutil = pytest.importorskip("psutil")
    process = psutil.Process()
    songs = [make_song(tmp_path / f"song {n}.wav", seed=n, seconds=1.0 + 0.1 * n) for n in range(NUM_REQUESTS)]
    clients = [connect() for _ in range(NUM_CLIENTS)]
    separate(clients[0], songs[0][0])
    before = process.memory_info().rss

    def work(index):
        done = []
        for n in range(index, NUM_REQUESTS, NUM_CLIENTS):
            path, mixture = songs[n]
            result = separate(clients[index], path)
            stems = [samples(fetch(clients[index], result["files"][f"{s}.wav"])) for s in ("vocals", "accompaniment")]
            assert result["name"] == f"song {n}"
            assert np.abs(sum(stems) - mixture).max() <= np.spacing(np.abs(mixture).max())
            neighbour = clients[(index + 1) % NUM_CLIENTS]
            assert fetch(neighbour, result["files"]["vocals.wav"]).status_code == 403
            done.append(n)
        return done

    with concurrent.futures.ThreadPoolExecutor(NUM_CLIENTS) as pool:
        done = [n for part in pool.map(work, range(NUM_CLIENTS)) for n in part]
    assert sorted(done) == list(range(NUM_REQUESTS))
    assert process.memory_info().rss - before < 400e6
    for client in clients:  # one folder each: the last song's
        (session,) = [s for s in server.demo.sessions._sessions.values() if s.owner == client.cookies[COOKIE]]
        assert len(session.folders) == 1


def test_files_go_when_the_client_does(server, connect, fetch, song):
    client = connect()
    result = separate(client, song[0])
    (session,) = [s for s in server.demo.sessions._sessions.values() if s.owner == client.cookies[COOKIE]]
    kept = [session.song.folder, *map(Path, uploads_of(server, client))]
    assert len(kept) == 2 and all(path.exists() for path in kept)
    cookies = dict(client.cookies)
    client.close()
    deadline_s = time.monotonic() + 60
    while any(path.exists() for path in kept) and time.monotonic() < deadline_s:
        time.sleep(0.2)
    assert not any(path.exists() for path in kept)
    answer = httpx.get(server.url + result["files"]["vocals.wav"], cookies=cookies)
    assert answer.status_code == 404 and "Separate the song again" in answer.text


def test_cookies(server):
    plain = httpx.get(server.url).headers["set-cookie"]
    assert "HttpOnly" in plain and "SameSite=Lax" in plain and "Secure" not in plain
    framed = httpx.get(server.url, headers={"x-forwarded-proto": "https"}).headers["set-cookie"]
    assert "SameSite=None; Secure; Partitioned" in framed
    again = httpx.get(server.url, cookies={COOKIE: plain.split("=")[1].split(";")[0]})
    assert "set-cookie" not in again.headers


def test_the_api_is_described(connect):
    described = json.dumps(connect().view_api(return_format="dict"))
    assert "/separate" in described and "/voicing" in described and "on_stop" not in described
