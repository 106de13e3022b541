"""The sound tracks of a file that has several, such as a film in two languages."""

from collections.abc import Sequence

import av

from ..errors import AudioError


def choose_track(
    tracks: Sequence[av.AudioStream], wanted: int | str | None, name: str
) -> tuple[av.AudioStream, list[str]]:
    """Choose one of a file's audio streams.

    Args:
        wanted: Its number, from 0, or its language as the file names it ("ger"), of which the first is taken. None: the
            default track, or the first if none is marked so.
        name: Of the file, for messages.

    Returns:
        The track, and a note that names the others if there are any and none was requested.

    Raises:
        AudioError: there is no such track; the message lists those that there are.
    """
    numbers = range(len(tracks))
    if wanted is None:
        matching = [i for i in numbers if tracks[i].disposition & av.stream.Disposition.default] or [0]
    elif isinstance(wanted, str):
        matching = [i for i in numbers if (tracks[i].language or "und").lower() == wanted.lower()]
    else:
        matching = [i for i in numbers if i == wanted]
    if not matching:
        listed = ", ".join(_described(i, tracks[i]) for i in numbers)
        raise AudioError(f"{name} has no sound track {wanted}; choose one of {listed}.")
    others = [_described(i, tracks[i]) for i in numbers if i != matching[0]]
    notes = []
    if others and wanted is None:
        notes = [f"sound track {_described(matching[0], tracks[matching[0]])} is read; others are {', '.join(others)}"]
    return tracks[matching[0]], notes


def _described(number: int, track: av.AudioStream) -> str:
    codec = track.codec_context
    facts = [track.language, codec and codec.name, codec and codec.layout.name, track.metadata.get("title")]
    return f"{number} ({', '.join(fact for fact in facts if fact and fact != 'und')})"
