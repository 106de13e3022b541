"""Readers of the exported formats, each independent of the code that writes it: lists of (onset_s, offset_s, midi), of
pictures how much they show of the notes."""

import csv
import html
import io
import json
import re
import warnings
import xml.etree.ElementTree as ElementTree

import jams
import mido
import numpy as np
from ultrastar_parser import parse_ultrastar

NOTE_COLOUR = (0xFF, 0x9D, 0x3C)
NOTE_NUMBERS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}


def read_midi(content: bytes, bends: list | None = None):
    """Plays the file; the pitch of a note is that with which it begins. Appends each note's bends as (time_s, midi)."""
    file = mido.MidiFile(file=io.BytesIO(content), charset="utf-8")
    assert file.type == 1 and len(file.tracks) == 2
    (tempo,) = [message.tempo for track in file.tracks for message in track if message.type == "set_tempo"]
    assert {message.channel for track in file.tracks for message in track if not message.is_meta} == {0}
    notes, controls, bend, sounding, ticks = [], {}, 0, None, 0
    for message in file.tracks[1]:
        ticks += message.time
        time_s = ticks * tempo / file.ticks_per_beat / 1e6
        if message.type == "control_change":
            controls[message.control] = message.value
            if message.control == 6:
                assert (controls[101], controls[100]) == (0, 0)
        elif message.type == "pitchwheel":
            bend = message.pitch
            assert -8192 < bend < 8191, "a bend is clipped"
            if sounding is not None and bends is not None:
                bends[-1].append((time_s, sounding[0] + bend / 8192 * controls[6]))
        elif message.type == "note_on":
            assert sounding is None and message.velocity >= 1
            sounding = message.note, time_s, message.note + bend / 8192 * controls[6]
            if bends is not None:
                bends.append([(time_s, sounding[2])])
        elif message.type == "note_off":
            number, onset_s, midi = sounding
            assert message.note == number and time_s > onset_s
            notes.append((onset_s, time_s, midi))
            sounding = None
        elif message.type in ("lyrics", "text", "end_of_track") and sounding is None and notes:
            assert bend == 0, "a bend sticks after the note"
    assert sounding is None and bend == 0
    return notes


def read_ultrastar(content: bytes):
    return [(note.onset_s, note.offset_s, 60.0 + note.pitch) for note in parse_ultrastar(content).notes]


def load_jams(content: bytes) -> jams.JAMS:
    song = jams.load(io.StringIO(content.decode("utf-8")), validate=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of jsonschema, which jams calls
        assert song.validate(strict=True)
    return song


def read_jams(content: bytes):
    (annotation,) = load_jams(content).search(namespace="note_midi")
    return [(item.time, item.time + item.duration, item.value) for item in annotation.data]


def read_csv(content: bytes):
    rows = csv.DictReader(io.StringIO(content.decode("utf-8"), newline=""))
    return [(float(row["onset_s"]), float(row["offset_s"]), float(row["midi"])) for row in rows]


def read_labels(content: bytes):
    notes = []
    for line in content.decode("utf-8").split("\n")[:-1]:
        onset_s, offset_s, label = line.split("\t")
        letter, sharp, octave, cents = re.match(r"([A-G])(♯?)(-?\d+)([+-]\d+)?(?: |$)", label).groups()
        midi = 12 * (int(octave) + 1) + NOTE_NUMBERS[letter] + len(sharp) + int(cents or 0) / 100
        notes.append((float(onset_s), float(offset_s), midi))
    return notes


def read_sonic_visualiser(content: bytes):
    rows = csv.reader(io.StringIO(content.decode("utf-8"), newline=""))
    return [
        (float(time_s), float(time_s) + float(duration_s), float(midi))
        for time_s, midi, duration_s, level, label in rows
    ]


def read_npz(content: bytes):
    arrays = np.load(io.BytesIO(content), allow_pickle=False)
    return list(zip(arrays["note_onset_s"], arrays["note_offset_s"], arrays["note_midi"], strict=True))


def read_musicxml(content: bytes):
    """Seconds are from the first bar, at the tempo that is written. Checks that bars are full."""
    root = ElementTree.fromstring(content)
    (part,) = root.findall("part")
    divisions = int(part.find(".//divisions").text)
    quarter_s = 60 / float(part.find(".//per-minute").text)
    notes, tied = [], False
    for number, bar in enumerate(part.findall("measure")):
        position = 4 * number * divisions
        for item in bar.findall("note"):
            start, position = position, position + int(item.find("duration").text)
            if item.find("rest") is not None:
                assert not tied
                continue
            step, octave = item.find("pitch/step").text, int(item.find("pitch/octave").text)
            midi = 12 * (octave + 1) + NOTE_NUMBERS[step] + int(item.findtext("pitch/alter", "0"))
            onset_s, offset_s = (ticks / divisions * quarter_s for ticks in (start, position))
            ties = {tie.get("type") for tie in item.findall("tie")}
            assert ("stop" in ties) == tied
            if tied:
                assert midi == notes[-1][2]
                onset_s = notes.pop()[0]
            notes.append((onset_s, offset_s, midi))
            tied = "start" in ties
        assert position == 4 * (number + 1) * divisions, f"bar {number + 1} is not full"
    assert not tied
    return notes


def page_data(page: str) -> dict:
    """What the piano roll of a page shows."""
    return json.loads(html.unescape(re.search(r"<pre hidden>(.*?)</pre>", page, re.DOTALL)[1]))


def read_html(content: bytes):
    """Checks that the page loads nothing from elsewhere."""
    page = content.decode("utf-8")
    assert not re.search(r"https?:|src=\"/|@import|url\(", page)
    return [(note["onset"], note["offset"], note["midi"]) for note in page_data(page)["notes"]]


def pixels(content: bytes) -> np.ndarray:
    """Of a PNG: `(height, width, 3)`, 0 to 255."""
    from matplotlib.image import imread

    return (imread(io.BytesIO(content), format="png")[..., :3] * 255).round()


def near(picture: np.ndarray, colour, tolerance: float = 40) -> np.ndarray:
    """Which pixels have this colour, `(height, width)`."""
    return (np.abs(picture - np.array(colour)) < tolerance).all(axis=-1)


def note_pixels(content: bytes) -> int:
    """How many pixels of a PNG are of notes."""
    picture = pixels(content)
    assert picture.shape[0] > 200 and picture.shape[1] > 1000
    return int(near(picture, NOTE_COLOUR).sum())


def note_bars(content: bytes) -> int:
    """How many bars an SVG has; notes that go on in the next line have two."""
    colour = "stroke: #" + bytes(NOTE_COLOUR).hex()
    root = ElementTree.fromstring(content)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    return sum(colour in path.get("style", "") for path in root.iter("{http://www.w3.org/2000/svg}path"))


READERS = {
    "midi": read_midi,
    "ultrastar": read_ultrastar,
    "jams": read_jams,
    "csv": read_csv,
    "labels": read_labels,
    "sv-csv": read_sonic_visualiser,
    "npz": read_npz,
    "musicxml": read_musicxml,
    "html": read_html,
}
PICTURES = {"png": note_pixels, "svg": note_bars}
