"""The page that separates songs in the browser, in headless Chromium, with a tiny model of majl-base's types.

Runs where Chromium, npm's onnxruntime-web (from .cache/ or the registry) and the package onnx are found.
`MAJL_SCREENSHOTS` names a folder for screenshots.
"""

import os
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

pytest.importorskip("playwright", reason="needs playwright (extra dev)")
pytest.importorskip("onnx", reason="needs onnx (extra dev)")

from chromium import chromium, needs_chromium, new_users
from playwright.sync_api import expect
from static_server import serving

from majl_hf import MajlConfig, MajlModel
from majl_hf.export import read_f0_csv
from majl_hf.export.onnx_folder import export_onnx
from majl_hf.models.streaming_majl import separate_array
from majl_hf.publish.space import check_space

pytestmark = needs_chromium

PAGE = Path(__file__).parents[2] / "spaces" / "majl-in-the-browser"
RATE = 16_000
PATIENCE_MS = 1000 * int(os.environ.get("MAJL_PATIENCE_S", "60"))  # increase it on a busy machine
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
ARGUMENTS = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]


@pytest.fixture(scope="module")
def model():
    """Stereo, with a refiner that changes something; it hears a voice in about half of the frames."""
    torch.manual_seed(0)
    config = MajlConfig(
        separator_config={"preset": "spleeter-tiny", "num_channels": 2, "second_pass_frames": 3},
        pitch_estimator_config="fcpe-tiny",
        refiner_config={"n_fft": 256, "hop_length": 64, "num_bins": 64, "hidden_channels": 2},
        window_s=3.0,
        margin_s=0.5,
        voicing_bias=1.0,
    )
    model = MajlModel(config).eval()
    for name, weights in model.named_parameters():
        if ".head." in name or ".residual." in name or "upper_band" in name:  # these start at zero
            torch.nn.init.normal_(weights, std=0.2)
    return model


@pytest.fixture(scope="module")
def site(model, tmp_path_factory, load_script):
    """URL of the built page."""
    script = load_script("build_browser_space")
    exported, folder = tmp_path_factory.mktemp("model") / "exported", tmp_path_factory.mktemp("site") / "page"
    licence = tmp_path_factory.mktemp("licence") / "LICENSE"
    licence.write_text("Do what you like.")
    export_onnx(model, exported, "tiny", "", [licence])
    try:
        script.build(folder, exported)
    except script.BuildError as error:
        pytest.skip(str(error))
    assert (folder / "model" / "LICENSE").is_file()
    with serving(folder) as url:
        yield url


@pytest.fixture(scope="module")
def browser():
    with chromium(*ARGUMENTS) as browser:
        yield browser


@pytest.fixture
def open_page(browser, site):
    """`open_page(query)`: the page of a new user. It may request nothing from other hosts and raise no errors."""
    with new_users(browser, PATIENCE_MS) as new_page:

        def make(query="", **arguments):
            page = new_page((site, "data:", f"blob:{site}"), **arguments)
            page.goto(site + query)
            page.wait_for_selector("body[data-ready]")
            return page

        yield make


@pytest.fixture(scope="module")
def song(tmp_path_factory):
    """Path and samples of a song that is cut into several windows; nothing of it is alike in both channels' ends."""
    path = tmp_path_factory.mktemp("songs") / "Tom & Jerry.wav"
    return path, write_song(path, 9.3)


def write_song(path: Path, seconds: float) -> np.ndarray:
    rng = np.random.default_rng(0)
    times_s = np.arange(round(seconds * RATE)) / RATE
    voice = sum(np.sin(2 * np.pi * k * (220 * times_s + 3 * np.sin(2 * times_s))) / k for k in range(1, 6))
    loudness = np.where(times_s % 0.6 < 0.4, 1.0, 0.1)
    mixture = loudness * 0.1 * voice + rng.uniform(-0.05, 0.05, (2, len(times_s)))
    soundfile.write(path, mixture.T, RATE, subtype="FLOAT")
    return mixture.astype(np.float32)


def separate(page, path) -> None:
    page.set_input_files("#file", path)
    expect(page.locator("#status")).to_contain_text("Done:", timeout=PATIENCE_MS)


def download(page, what: str, path: Path, format: str | None = None) -> Path:
    if format:
        page.select_option("#format", format)
    with page.expect_download() as waiting:
        page.click(f"[data-save={what}]")
    waiting.value.save_as(path)
    expect(page.locator("#saved")).to_contain_text(f"{waiting.value.suggested_filename} was saved.")
    return path


def shoot(page, name: str) -> None:
    if folder := os.environ.get("MAJL_SCREENSHOTS"):
        page.screenshot(path=Path(folder) / f"browser-{name}.png", full_page=True)


def serious_faults(page) -> list[str]:
    """All problems of the page that axe-core rates serious or critical."""
    from axe_playwright_python.sync_playwright import Axe

    response = Axe().run(page).response
    assert len(response["passes"]) > 10  # it has checked something
    violations = [each for each in response["violations"] if each["impact"] in ("serious", "critical")]
    return [f"{each['id']}: {node['html'][:200]}" for each in violations for node in each["nodes"]]


def level_db(signal: np.ndarray, reference: np.ndarray) -> float:
    return 20 * np.log10(np.linalg.norm(signal) / np.linalg.norm(reference) + 1e-12)


@pytest.mark.parametrize("num_threads", [2, 1])
def test_equals_the_package(open_page, model, song, tmp_path, num_threads):
    """With threads, for which a service worker isolates the page, and on a server and browser that allow one."""
    path, mixture = song
    page = open_page(service_workers="allow" if num_threads > 1 else "block")
    assert page.evaluate("crossOriginIsolated") == (num_threads > 1)
    if num_threads == 1:
        expect(page.locator("#about")).to_contain_text("1 thread. Only one:")
    separate(page, path)
    wanted = separate_array(model, mixture, RATE)
    assert level_db(wanted.vocals, mixture) > -40  # there is something to compare
    stems = {}
    for stem in ("vocals", "accompaniment"):
        file = download(page, stem, tmp_path / stem, "wav-float")
        samples, rate = soundfile.read(file, dtype="float32", always_2d=True)
        assert (rate, samples.T.shape) == (RATE, mixture.shape)
        stems[stem] = samples.T
        assert level_db(stems[stem] - getattr(wanted, stem), getattr(wanted, stem)) < -60
    assert np.abs(stems["vocals"] + stems["accompaniment"] - mixture).max() <= np.spacing(np.abs(mixture).max())
    pitch = read_f0_csv(download(page, "f0", tmp_path / "f0.csv"))
    np.testing.assert_allclose(pitch["time_s"], wanted.frames.times_s, atol=1e-6)
    voiced = wanted.frames.voiced & (pitch["voicing"] >= model.config.voicing_threshold)
    assert voiced.sum() > 0 and (voiced != wanted.frames.voiced).mean() < 0.01
    assert (1200 * np.abs(np.log2(pitch["f0_hz"] / wanted.frames.f0_hz)))[voiced].max() < 1
    np.testing.assert_allclose(pitch["confidence"], wanted.frames.confidence, atol=1e-3)


def test_use_of_the_page(open_page, song, tmp_path):
    path, mixture = song
    page = open_page()
    assert not serious_faults(page)
    shoot(page, "start")
    separate(page, path)
    expect(page.locator("#name")).to_have_text(path.stem)
    shoot(page, "result")
    assert not serious_faults(page)

    exact = soundfile.read(download(page, "vocals", tmp_path / "stem", "wav-float"), dtype="float32")[0]
    for format, tolerance in (("wav-24", 0.51 * 2.0**-23), ("wav-16", 1.51 * 2.0**-15)):
        samples = soundfile.read(download(page, "vocals", tmp_path / "stem", format), dtype="float32")[0]
        assert soundfile.info(tmp_path / "stem").subtype == f"PCM_{format[-2:]}"
        assert np.abs(samples - np.clip(exact, -1, 1)).max() <= tolerance

    # The keyboard alone: play, seek, mute, the fader.
    play = page.locator("#play")
    play.focus()
    page.keyboard.press("Enter")
    expect(play).to_have_attribute("aria-label", "Pause")
    expect(page.locator("#clock")).to_have_text("0:01 / 0:09")
    page.keyboard.press("Enter")
    expect(play).to_have_attribute("aria-label", "Play")
    page.locator("#seek").focus()
    page.keyboard.press("Home")
    expect(page.locator("#clock")).to_have_text("0:00 / 0:09")
    mute = page.get_by_role("button", name="Mute vocals")
    mute.press("Enter")
    expect(mute).to_have_attribute("aria-pressed", "true")
    fader = page.get_by_role("slider", name="Accompaniment level")
    fader.press("Home")
    expect(fader).to_have_attribute("aria-valuetext", "off")

    # The plot: a click seeks, buttons and keys zoom and move.
    plot = page.locator("#plot")
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    page.mouse.click(box["x"] + 44 + (box["width"] - 44) / 2, box["y"] + 50)
    assert float(page.input_value("#seek")) == pytest.approx(mixture.shape[1] / RATE / 2, abs=0.1)
    whole = shown(page)
    page.get_by_role("button", name="Zoom in").click()
    zoomed = shown(page)
    assert zoomed[1] - zoomed[0] == pytest.approx((whole[1] - whole[0]) / 2)
    plot.press("ArrowRight")
    assert shown(page)[0] > zoomed[0]
    shoot(page, "zoomed")
    page.get_by_role("button", name="Whole song").click()
    assert shown(page) == whole

    page.emulate_media(color_scheme="dark")
    assert not serious_faults(page)
    shoot(page, "dark")
    page.set_viewport_size(PHONE)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    assert not serious_faults(page)
    shoot(page, "phone")


def shown(page) -> list[float]:
    """The seconds that the plot shows."""
    return [float(second) for second in page.get_attribute("#plot", "data-range").split()]


def write_long_wav(path: Path) -> None:
    """31 minutes of silence, of one byte a sample at 3 kHz."""
    count, rate = 31 * 60 * 3000, 3000
    format = struct.pack("<HHIIHH", 1, 1, rate, rate, 1, 8)
    chunks = b"WAVEfmt " + struct.pack("<I", len(format)) + format + b"data" + struct.pack("<I", count)
    path.write_bytes(b"RIFF" + struct.pack("<I", len(chunks) + count) + chunks + b"\x80" * count)


def test_problems_are_explained(open_page, song, tmp_path):
    page = open_page()
    error = page.locator("#error")
    (tmp_path / "words.mp3").write_text("no audio, only words")
    page.set_input_files("#file", tmp_path / "words.mp3")
    expect(error).to_contain_text("“words.mp3” is not audio that this browser can decode.")
    shoot(page, "problem")
    write_long_wav(tmp_path / "long.wav")
    page.set_input_files("#file", tmp_path / "long.wav")
    expect(error).to_contain_text("“long.wav” lasts 31 minutes, and a browser has memory for 30.")
    expect(page.locator("#drop")).to_be_visible()

    # Cancel, then another song.
    write_song(tmp_path / "longer.wav", 120.0)
    page.set_input_files("#file", tmp_path / "longer.wav")
    expect(page.locator("#progress")).to_contain_text("of 120 s of audio done")
    expect(error).to_be_hidden()
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("#status")).to_have_text("Cancelled.")
    separate(page, song[0])
    expect(page.locator("#name")).to_have_text(song[0].stem)


def test_microphone(open_page):
    page = open_page()
    page.get_by_role("button", name="Show my pitch").click()
    expect(page.locator("#delay")).to_contain_text("ms after it was sung")
    expect(page.locator("#live-note")).not_to_be_empty()
    shoot(page, "microphone")
    page.get_by_role("button", name="Stop listening").click()
    expect(page.locator("#listen-status")).to_be_empty()


def test_the_space():
    metadata = check_space(PAGE)
    assert metadata["sdk"] == "static" and metadata["app_file"] == "index.html"
