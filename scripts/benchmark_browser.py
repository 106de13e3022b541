"""How fast the page in the browser is: a song in headless Chromium, by WebAssembly.

    python scripts/benchmark_browser.py PAGE SONG [--threads 2] [--runs 3] [--compare]

PAGE is a folder that scripts/build_browser_space.py wrote. Prints for each run the real-time factor (seconds of
computing for one second of audio, loading the model not counted), the seconds of CPU time that all of Chromium's
processes took for a second of audio, loading included, and the machine's load. With `--compare`, also how much the
results differ from those of `majl_hf.separate`.
"""

import argparse
import functools
import os
import re
import shutil
import sys
import tempfile
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

CHROMIUM = os.environ.get("MAJL_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
PATIENCE_MS = 600_000


class _Handler(SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


def cpu_seconds(profile: str) -> float:
    """CPU time of the processes that use a Chromium profile, and of those that they started."""
    parents, seconds, own = {}, {}, set()
    for entry in Path("/proc").iterdir():
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            command = (entry / "cmdline").read_text()
        except OSError:
            continue
        if not entry.name.isdigit():
            continue
        parents[entry.name] = fields[1]
        seconds[entry.name] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        if profile in command:
            own.add(entry.name)
    grown = True
    while grown:
        more = {process for process, parent in parents.items() if parent in own} - own
        own |= more
        grown = bool(more)
    return sum(seconds[process] for process in own)


def measure(page_folder: Path, song: Path, num_threads: int, results: Path | None = None) -> tuple[float, float, str]:
    """Seconds of computing as the page says them, and CPU seconds, both for a second of audio, and how it computed.
    Vocals and pitch are downloaded into the folder `results`."""
    from playwright.sync_api import expect, sync_playwright

    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Handler, directory=str(page_folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory(prefix="majl-chromium-") as profile, sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            profile, executable_path=CHROMIUM, args=["--no-sandbox", "--disable-background-networking"]
        )
        page = context.pages[0]
        page.goto(f"http://127.0.0.1:{server.server_port}/?device=wasm&threads={num_threads}")
        page.wait_for_selector("body[data-ready]")
        page.set_input_files("#file", song)
        expect(page.locator("#status")).to_contain_text("Done:", timeout=PATIENCE_MS)
        audio_s, computing_s = map(float, page.get_attribute("#status", "data-seconds").split())
        about, cpu_s = page.inner_text("#about"), cpu_seconds(profile)
        if results is not None:
            page.select_option("#format", "wav-float")
            for what in ("vocals", "f0"):
                with page.expect_download() as waiting:
                    page.click(f"[data-save={what}]")
                waiting.value.save_as(results / what)
        context.close()
    server.shutdown()
    return computing_s / audio_s, cpu_s / audio_s, re.sub(r"\.\s.*", ".", about)


def compare(song: Path, results: Path) -> str:
    """The page's results against the package's."""
    import numpy as np
    import soundfile

    from majl_hf import separate
    from majl_hf.export import read_f0_csv

    samples, rate = soundfile.read(song, dtype="float32", always_2d=True)
    expected = separate(samples.T, rate)
    vocals = soundfile.read(results / "vocals", dtype="float32", always_2d=True)[0].T
    noise_db = 10 * np.log10(np.square(vocals - expected["vocals"]).sum() / np.square(expected["vocals"]).sum())
    f0 = read_f0_csv(results / "f0")
    voiced, cents = expected["voiced"], 1200 * np.abs(np.log2(f0["f0_hz"] / expected["f0_hz"]))
    num_voiced = int(voiced.sum())
    return (
        f"vocals differ by {noise_db:.1f} dB; f0 by {cents[voiced].max():.3f} cents at most, and voicing by "
        f"{np.abs(f0['voicing'] - expected['voicing']).max():.4f}, in {num_voiced} sung of {len(voiced)} frames"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("page", type=Path, metavar="PAGE")
    parser.add_argument("song", type=Path, metavar="SONG")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--compare", action="store_true", help="with the results of the package")
    arguments = parser.parse_args()
    if CHROMIUM is None:
        sys.exit("benchmark_browser.py: no Chromium is installed; give its path in MAJL_CHROMIUM.")
    for _ in range(arguments.runs):
        load = os.getloadavg()[0]
        with tempfile.TemporaryDirectory() as folder:
            results = Path(folder) if arguments.compare else None
            factor, cpu, about = measure(arguments.page, arguments.song, arguments.threads, results)
            loads = f"load before {load:.1f}, after {os.getloadavg()[0]:.1f}"
            print(f"RTF {factor:.3f}, CPU {cpu:.3f}, {loads}. {about}", flush=True)
            if results is not None:
                print(compare(arguments.song, results), flush=True)


if __name__ == "__main__":
    main()
