"""The page in headless Chromium: every control used once with a song, accessibility, two users.

Runs if Chromium is found (`apt-get install chromium`, or its path in `MAJL_CHROMIUM`). `MAJL_SCREENSHOTS` names a
folder for screenshots; `MAJL_TEST_SONG` a real song for the slow test of majl-base.
"""

import contextlib
import io
import os
import re
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

pytest.importorskip("gradio", reason="needs the extra demo")
pytest.importorskip("playwright", reason="needs playwright (extra dev)")

from chromium import DESKTOP, chromium, needs_chromium, new_users
from playwright.sync_api import expect

from majl_hf.audio import read_audio
from majl_hf.demo.downloads import DOWNLOADS
from majl_hf.demo.separation import Progress, SeparationStopped
from majl_hf.export import read_f0_csv

pytestmark = needs_chromium

PHONE = {"width": 390, "height": 844}
MOST_CLICKS = 6
PATIENCE_MS = 1000 * int(os.environ.get("MAJL_PATIENCE_S", "60"))  # increase it on a busy machine
# Elements of the page that contain our own markup; the rest is gradio's or the browser's.
OURS = (
    ".majl-intro, #majl-status, #majl-desk, #majl-facts, #majl-notes, .majl-table, #majl-downloads, .majl-hint, "
    ".majl-section"
)
ROLL, DESK = "document.querySelector('majl-roll')", "document.querySelector('majl-desk')"
# Records every block that is played: when it starts, from where in the block, and how long the block is.
WATCH_SOURCES = """
    window.started = [];
    const start = AudioBufferSourceNode.prototype.start;
    AudioBufferSourceNode.prototype.start = function (when, offset) {
      window.started.push([when, offset, this.buffer.duration, this.buffer.numberOfChannels]);
      start.call(this, when, offset);
    };
"""


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


@pytest.fixture
def open_page(browser):
    """`open_page(url)`: the page of a new user. At the end, no page may have requested anything from other hosts."""
    with new_users(browser, PATIENCE_MS) as new_page:

        def make(url, *arguments, **options):
            page = new_page((url, "data:", "blob:"), *arguments, **options)
            page.add_init_script(WATCH_SOURCES)
            page.goto(url)
            expect(page.locator("#majl-separate")).to_be_enabled(timeout=PATIENCE_MS)
            return page

        yield make


def shoot(page, name: str) -> None:
    if folder := os.environ.get("MAJL_SCREENSHOTS"):
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


def upload(page, path) -> None:
    page.set_input_files("#majl-song input[type=file]", path)
    expect(page.locator("#majl-song input[type=file]")).to_have_count(0)


def separate(page, patience_ms: int = PATIENCE_MS) -> None:
    page.click("#majl-separate")
    expect(page.locator("majl-roll canvas")).to_be_visible(timeout=patience_ms)
    page.wait_for_function(f"{ROLL}.image?.complete && {DESK}.duration > 0")


def fetch_everything(page) -> dict[str, bytes]:
    """Click the first downloads and request the others, of which Chromium drops some in quick succession; bytes by
    file."""
    fetched = {}
    for number, link in enumerate(page.locator(".majl-download").all()):
        file = link.get_attribute("data-file")
        if number >= MOST_CLICKS:
            response = page.request.get(link.evaluate("link => link.href"), timeout=PATIENCE_MS)
            assert response.ok, file
            fetched[file] = response.body()
            continue
        with page.expect_download(timeout=PATIENCE_MS) as waiting:
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
    assert fetched["notes.png"].startswith(b"\x89PNG") and len(fetched["notes.png"]) > 10_000
    assert fetched["notes.csv"].count(b"\n") > 1
    melody, melody_rate = soundfile.read(io.BytesIO(fetched["melody.flac"]))
    assert (melody_rate, melody.shape) == (rate, mixture.shape[1:]) and np.abs(melody).max() > 0.01


def set_threshold(page, value: float) -> None:
    set_slider(page, "majl-voicing", value, "f0.sung.csv", "voicing_threshold")


def set_slider(page, name: str, value: float, file: str, setting: str) -> None:
    """Move a slider and wait until the link to a file that depends on it has changed."""
    number = page.locator(f"#{name} input[type=number]")
    number.fill(f"{value:.2f}")
    number.press("Enter")
    expect(page.locator(f"[data-file='{file}']")).to_have_attribute("href", re.compile(rf"{setting}={value:g}\b"))


def in_view(page) -> list[float]:
    return page.evaluate(f"{ROLL}.range")


def gains(page) -> list[float]:
    """Of voice, accompaniment and melody, once they have settled."""
    page.wait_for_timeout(150)
    return [round(gain, 2) for gain in page.evaluate(f"Object.values({DESK}.gains)")]


def use_the_desk(page, duration_s: float) -> None:
    """Play, mute, solo, faders, seeking by bar, keyboard and piano roll; at the end it is paused."""
    play = page.get_by_role("button", name="Play", exact=True).and_(page.locator(".majl-play"))
    mute, solo = (page.get_by_role("button", name=f"{name} voice") for name in ("Mute", "Solo"))
    assert page.evaluate(f"{DESK}.duration") == pytest.approx(duration_s, abs=1e-3)
    assert gains(page) == [1, 1, 0] and page.evaluate(f"{DESK}.paused")
    play.click()
    page.wait_for_function(f"{DESK}.currentTime > 0.3")
    expect(page.get_by_role("button", name="Pause", exact=True)).to_be_visible()
    expect(page.locator("majl-roll .playhead")).to_be_visible()
    page.wait_for_function("window.started.length == 2")

    # All tracks are in one source, and each block starts on the sample where the one before ends.
    rate = page.evaluate(f"{DESK}.context.sampleRate")
    (when, offset, length, num_channels), (next_when, next_offset, *_) = page.evaluate("window.started.slice(0, 2)")
    assert (offset, next_offset, num_channels) == (0, 0, 5)
    assert (next_when - when) * rate == pytest.approx(length * rate, abs=1e-3)
    assert when * rate == pytest.approx(round(when * rate), abs=1e-3)

    mute.click()
    assert gains(page) == [0, 1, 0]
    expect(mute).to_have_attribute("aria-pressed", "true")
    page.get_by_role("button", name="Solo melody").click()
    assert gains(page) == [0, 0, 1]
    solo.click()
    assert gains(page) == [1, 0, 1]  # what is solo is heard, also if it is muted
    for button in (solo, page.get_by_role("button", name="Solo melody"), mute):
        button.click()
    fader = page.get_by_role("slider", name="Accompaniment level")
    fader.focus()
    for _ in range(6):
        page.keyboard.press("ArrowLeft")
    expect(fader).to_have_attribute("aria-valuetext", "−6 dB")
    assert gains(page) == [1, 0.5, 0]
    page.keyboard.press("Home")
    expect(fader).to_have_attribute("aria-valuetext", "off")
    assert gains(page) == [1, 0, 0]
    fader.fill("0")

    # Seeking plays on from there, from the sample inside the block.
    position = page.get_by_role("slider", name="Position")
    page.evaluate("window.started = []")
    position.fill("1.4")
    page.wait_for_function(f"{DESK}.currentTime > 1.6 && {DESK}.currentTime < 3 && window.started.length > 1")
    (when, offset, length, _), (next_when, next_offset, *_) = page.evaluate("window.started.slice(0, 2)")
    assert offset == pytest.approx(1.4, abs=0.02) and offset * rate == pytest.approx(round(offset * rate), abs=1e-6)
    assert (next_when - when) * rate == pytest.approx((length - offset) * rate, abs=1e-3) and next_offset == 0
    page.evaluate(f"{DESK}.pause()")
    expect(play).to_be_visible()
    position.focus()
    page.keyboard.press("Home")
    assert page.evaluate(f"{DESK}.currentTime") == 0
    expect(position).to_have_attribute("aria-valuetext", re.compile(r"^0:00 of "))
    roll = page.locator("majl-roll .view")
    roll.scroll_into_view_if_needed()
    box = roll.bounding_box()
    page.mouse.click(box["x"] + 40 + (box["width"] - 40) / 4, box["y"] + 50)
    assert page.evaluate(f"{DESK}.currentTime") == pytest.approx(duration_s / 4, abs=0.02 * duration_s)

    # Towards the end it stops, and begins again.
    page.evaluate(f"{DESK}.currentTime = {duration_s} - 0.4")
    play.focus()
    page.keyboard.press("Space")
    page.wait_for_function(f"{DESK}.paused && {DESK}.currentTime == {DESK}.duration")
    page.keyboard.press("Space")
    page.wait_for_function(f"!{DESK}.paused && {DESK}.currentTime < 1")
    page.keyboard.press("Space")
    assert page.evaluate(f"{DESK}.paused")


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
    """A page with a result: desk, piano roll, sliders, downloads, accessibility, phone."""
    shoot(page, f"{name}-result")
    duration_s = mixture.shape[1] / rate
    assert not serious_faults(page)
    use_the_desk(page, duration_s)

    # Hovering shows the note and the pitch.
    set_threshold(page, 0.01)
    roll = page.locator("majl-roll .view")
    roll.scroll_into_view_if_needed()
    box = roll.bounding_box()
    for step in range(40):
        page.mouse.move(box["x"] + 40 + (box["width"] - 40) * (0.02 + 0.024 * step), box["y"] + 100)
        shown = page.locator("majl-roll .tip").inner_text()
        if "Hz" in shown and "note" in shown:
            break
    pitch = r"[A-G]♯?\d [+−]\d+ ct"
    assert re.search(rf"note {pitch}.*\n(.*\n)*{pitch}, [\d.]+ Hz, voicing \d+ %", shown), shown
    shoot(page, f"{name}-hover")

    # A drag zooms, and the sliders keep the zoom and what was computed.
    before = page.get_attribute("[data-file='vocals.wav']", "href")
    page.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + 0.5 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 0.5 * box["height"], steps=5)
    page.mouse.up()
    zoomed = in_view(page)
    assert 0.2 * duration_s < zoomed[0] < zoomed[1] < 0.6 * duration_s
    all_sung = page.inner_text("#majl-facts")
    set_threshold(page, 0.99)
    assert page.inner_text("#majl-facts") != all_sung
    assert in_view(page) == zoomed
    shoot(page, f"{name}-zoomed")
    page.get_by_role("button", name="Later").click()
    assert in_view(page)[0] > zoomed[0]
    for button in ("Earlier", "Zoom out"):
        page.get_by_role("button", name=button).click()
    assert in_view(page)[1] - in_view(page)[0] == pytest.approx(min(duration_s, 2 * (zoomed[1] - zoomed[0])), abs=0.01)
    page.get_by_role("button", name="Whole song").click()
    assert in_view(page) == pytest.approx([0, duration_s], abs=0.01)
    set_threshold(page, 0.5)
    assert page.get_attribute("[data-file='vocals.wav']", "href") == before

    # Other notes are shown, and the melody goes on with them while it plays.
    page.evaluate(f"{DESK}.play()")
    page.wait_for_function(f"{DESK}.currentTime > 0.1")
    notes = page.evaluate(f"{ROLL}.data.notes.length")
    with page.expect_request(re.compile(r"desk/\d+\?.*min_note_s=0\.9")):
        set_slider(page, "majl-min-note", 0.9, "notes.csv", "min_note_s")
    assert page.evaluate(f"{ROLL}.data.notes.length") < notes
    assert page.evaluate(f"!{DESK}.paused")
    page.evaluate(f"{DESK}.pause()")
    set_slider(page, "majl-min-note", 0.06, "notes.csv", "min_note_s")
    page.get_by_role("button", name="Table of notes").click()
    expect(page.locator(".majl-table tbody tr")).to_have_count(notes)

    check_downloads(fetch_everything(page), mixture, rate, tmp_path)

    page.set_viewport_size(PHONE)
    page.wait_for_function(f"{ROLL}.canvas.getBoundingClientRect().width < 390")
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

    # A second song, while the first one plays.
    page.evaluate(f"{DESK}.play()")
    second, mixture = make_song(tmp_path / "second.wav", seed=1, seconds=3.0)
    page.get_by_role("button", name="Clear").click()
    upload(page, second)
    page.click("#majl-separate")
    expect(page.locator(".majl-name")).to_have_text("second")
    page.wait_for_function(f"{DESK}.duration == 3 && {ROLL}.data.duration == 3")
    assert page.evaluate(f"[{DESK}.paused, {DESK}.currentTime]") == [True, 0]
    page.get_by_role("button", name="Play", exact=True).and_(page.locator(".majl-play")).click()
    page.wait_for_function(f"{DESK}.currentTime > 0.2")
    assert gains(page) == [1, 1, 0]


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
    from majl_hf.demo import zero_gpu

    stopped = []

    def endless(model, source, file_name, folder, limits, should_stop):
        for second in range(10_000):
            if should_stop():
                stopped.append(file_name)
                raise SeparationStopped
            yield Progress(second % 200, 200.0)
            time.sleep(0.05)

    monkeypatch.setattr(zero_gpu, "separate_file", endless)
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
