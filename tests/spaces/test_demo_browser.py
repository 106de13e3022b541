"""The page in headless Chromium: every control used once with a song, accessibility, two users.

Runs if Chromium is found (`apt-get install chromium`, or its path in `MAJL_CHROMIUM`). `MAJL_SCREENSHOTS` names a
folder for screenshots; `MAJL_TEST_SONG` a real song for the slow test of majl-base.
"""

import contextlib
import io
import os
import re
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

pytest.importorskip("gradio", reason="needs the extra demo")
pytest.importorskip("playwright", reason="needs playwright (extra dev)")

from playwright.sync_api import expect, sync_playwright

from majl_hf.audio import read_audio
from majl_hf.demo.downloads import DOWNLOADS
from majl_hf.demo.separation import Progress, SeparationStopped
from majl_hf.export import read_f0_csv

CHROMIUM = os.environ.get("MAJL_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--autoplay-policy=no-user-gesture-required",
]
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
PATIENCE_MS = 1000 * int(os.environ.get("MAJL_PATIENCE_S", "60"))  # increase it on a busy machine
# Elements of the page that contain our own markup; the rest is gradio's, plotly's or the browser's.
OURS = ".majl-intro, #majl-status, #majl-players, #majl-facts, #majl-downloads, .majl-hint, .majl-section"
X_RANGE = "document.querySelector('#majl-plot .js-plotly-plot')._fullLayout.xaxis.range"
PLAYERS = "[...document.querySelectorAll('.majl-player audio')]"


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser):
    """`open_page(url)`: the page of a new user. At the end, no page may have requested anything from other hosts."""
    contexts, problems = [], []

    def make(url, viewport=DESKTOP, **arguments):
        context = browser.new_context(viewport=viewport, accept_downloads=True, **arguments)
        context.set_default_timeout(PATIENCE_MS)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: problems.append(f"error on the page: {error}"))
        page.on(
            "request",
            lambda request: request.url.startswith((url, "data:", "blob:")) or problems.append(f"asked {request.url}"),
        )
        page.goto(url)
        expect(page.locator("#majl-separate")).to_be_enabled(timeout=PATIENCE_MS)
        return page

    yield make
    for context in contexts:
        context.close()
    assert not problems


def shoot(page, name: str) -> None:
    if folder := os.environ.get("MAJL_SCREENSHOTS"):
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


def upload(page, path) -> None:
    page.set_input_files("#majl-song input[type=file]", path)
    expect(page.locator("#majl-song input[type=file]")).to_have_count(0)


def separate(page, patience_ms: int = PATIENCE_MS) -> None:
    page.click("#majl-separate")
    expect(page.locator("#majl-plot .js-plotly-plot .main-svg").first).to_be_visible(timeout=patience_ms)
    page.wait_for_function(f"{PLAYERS}.length == 3 && {PLAYERS}.every(p => p.readyState >= 1)")


def fetch_everything(page) -> dict[str, bytes]:
    """Click every download; bytes by file."""
    fetched = {}
    for link in page.locator(".majl-download").all():
        file = link.get_attribute("data-file")
        with page.expect_download() as waiting:
            link.click()
        assert waiting.value.suggested_filename.endswith(f".{file}")
        fetched[file] = Path(waiting.value.path()).read_bytes()
    return fetched


def check_downloads(fetched: dict[str, bytes], mixture: np.ndarray, rate: int, tmp_path: Path) -> None:
    """Every file has the format of its name; stems have the song's rate and shape and add up to it."""
    assert fetched.keys() == {file for file, download in DOWNLOADS.items() if download.offered}
    stems = {}
    for file in ("vocals.wav", "accompaniment.wav", "vocals.flac", "accompaniment.flac"):
        samples, stem_rate = soundfile.read(io.BytesIO(fetched[file]), dtype="float32", always_2d=True)
        assert (stem_rate, samples.T.shape) == (rate, mixture.shape), file
        stems[file] = samples.T
    peak = np.abs(mixture).max()
    assert np.abs(stems["vocals.wav"] + stems["accompaniment.wav"] - mixture).max() <= np.spacing(peak)
    if peak < 1 and max(np.abs(stem).max() for stem in stems.values()) < 1:
        assert np.abs(stems["vocals.flac"] + stems["accompaniment.flac"] - mixture).max() <= 2.0**-24
    tables = {}
    for file in ("f0.csv", "f0.sung.csv"):
        (tmp_path / file).write_bytes(fetched[file])
        tables[file] = read_f0_csv(tmp_path / file)
    assert (tables["f0.csv"]["f0_hz"] > 0).all()
    assert tables["f0.csv"]["time_s"][-1] == pytest.approx(mixture.shape[1] / rate, abs=0.05)
    sung = tables["f0.sung.csv"]["f0_hz"] > 0
    np.testing.assert_array_equal(tables["f0.sung.csv"]["f0_hz"][sung], tables["f0.csv"]["f0_hz"][sung])
    assert fetched["f0.png"].startswith(b"\x89PNG") and len(fetched["f0.png"]) > 10_000


def set_threshold(page, value: float) -> None:
    number = page.locator("#majl-threshold input[type=number]")
    number.fill(f"{value:.2f}")
    number.press("Enter")
    expect(page.locator("[data-file='f0.sung.csv']")).to_have_attribute("href", re.compile(rf"threshold={value:g}\b"))


def x_range(page) -> list[float]:
    return page.evaluate(f"{X_RANGE}.slice()")


def serious_faults(page) -> list[str]:
    """All problems of the page that axe-core rates serious or critical."""
    from axe_playwright_python.sync_playwright import Axe

    response = Axe().run(page).response
    assert len(response["passes"]) > 10  # it has checked something
    violations = response["violations"]
    return [
        f"{violation['id']}: {node['html'][:200]} ({' '.join(map(str, node['target']))})"
        for violation in violations
        if violation["impact"] in ("serious", "critical")
        for node in violation["nodes"]
        if page.evaluate(
            "([target, ours]) => !!document.querySelector(target)?.closest(ours)", [node["target"][-1], OURS]
        )
    ]


def use_everything(page, mixture: np.ndarray, rate: int, tmp_path: Path, name: str) -> None:
    """A page with a result: players, playhead, hover, zoom, slider, downloads, accessibility, phone."""
    shoot(page, f"{name}-result")
    duration_s = mixture.shape[1] / rate
    assert page.evaluate(f"{PLAYERS}.map(p => p.duration)") == pytest.approx([duration_s] * 3, abs=0.06)
    assert not serious_faults(page)

    # One player at a time, at one place; the playhead follows.
    page.evaluate(f"{PLAYERS}[1].play()")
    page.wait_for_function(f"{PLAYERS}[1].currentTime > 0.3")
    page.evaluate(f"{PLAYERS}[2].play()")
    page.wait_for_function(f"{PLAYERS}[1].paused && {PLAYERS}[2].currentTime > 0.3")
    expect(page.locator("#majl-playhead")).to_be_visible()
    page.evaluate(f"{PLAYERS}[2].pause()")
    plot = page.locator("#majl-plot .js-plotly-plot")
    plot.scroll_into_view_if_needed()
    box = page.locator("#majl-plot .nsewdrag").first.bounding_box()

    # A click in the middle goes to the middle of the song; hovering shows the note.
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.wait_for_function(f"Math.abs({PLAYERS}[2].currentTime - {duration_s / 2}) < {0.02 * duration_s + 0.05}")

    set_threshold(page, 0.01)
    assert page.evaluate("document.querySelectorAll('#majl-plot .scatterlayer .trace').length") == 3
    for step in range(40):
        page.mouse.move(box["x"] + box["width"] * (0.05 + 0.022 * step), box["y"] + box["height"] / 2, steps=2)
        time.sleep(0.1)
        shown = " ".join(page.locator("#majl-plot .hoverlayer text").all_text_contents())
        if "Hz" in shown:
            break
    assert re.search(r"[A-G]♯?\d [+−]\d+ ct.*Hz.*voicing \d+%", shown), shown
    shoot(page, f"{name}-hover")

    # A drag zooms, and the slider keeps the zoom and what was computed.
    before = page.get_attribute("[data-file='vocals.wav']", "href")
    page.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + 0.5 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 0.5 * box["height"], steps=5)
    page.mouse.up()
    page.wait_for_function(f"{X_RANGE}[0] > {0.2 * duration_s}")
    zoomed = x_range(page)
    all_sung = page.inner_text("#majl-facts")
    set_threshold(page, 0.99)
    assert page.inner_text("#majl-facts") != all_sung
    page.wait_for_function(
        f"([low, high]) => {{ const [a, b] = {X_RANGE}; return Math.abs(a - low) + Math.abs(b - high) < 1e-3 }}",
        arg=zoomed,
    )
    shoot(page, f"{name}-zoomed")
    for _ in range(20):  # on a busy machine the two clicks may come too far apart
        page.mouse.dblclick(box["x"] + 0.5 * box["width"], box["y"] + 0.5 * box["height"])
        page.wait_for_timeout(1000)
        if x_range(page)[1] > 0.95 * duration_s:
            break
    assert x_range(page) == pytest.approx([0, duration_s], abs=0.05)
    set_threshold(page, 0.5)
    assert page.get_attribute("[data-file='vocals.wav']", "href") == before

    check_downloads(fetch_everything(page), mixture, rate, tmp_path)

    page.set_viewport_size(PHONE)
    page.wait_for_function("document.querySelector('#majl-plot .main-svg').getBoundingClientRect().width < 390")
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    assert not serious_faults(page)
    shoot(page, f"{name}-phone")


def test_a_song(server, open_page, make_song, tmp_path):
    path, mixture = make_song(tmp_path / "Tom & Jerry's Lied.wav", seconds=4.0)
    page = open_page(server.url)
    expect(page.locator(".majl-limits")).to_contain_text("up to 0.5 minutes and 8 MB")
    assert not serious_faults(page)
    shoot(page, "tiny-start")
    upload(page, path)
    separate(page)
    assert page.locator(".majl-name").inner_text() == path.stem
    use_everything(page, mixture, 44_100, tmp_path, "tiny")


def test_a_bad_file_and_then_a_good_one(server, open_page, make_song, tmp_path):
    (tmp_path / "words.mp3").write_text("no audio, only words")
    page = open_page(server.url, PHONE)
    page.click("#majl-separate")
    expect(page.get_by_role("alert")).to_contain_text("There is no song yet")
    upload(page, tmp_path / "words.mp3")
    page.click("#majl-separate")
    expect(page.get_by_role("alert")).to_contain_text("“words.mp3” is not audio that can be decoded")
    assert not serious_faults(page)
    shoot(page, "bad-file")
    page.reload()
    upload(page, make_song(tmp_path / "good.wav")[0])
    separate(page)
    expect(page.get_by_role("alert")).to_have_count(0)


def test_two_users(server, open_page, make_song, tmp_path):
    pages = [open_page(server.url) for _ in range(2)]
    for index, page in enumerate(pages):
        upload(page, make_song(tmp_path / f"song {index}.wav", seed=index)[0])
    for page in pages:
        page.click("#majl-separate")
    for index, page in enumerate(pages):
        expect(page.locator(".majl-name")).to_have_text(f"song {index}", timeout=PATIENCE_MS)
    links = [page.get_attribute("[data-file='vocals.wav']", "href") for page in pages]
    assert links[0] != links[1]
    status = [[page.request.get(server.url + link).status for link in links] for page in pages]
    assert status == [[200, 403], [403, 200]]


def test_progress_and_stop(server, open_page, make_song, tmp_path, monkeypatch):
    from majl_hf.demo import app

    stopped = []

    def endless(model, source, file_name, folder, limits, should_stop):
        for second in range(10_000):
            if should_stop():
                stopped.append(file_name)
                raise SeparationStopped
            yield Progress(second % 200, 200.0)
            time.sleep(0.05)

    monkeypatch.setattr(app, "separate_file", endless)
    page = open_page(server.url)
    upload(page, make_song(tmp_path / "a.wav")[0])
    page.click("#majl-separate")
    expect(page.get_by_role("status").filter(has_text="of 200 s of audio done")).to_be_visible()
    expect(page.locator("#majl-status progress")).to_have_attribute("max", "200")
    shoot(page, "progress")
    assert not serious_faults(page)
    page.click("#majl-stop")
    expect(page.locator("#majl-status")).to_contain_text("Stopped. Nothing was kept.")
    expect(page.locator("#majl-separate")).to_be_enabled()
    deadline_s = time.monotonic() + 20
    while any(session.folders for session in server.demo.sessions._sessions.values() if session.stop.is_set()):
        assert time.monotonic() < deadline_s, "the folder of the stopped song is still there"
        time.sleep(0.1)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_real_song(open_page, tmp_path):
    """majl-base, at its own limits, on the song of `MAJL_TEST_SONG` or else the example; also in dark colours."""
    from majl_hf import MajlModel
    from majl_hf.demo.app import launch

    song = os.environ.get("MAJL_TEST_SONG")
    with contextlib.ExitStack() as stack:
        running = stack.enter_context(launch(MajlModel.from_pretrained("majl-base").eval(), host="127.0.0.1"))
        page = open_page(running.url)
        shoot(page, "real-start")
        if song:
            upload(page, song)
            mixture, rate = read_audio(song)
        else:
            page.click("#majl-example")
            expect(page.locator("#majl-song input[type=file]")).to_have_count(0)
            mixture, rate = read_audio(running.demo.example)
        separate(page, max(600_000, PATIENCE_MS))
        page.wait_for_timeout(1000)
        use_everything(page, mixture, rate, tmp_path, "real")
        page.set_viewport_size(DESKTOP)
        page.emulate_media(color_scheme="dark")
        page.evaluate("document.body.classList.add('dark')")
        page.wait_for_timeout(500)
        shoot(page, "real-dark")
