"""The page, its events, and `launch`."""

import contextlib
import functools
import inspect
import os
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path

from ..errors import MajlError
from . import fragments
from .downloads import DOWNLOADS, checked_threshold
from .example_song import write_example_song
from .figure import FONT, pitch_figure
from .guard import SessionGuard, Uploads, cookie_key, file_url, result_route
from .limits import Limits
from .separation import Progress, SeparatedSong, SeparationStopped, separate_file
from .sessions import Session, Sessions
from .voicing import decide_voiced, describe_voice

try:
    import gradio as gr
    import plotly  # noqa: F401  (imported here so that its absence is reported before a song is processed)
    from gradio.components.plot import PlotData
except ImportError as error:
    raise MajlError(f"The demo needs {error.name}, which is not installed; run: pip install 'majl_hf[demo]'") from error

TITLE = "Vocals, accompaniment and the sung pitch"
STOPPED = "Stopped. Nothing was kept."
_HERE = Path(__file__).parent


class Demo:
    """The events of the page, for one model.

    Args:
        model: `MajlModel` in evaluation mode; shared by all sessions, one song at a time.
        limits: What is accepted.
        root: Folder for all stored files; default: a temporary one that only this user can read.
    """

    def __init__(self, model, limits: Limits, root: Path | None = None):
        self.model, self.limits = model, limits
        self.sessions, self.uploads = Sessions(limits, root), Uploads()

    @property
    def threshold(self) -> float:
        return checked_threshold(self.model.config.voicing_threshold)

    def separate(self, path: str | None, session: Session) -> Iterator[Progress | SeparatedSong]:
        """Separate an upload; the song becomes the session's result. Errors as for `separate_file`."""
        if path is None:
            raise MajlError("There is no song yet. Upload one, record one, or use the example.")
        folder = self.sessions.start(session)
        stop = session.stop
        done = False
        try:
            for step in separate_file(self.model, Path(path), Path(path).name, folder, self.limits, stop.is_set):
                if isinstance(step, SeparatedSong):
                    self.sessions.finish(session, step)
                    done = True
                yield step
        finally:  # also if gradio drops the event because the page was closed
            if not done:
                self.sessions.discard(session, folder)

    def session(self, request: gr.Request) -> Session:
        return self.sessions.open(request.session_hash, cookie_key(request))

    def url(self, session: Session):
        """`url(file, **arguments)`: URL of a file of the session's song."""
        return functools.partial(file_url, session.token, key=None if session.in_cookie else session.owner)

    def shown(self, session: Session, threshold: float) -> tuple[str, PlotData, str]:
        """Facts, plot and downloads at a threshold."""
        song, url = session.song, self.url(session)
        voiced = decide_voiced(song.frames.voicing, song.policy, threshold)
        facts = fragments.facts_html(song, describe_voice(song.frames.f0_hz, voiced))
        plot = PlotData(type="plotly", plot=pitch_figure(song, voiced, threshold, url("spectrogram.png")))
        return facts, plot, fragments.downloads_html(session, url, threshold)

    def facts(self, session: Session, threshold: float) -> dict:
        """The result for programs: numbers, and URLs relative to the server's."""
        song, url = session.song, self.url(session)
        voiced = decide_voiced(song.frames.voicing, song.policy, threshold)
        return {
            "name": song.name,
            "sampling_rate": song.sampling_rate,
            "num_channels": song.num_channels,
            "num_samples": song.num_samples,
            "voicing_threshold": threshold,
            **vars(describe_voice(song.frames.f0_hz, voiced)),
            "warnings": list(song.warnings),
            "files": {
                file: url(file, threshold=threshold if download.uses_threshold else None)
                for file, download in DOWNLOADS.items()
            },
        }

    # Events of the page.

    def on_separate(self, path: str | None, request: gr.Request) -> Iterator[dict | list]:
        """Progress, then the result: status, results, players, facts, plot, downloads, slider, two buttons."""
        idle = [gr.update(interactive=True), gr.update(visible=False)]
        kept = [gr.skip()] * 5

        def failed(html: str) -> list:
            return [html, gr.update(visible=False), *kept, *idle]

        try:
            session = self.session(request)
            started = [gr.update(visible=False), *kept, gr.update(interactive=False), gr.update(visible=True)]
            yield [fragments.progress_html(Progress(0.0, None)), *started]
            for step in self.separate(path, session):
                if isinstance(step, Progress):
                    yield [fragments.progress_html(step), *[gr.skip()] * 8]
            if session.song is None:
                raise SeparationStopped
            threshold = self.threshold
            facts, plot, downloads = self.shown(session, threshold)
            players = fragments.players_html(session, self.url(session))
            yield ["", gr.update(visible=True), players, facts, plot, downloads, threshold, *idle]
        except SeparationStopped:
            yield failed(fragments.note_html(STOPPED))
        except MajlError as error:
            yield failed(fragments.error_html(str(error)))
        except Exception as error:
            yield failed(fragments.error_html(_unexpected(error)))

    def on_stop(self, request: gr.Request) -> list:
        """Also stops a song that is still in the queue."""
        self.session(request).stop.set()
        return [fragments.note_html(STOPPED), gr.update(interactive=True), gr.update(visible=False)]

    def on_threshold(self, threshold: float, request: gr.Request) -> tuple:
        session = self.session(request)
        if session.song is None:
            return gr.skip(), gr.skip(), gr.skip()
        return self.shown(session, checked_threshold(threshold))

    def on_example(self) -> str:
        """The example song in gradio's cache, where every session may read it."""
        example = _cached_copy(self.example)  # again if gradio has deleted it
        self.uploads.publish(example)
        return example

    @functools.cached_property
    def example(self) -> Path:
        """The example song, created on first use."""
        return write_example_song(self.sessions.root)

    def on_close(self, request: gr.Request) -> None:
        self.sessions.close(request.session_hash, cookie_key(request))

    # Events for programs.

    def api_separate(self, audio: str | None, request: gr.Request, progress=None) -> dict:
        """Separate a song; returns numbers about the voice and URLs of all files."""
        session = self.session(request)
        with _reported_to_clients():
            for step in self.separate(audio, session):
                if isinstance(step, Progress) and progress is not None:
                    progress((round(step.done_s), round(step.total_s or step.done_s)), unit="s of audio")
            if session.song is None:
                raise SeparationStopped
            return self.facts(session, self.threshold)

    def api_voicing(self, threshold: float, request: gr.Request) -> dict:
        """Decide again which frames of the last song are sung; returns the same as `separate`."""
        session = self.session(request)
        with _reported_to_clients():
            if session.song is None:
                raise MajlError("There is no result in this session. Call /separate first.")
            return self.facts(session, checked_threshold(threshold))


@contextlib.contextmanager
def _reported_to_clients():
    """Raise errors with the same texts as on the page."""
    try:
        yield
    except SeparationStopped:
        raise gr.Error(STOPPED, print_exception=False) from None
    except MajlError as error:
        raise gr.Error(str(error), print_exception=False) from None
    except gr.Error:
        raise
    except Exception as error:
        raise gr.Error(_unexpected(error), print_exception=False) from None


def _unexpected(error: Exception) -> str:
    """A message for users; the traceback goes to the operator."""
    traceback.print_exception(error, file=sys.stderr)
    if isinstance(error, MemoryError) or "out of memory" in str(error).lower():
        return "The server has too little memory for this song. Try a shorter one."
    return "Something went wrong on the server. Try again, or with another file."


def _cached_copy(path: Path) -> str:
    """Path of a file's copy in gradio's cache, from which a page may read."""
    from gradio.processing_utils import save_file_to_cache
    from gradio.utils import get_upload_folder

    return save_file_to_cache(path, get_upload_folder())


def build_page(demo: Demo) -> gr.Blocks:
    """The page of a demo. `launch` adds the theme and the guard."""
    limits = demo.limits
    # Gradio deletes old uploads by itself; the demo's own folders are deleted with their sessions.
    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(60, round(limits.keep_s))) as page:
        gr.HTML(
            f'<div class="majl-intro"><h1>{TITLE}</h1><p>Upload a song and get a karaoke track, the vocals alone and '
            f'the sung melody.</p><p class="majl-limits">{limits.describe()}</p></div>'
        )
        audio = gr.Audio(
            label="Song", type="filepath", sources=["upload", "microphone"], editable=False, elem_id="majl-song",
            waveform_options=gr.WaveformOptions(waveform_color="#8a7f9e", waveform_progress_color="#6d3be0"),
            buttons=[],
        )  # fmt: skip
        with gr.Row():
            separate = gr.Button("Separate", variant="primary", elem_id="majl-separate")
            stop = gr.Button("Stop", variant="stop", visible=False, elem_id="majl-stop")
            example = gr.Button("Use the example song", elem_id="majl-example")
        status = gr.HTML(elem_id="majl-status")
        with gr.Column(visible=False, elem_id="majl-results") as results:
            players = gr.HTML(elem_id="majl-players")
            facts = gr.HTML(elem_id="majl-facts")
            gr.HTML('<h2 class="majl-section">Sung pitch</h2>')
            plot = gr.Plot(show_label=False, elem_id="majl-plot")
            gr.HTML(
                '<p class="majl-hint">Drag over the plot to zoom, double-click to zoom out, click to move the player '
                "to that time.</p>"
            )
            threshold = gr.Slider(
                0.01, 0.99, demo.threshold, step=0.01, label="Voicing threshold", elem_id="majl-threshold",
                info="Probability of singing above which a frame counts as sung. Updates the curve, the numbers and "
                "the downloads.",
            )  # fmt: skip
            gr.HTML('<h2 class="majl-section">Downloads</h2>')
            downloads = gr.HTML(elem_id="majl-downloads")
        with gr.Group(visible=False):  # the API for programs
            api_threshold, answer = gr.Slider(0.01, 0.99, demo.threshold), gr.JSON()
            api_separate, api_voicing = gr.Button(), gr.Button()

        private = {"api_visibility": "private"}
        one_song_at_a_time = {"concurrency_limit": 1, "concurrency_id": "model"}
        shown = [facts, plot, downloads]
        running = separate.click(
            demo.on_separate, audio, [status, results, players, *shown, threshold, separate, stop],
            show_progress="minimal", show_progress_on=[status], **one_song_at_a_time, **private,
        )  # fmt: skip
        stop.click(demo.on_stop, None, [status, separate, stop], cancels=[running], queue=False, **private)
        threshold.input(
            demo.on_threshold, threshold, shown, trigger_mode="always_last", show_progress="hidden",
            concurrency_limit=4, **private,
        )  # fmt: skip
        example.click(demo.on_example, None, audio, **private)
        page.unload(demo.on_close)

        def separate_for_programs(audio: str | None, request: gr.Request, progress=gr.Progress()):  # noqa: B008
            return demo.api_separate(audio, request, progress)

        api_separate.click(
            separate_for_programs, audio, answer, api_name="separate", api_description=demo.api_separate.__doc__,
            **one_song_at_a_time,
        )  # fmt: skip
        api_voicing.click(
            demo.api_voicing, api_threshold, answer, api_name="voicing", api_description=demo.api_voicing.__doc__
        )
    return page.queue(max_size=limits.max_waiting)


class RunningDemo:
    """A running demo. `close` stops it and deletes all its files."""

    def __init__(self, demo: Demo, page: gr.Blocks, url: str):
        self.demo, self.page, self.url = demo, page, url

    def close(self) -> None:
        self.page.close(verbose=False)
        self.demo.sessions.end()

    def __enter__(self) -> "RunningDemo":
        return self

    def __exit__(self, *exception) -> None:
        self.close()


def launch(
    model,
    limits: Limits | None = None,
    *,
    host: str | None = None,
    port: int | None = None,
    open_browser: bool = False,
) -> RunningDemo:
    """Serve the demo in background threads; returns when it answers requests.

    Args:
        model: `MajlModel` in evaluation mode.
        limits: What is accepted; default: from the environment.
        host: Address to listen on; default: `GRADIO_SERVER_NAME`, or else this machine only.
        port: Default: `GRADIO_SERVER_PORT`, or else the first free one from 7860 on.
        open_browser: Whether to open the page in the browser of this machine.

    Raises:
        MajlError: the port is in use.
    """
    from starlette.middleware import Middleware

    limits = limits or Limits.from_environment()
    demo = Demo(model, limits)
    os.environ["GRADIO_TEMP_DIR"] = str(demo.sessions.root / "uploads")  # gradio reads it at every upload
    page = build_page(demo)
    # Options that came with later versions of gradio 6.
    later = {"run_history": False, "footer_links": ["api", "gradio", "settings"]}
    known = inspect.signature(page.launch).parameters
    try:
        _, url, _ = page.launch(
            server_name=host,
            server_port=port,
            inbrowser=open_browser,
            prevent_thread_lock=True,
            quiet=True,
            share=False,
            ssr_mode=False,
            show_error=True,
            max_file_size=limits.max_bytes,
            theme=_theme(),
            css=(_HERE / "page.css").read_text(encoding="utf-8"),
            head=f"<script>{(_HERE / 'page.js').read_text(encoding='utf-8')}</script>",
            app_kwargs={
                "routes": [result_route(demo.sessions)],
                "middleware": [Middleware(SessionGuard, sessions=demo.sessions, uploads=demo.uploads)],
            },
            **{name: value for name, value in later.items() if name in known},
        )
    except OSError as error:
        demo.sessions.end()
        raise MajlError(f"The demo cannot be served: {error}. Choose another --port, or leave it out.") from error
    demo.sessions.start_sweeping(demo.uploads.sweep)
    return RunningDemo(demo, page, url)


def _theme():
    """Gradio's own theme with the fonts of the reader's machine, so that none are downloaded."""
    fonts = [name.strip().strip("'") for name in FONT.split(",")]
    return gr.themes.Soft(
        primary_hue="violet", secondary_hue="violet", neutral_hue="slate", font=fonts,
        font_mono=["ui-monospace", "Menlo", "Consolas", "monospace"],
    )  # fmt: skip
