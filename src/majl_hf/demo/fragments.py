"""The HTML that the app adds to gradio's own. Text from file names is escaped."""

from html import escape

from ..models.pitch_majl import hz_to_midi, note_name
from .downloads import DOWNLOADS
from .separation import Progress, SeparatedSong
from .sessions import Session
from .voicing import VoiceFacts

PLAYERS = (("mixture.flac", "Mixture"), ("vocals.flac", "Vocals"), ("accompaniment.flac", "Accompaniment"))


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


def facts_html(song: SeparatedSong, facts: VoiceFacts) -> str:
    """Range, median and share of time sung as a description list."""
    if facts.median_hz is None:
        entries = [("Vocal range", "–", "nothing is sung at this threshold"), ("Median pitch", "–", "")]
    else:
        low, high = (note_name(hz_to_midi(hz)) for hz in (facts.lowest_hz, facts.highest_hz))
        span = f"{facts.lowest_hz:.0f} to {facts.highest_hz:.0f} Hz, without the rarest 4 %"
        median = note_name(hz_to_midi(facts.median_hz))
        entries = [("Vocal range", f"{low} to {high}", span), ("Median pitch", median, f"{facts.median_hz:.0f} Hz")]
    entries.append(("Time sung", f"{facts.sung_share:.0%}", f"{facts.sung_share * song.duration_s:.0f} s"))
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


def players_html(session: Session, url) -> str:
    """A player for each track. `page.js` plays one at a time and keeps them in sync.

    `url(file, **arguments)` returns a file's URL.
    """
    rows = "".join(
        f'<div class="majl-player"><span id="majl-label-{index}">{title}</span>'
        f'<audio controls preload="metadata" controlslist="nodownload" aria-labelledby="majl-label-{index}" '
        f'src="{escape(url(file))}"></audio></div>'
        for index, (file, title) in enumerate(PLAYERS)
    )
    name = escape(session.song.name)
    return f'<h2 class="majl-name">{name}</h2><div class="majl-players" role="group" aria-label="Players">{rows}</div>'


def downloads_html(session: Session, url, threshold: float) -> str:
    """Links to all downloads."""
    song = session.song
    items = []
    for file, download in DOWNLOADS.items():
        if not download.offered:
            continue
        address = url(file, save=True, threshold=threshold if download.uses_threshold else None)
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
