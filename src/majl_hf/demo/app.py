"""The page, its events, and `launch`."""

import functools
import importlib.util
import inspect
import os
from collections.abc import Iterator
from pathlib import Path

from ..errors import MajlError
from ..export.note_page import page_style, roll_script, table_html
from . import fragments
from .decisions import Settings, transcribe
from .downloads import DOWNLOADS
from .example_song import write_example_song
from .guard import API, SessionGuard, Uploads, cookie_key, file_url, result_routes
from .limits import Limits
from .separation import Progress, SeparatedSong, SeparationStopped
from .sessions import Session, Sessions
from .turns import Turns
from .voicing import describe_voice
from .zero_gpu import separator

try:
    import gradio as gr

    from .messages import STOPPED, reported_to_clients, unexpected
    from .tools import SongTools
except ImportError as error:
    raise MajlError(f"The demo needs {error.name}, which is not installed; run: pip install 'majl_hf[demo]'") from error

TITLE = "Vocals, accompaniment and the sung pitch"
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
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
        self.sessions, self.uploads, self.turns = Sessions(limits, root), Uploads(), Turns()
        self._separate = separator(model, limits)

    @property
    def settings(self) -> Settings:
        """The model's."""
        return Settings.of_model(self.model.config)

    def separate(self, path: str | None, session: Session) -> Iterator[Progress | SeparatedSong]:
        """Separate a file when it is its turn; the song becomes the session's result. Errors as for `separate_file`."""
        if path is None:
            raise MajlError("There is no song yet. Upload one, record one, or use the example.")
        folder = self.sessions.start(session)
        stop = session.stop
        done = False
        try:
            with self.turns.queue() as is_next:
                while not is_next(1.0):
                    if stop.is_set():
                        raise SeparationStopped
                    yield Progress(0.0, None)
                for step in self._separate(Path(path), Path(path).name, folder, stop.is_set):
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

    def shown(self, session: Session, settings: Settings) -> tuple[str, str, str, str]:
        """Facts, notes, their table and downloads at these settings."""
        song, url = session.song, self.url(session)
        transcription = transcribe(song, settings)
        voice = describe_voice(song.frames.f0_hz, transcription.frames.voiced)
        return (
            fragments.facts_html(song, voice, transcription.notes),
            fragments.notes_html(session, transcription, url, settings),
            table_html(transcription),
            fragments.downloads_html(session, url, settings, bool(transcription.notes)),
        )

    def facts(self, session: Session, settings: Settings) -> dict:
        """The result for programs: numbers, and URLs relative to the server's."""
        song, url = session.song, self.url(session)
        transcription = transcribe(song, settings)
        return {
            "name": song.name,
            "sampling_rate": song.sampling_rate,
            "num_channels": song.num_channels,
            "num_samples": song.num_samples,
            **vars(settings),
            **vars(describe_voice(song.frames.f0_hz, transcription.frames.voiced)),
            "num_notes": len(transcription.notes),
            "warnings": list(song.warnings),
            "files": {
                file: url(file, settings=settings.named(download.settings))
                for file, download in DOWNLOADS.items()
                if transcription.notes or not download.needs_notes
            },
        }

    # Events of the page.

    def on_separate(self, path: str | None, request: gr.Request) -> Iterator[dict | list]:
        """Progress, then the result: status, results, desk, facts, notes, table, downloads, sliders, two buttons."""
        idle = [gr.update(interactive=True), gr.update(visible=False)]
        kept = [gr.skip()] * 8

        def failed(html: str) -> list:
            return [html, gr.update(visible=False), *kept, *idle]

        try:
            session = self.session(request)
            started = [gr.update(visible=False), *kept, gr.update(interactive=False), gr.update(visible=True)]
            yield [fragments.progress_html(Progress(0.0, None)), *started]
            for step in self.separate(path, session):
                if isinstance(step, Progress):
                    yield [fragments.progress_html(step), *[gr.skip()] * 11]
            if session.song is None:
                raise SeparationStopped
            desk = fragments.desk_html(session, self.url(session))
            sliders = vars(self.settings).values()
            yield ["", gr.update(visible=True), desk, *self.shown(session, self.settings), *sliders, *idle]
        except SeparationStopped:
            yield failed(fragments.note_html(STOPPED))
        except MajlError as error:
            yield failed(fragments.error_html(str(error)))
        except gr.Error as error:  # of ZeroGPU, such as a quota that is used up
            yield failed(fragments.error_html(str(error.message)))
        except Exception as error:
            yield failed(fragments.error_html(unexpected(error)))

    def on_stop(self, request: gr.Request) -> list:
        """Also stops a song that is still in the queue."""
        self.session(request).stop.set()
        return [fragments.note_html(STOPPED), gr.update(interactive=True), gr.update(visible=False)]

    def on_settings(
        self, voicing_threshold: float, note_threshold: float, min_note_s: float, request: gr.Request
    ) -> tuple:
        session = self.session(request)
        if session.song is None:
            return (gr.skip(),) * 4
        return self.shown(session, Settings(voicing_threshold, note_threshold, min_note_s).changed({}))

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
        with reported_to_clients():
            for step in self.separate(audio, session):
                if isinstance(step, Progress) and progress is not None:
                    progress((round(step.done_s), round(step.total_s or step.done_s)), unit="s of audio")
            if session.song is None:
                raise SeparationStopped
            return self.facts(session, self.settings)

    def api_voicing(
        self, voicing_threshold: float, note_threshold: float, min_note_s: float, request: gr.Request
    ) -> dict:
        """Decide again which frames of the last song are sung, and on its notes; returns the same as `separate`."""
        session = self.session(request)
        with reported_to_clients():
            if session.song is None:
                raise MajlError("There is no result in this session. Call /separate first.")
            values = {
                "voicing_threshold": voicing_threshold, "note_threshold": note_threshold, "min_note_s": min_note_s
            }  # fmt: skip
            return self.facts(session, self.settings.changed(values))


def _cached_copy(path: Path) -> str:
    """Path of a file's copy in gradio's cache, from which a page may read."""
    from gradio.processing_utils import save_file_to_cache
    from gradio.utils import get_upload_folder

    return save_file_to_cache(path, get_upload_folder())


def build_page(demo: Demo, mcp: bool = False) -> gr.Blocks:
    """The page of a demo. `launch` adds the theme and the guard.

    An MCP server offers every documented endpoint as a tool, so with `mcp` the tools for assistants are documented, and
    the endpoints for programs are not.
    """
    limits = demo.limits
    # Gradio deletes old uploads by itself; the demo's own folders are deleted with their sessions.
    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(60, round(limits.keep_s))) as page:
        gr.HTML(
            f'<div class="majl-intro"><h1>{TITLE}</h1><p>Upload a song and get a karaoke track, the vocals alone and '
            f'the sung melody as notes.</p><p class="majl-limits">{limits.describe()}</p></div>'
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
            desk = gr.HTML(elem_id="majl-desk")
            facts = gr.HTML(elem_id="majl-facts")
            gr.HTML('<h2 class="majl-section">Sung pitch and notes</h2>')
            notes = gr.HTML(elem_id="majl-notes")
            with gr.Row():
                sliders = [gr.Slider(**slider, min_width=280) for slider in _sliders(demo.settings)]
            with gr.Accordion("Table of notes", open=False, elem_id="majl-table"):
                table = gr.HTML()
            gr.HTML('<h2 class="majl-section">Downloads</h2>')
            downloads = gr.HTML(elem_id="majl-downloads")
        with gr.Group(visible=False):  # the API for programs
            api_sliders = [gr.Slider(**slider | {"elem_id": None}) for slider in _sliders(demo.settings)]
            answer = gr.JSON()
            api_separate, api_voicing = gr.Button(), gr.Button()

        private = {"api_visibility": "private"}
        for_programs = {"api_visibility": "undocumented" if mcp else "public"}
        one_song_at_a_time = {"concurrency_limit": 1, "concurrency_id": "model"}
        shown = [facts, notes, table, downloads]
        running = separate.click(
            demo.on_separate, audio, [status, results, desk, *shown, *sliders, separate, stop],
            show_progress="minimal", show_progress_on=[status], **one_song_at_a_time, **private,
        )  # fmt: skip
        stop.click(demo.on_stop, None, [status, separate, stop], cancels=[running], queue=False, **private)
        gr.on(
            [slider.input for slider in sliders], demo.on_settings, sliders, shown, trigger_mode="always_last",
            show_progress="hidden", concurrency_limit=4, **private,
        )  # fmt: skip
        example.click(demo.on_example, None, audio, **private)
        page.unload(demo.on_close)

        def separate_for_programs(audio: str | None, request: gr.Request, progress=gr.Progress()):  # noqa: B008
            return demo.api_separate(audio, request, progress)

        api_separate.click(
            separate_for_programs, audio, answer, api_name="separate", api_description=demo.api_separate.__doc__,
            **one_song_at_a_time, **for_programs,
        )  # fmt: skip
        api_voicing.click(
            demo.api_voicing, api_sliders, answer, api_name="voicing", api_description=demo.api_voicing.__doc__,
            **for_programs,
        )  # fmt: skip
        if mcp:
            for tool in SongTools(demo).all:
                gr.api(tool, queue=False)  # a queue of gradio's would share one session among all callers
    return page.queue(max_size=limits.max_waiting)


def _sliders(settings: Settings) -> list[dict]:
    """Arguments of the sliders, in the order of the settings."""
    return [
        {
            "label": "Voicing threshold", "minimum": 0.01, "maximum": 0.99, "step": 0.01, "elem_id": "majl-voicing",
            "value": settings.voicing_threshold, "info": "Probability from which a frame counts as sung.",
        },
        {
            "label": "Note threshold", "minimum": 0.01, "maximum": 0.99, "step": 0.01, "elem_id": "majl-threshold",
            "value": settings.note_threshold, "info": "Probability from which a note begins; higher gives fewer notes.",
        },
        {
            "label": "Shortest note in s", "minimum": 0.0, "maximum": 1.0, "step": 0.01, "elem_id": "majl-min-note",
            "value": settings.min_note_s, "info": "Notes that would be shorter are joined to others or left out.",
        },
    ]  # fmt: skip


class RunningDemo:
    """A running demo. `close` stops it and deletes all its files."""

    def __init__(self, demo: Demo, page: gr.Blocks, url: str):
        self.demo, self.page, self.url = demo, page, url

    @property
    def mcp_url(self) -> str | None:
        """Address of the MCP server; None without one."""
        return f"{self.url.rstrip('/')}{API}/mcp/" if self.page.mcp_server else None

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
    mcp: bool | None = None,
) -> RunningDemo:
    """Serve the demo in background threads; returns when it answers requests.

    Args:
        model: `MajlModel` in evaluation mode.
        limits: What is accepted; default: from the environment.
        host: Address to listen on; default: `GRADIO_SERVER_NAME`, or else this machine only.
        port: Default: `GRADIO_SERVER_PORT`, or else the first free one from 7860 on.
        open_browser: Whether to open the page in the browser of this machine.
        mcp: Whether to serve `SongTools` to assistants; default: as `GRADIO_MCP_SERVER` says, or else not.

    Raises:
        MajlError: the port is in use, or `mcp` without its package.
    """
    from starlette.middleware import Middleware

    limits = limits or Limits.from_environment()
    if mcp is None:
        mcp = os.environ.get("GRADIO_MCP_SERVER", "").lower() == "true"
    if mcp and importlib.util.find_spec("mcp") is None:
        raise MajlError("Tools for assistants need mcp, which is not installed; run: pip install 'majl_hf[mcp]'")
    demo = Demo(model, limits)
    os.environ["GRADIO_TEMP_DIR"] = str(demo.sessions.root / "uploads")  # gradio reads it at every upload
    page = build_page(demo, mcp)
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
            mcp_server=mcp,
            max_file_size=limits.max_bytes,
            theme=_theme(),
            css=(_HERE / "page.css").read_text(encoding="utf-8") + page_style(),
            head=f"<script>{(_HERE / 'desk.js').read_text(encoding='utf-8')}\n{roll_script()}</script>",
            app_kwargs={
                "routes": result_routes(demo.sessions),
                "middleware": [Middleware(SessionGuard, sessions=demo.sessions, uploads=demo.uploads)],
            },
            **{name: value for name, value in later.items() if name in known},
        )
    except OSError as error:
        demo.sessions.end()
        raise MajlError(f"The demo cannot be served: {error}. Choose another --port, or leave it out.") from error
    demo.sessions.start_sweeping(demo.uploads.sweep)
    if mcp and not page.mcp_server:
        page.close(verbose=False)
        demo.sessions.end()
        raise MajlError(f"The tools for assistants cannot be served: {page.mcp_error}")
    return RunningDemo(demo, page, url)


def _theme():
    """Gradio's own theme with the fonts of the reader's machine, so that none are downloaded."""
    fonts = [name.strip().strip("'") for name in FONT.split(",")]
    return gr.themes.Soft(
        primary_hue="violet", secondary_hue="violet", neutral_hue="slate", font=fonts,
        font_mono=["ui-monospace", "Menlo", "Consolas", "monospace"],
    )  # fmt: skip
