"""The HTML that the app adds to gradio's own. Text from file names is escaped."""

from html import escape

from ..export.note_page import roll_html
from ..models.notes_majl import SungNote
from ..models.pitch_majl import hz_to_midi, note_name
from ..notes.transcription import Transcription
from .decisions import NOTE_SETTINGS, Settings
from .desk import TRACKS, block_length
from .downloads import DOWNLOADS
from .separation import Progress, SeparatedSong
from .sessions import Session
from .voicing import VoiceFacts

MUTED = ("Melody",)  # until the listener wants it: a song sounds as it is
FADER_DB = (-40, 6)  # the lowest is silence


def progress_html(progress: Progress) -> str:
    """How much of the song is done."""
    done = round(progress.done_s)
    if not progress.total_s:
        return _status(f"<label>{done} s of audio done <progress></progress></label>")
    total = max(1, round(progress.total_s))
    bar = f'<progress value="{min(done, total)}" max="{total}"></progress>'
    return _status(f"<label><span>{min(done, total)} of {total} s of audio done</span> {bar}</label>")


def note_html(text: str) -> str:
    """A plain line, such as the note that the work was stopped."""
    return _status(f"<p>{escape(text)}</p>")


def error_html(text: str) -> str:
    """An error message, which screen readers read out at once."""
    return f'<div class="majl-status majl-error" role="alert"><p>{escape(text)}</p></div>'


def _status(inner: str) -> str:
    return f'<div class="majl-status" role="status">{inner}</div>'


def facts_html(song: SeparatedSong, facts: VoiceFacts, notes: tuple[SungNote, ...]) -> str:
    """Range, median, share of time sung and number of notes as a description list."""
    if facts.median_hz is None:
        entries = [("Vocal range", "–", "nothing is sung at this threshold"), ("Median pitch", "–", "")]
    else:
        low, high = (note_name(hz_to_midi(hz)) for hz in (facts.lowest_hz, facts.highest_hz))
        span = f"{facts.lowest_hz:.0f} to {facts.highest_hz:.0f} Hz, without the rarest 4 %"
        median = note_name(hz_to_midi(facts.median_hz))
        entries = [("Vocal range", f"{low} to {high}", span), ("Median pitch", median, f"{facts.median_hz:.0f} Hz")]
    entries.append(("Time sung", f"{facts.sung_share:.0%}", f"{facts.sung_share * song.duration_s:.0f} s"))
    lengths_s = sorted(note.duration_s for note in notes)
    detail = f"half of them longer than {lengths_s[len(notes) // 2]:.2f} s" if notes else "none at these settings"
    entries.append(("Notes", str(len(notes)), detail))
    channels = {1: "mono", 2: "stereo"}.get(song.num_channels, f"{song.num_channels} channels")
    minutes, seconds = divmod(round(song.duration_s), 60)
    entries.append(("Song", f"{minutes}:{seconds:02d}", f"{song.sampling_rate / 1000:g} kHz, {channels}"))
    items = "".join(
        f"<div><dt>{escape(term)}</dt><dd><strong>{escape(value)}</strong><span>{escape(detail)}</span></dd></div>"
        for term, value, detail in entries
    )
    warnings = "".join(f'<p class="majl-warning">{escape(_sentence(text))}</p>' for text in song.warnings)
    return f'<dl class="majl-facts">{items}</dl>{warnings}'


def _sentence(text: str) -> str:
    return f"Note: {text}."


def desk_html(session: Session, url) -> str:
    """The name of the song and the mixing desk, which `desk.js` brings to life.

    `url(file, **arguments)` returns a file's URL.
    """
    song = session.song
    duration_s = song.duration_s
    strips = "".join(_strip(name, index) for index, name in enumerate(TRACKS))
    return f"""<h2 class="majl-name">{escape(song.name)}</h2>
<majl-desk role="group" aria-label="Mixing desk" data-src="{escape(url("desk/NUMBER"))}"
 data-rate="{song.sampling_rate}" data-samples="{song.num_samples}" data-block="{block_length(song)}"
 data-channels="{song.num_channels}">
<div class="majl-transport">
<button type="button" class="majl-play" aria-label="Play"></button>
<input type="range" class="majl-seek" aria-label="Position" min="0" max="{duration_s:.3f}" value="0"
 step="{max(0.01, duration_s / 200):.2f}">
<span class="majl-clock"></span>
</div>
{strips}
<p class="majl-trouble" role="alert" hidden></p>
</majl-desk>"""


def _strip(name: str, index: int) -> str:
    muted = "true" if name in MUTED else "false"
    low, high = FADER_DB
    return f"""<div class="majl-strip" role="group" aria-labelledby="majl-track-{index}">
<span class="majl-track" id="majl-track-{index}">{name}</span>
<button type="button" class="majl-mute" aria-pressed="{muted}" aria-label="Mute {name.lower()}">Mute</button>
<button type="button" class="majl-solo" aria-pressed="false" aria-label="Solo {name.lower()}">Solo</button>
<input type="range" class="majl-fader" aria-label="{name} level" min="{low}" max="{high}" step="1" value="0">
<span class="majl-level"></span>
</div>"""


def notes_html(session: Session, transcription: Transcription, url, settings: Settings) -> str:
    """The piano roll; the desk learns from it which notes to play."""
    song = session.song
    roll = roll_html(transcription, url("spectrogram.jpg"), song.folder.name, settings.voicing_threshold)
    query = "&".join(f"{name}={value}" for name, value in settings.named(NOTE_SETTINGS).items())
    hint = "Drag over the notes to zoom, on a touch screen to move; click to go to that time."
    return f'<majl-notes data-query="{escape(query)}"></majl-notes>{roll}<p class="majl-hint">{hint}</p>'


def downloads_html(session: Session, url, settings: Settings, has_notes: bool) -> str:
    """Links to all downloads that the song has."""
    song = session.song
    items = []
    for file, download in DOWNLOADS.items():
        if not download.offered or (download.needs_notes and not has_notes):
            continue
        address = url(file, save=True, settings=settings.named(download.settings))
        size = _size(song.folder / file) if download.write is None else ""
        hint = escape(", ".join(part for part in (download.hint, size) if part))
        items.append(
            f'<li><a class="majl-download" data-file="{escape(file)}" href="{escape(address)}" download>'
            f"<strong>{escape(download.title)}</strong><span>{hint}</span></a></li>"
        )
    return f'<ul class="majl-downloads">{"".join(items)}</ul>'


def _size(path) -> str:
    try:
        return f"{path.stat().st_size / 1e6:.1f}\N{NO-BREAK SPACE}MB"
    except OSError:
        return ""
