"""The page of a transcription: complete in itself, its data right, and text is text."""

import re
from dataclasses import replace

import numpy as np
import pytest
from note_readers import page_data
from transcriptions import AWKWARD, SYLLABLES, scale, transcription_of

from majl_hf.export import note_page
from majl_hf.export.note_page import html, roll_html, table_html
from majl_hf.models.pitch_majl import midi_to_hz

RATE = 8_000


def test_nothing_is_loaded_from_elsewhere():
    page = html(transcription_of(scale(6), audio=None), np.ones((2, 4 * RATE)), RATE).decode()
    assert not re.search(r"https?:|src=|@import|url\(", page)
    assert page_data(page)["image"].startswith("data:image/jpeg;base64,")
    assert "customElements.define" in page and len(page) < 200_000
    assert page_data(html(transcription_of(scale(6))).decode())["image"] == ""


def test_the_recording_beside_it_is_played():
    page = html(transcription_of(scale(1), audio='Tom & "Jerry" ä.mp3')).decode()
    assert 'src="Tom%20%26%20%22Jerry%22%20%C3%A4.mp3"' in page


def test_data_of_the_roll():
    transcription = transcription_of(scale(6), SYLLABLES)
    data = page_data(roll_html(transcription, "picture.jpg", "song", 0.4))
    assert (data["image"], data["song"], data["threshold"]) == ("picture.jpg", "song", 0.4)
    notes = transcription.notes
    assert [(n["onset"], n["offset"], n["midi"]) for n in data["notes"]] == [
        pytest.approx((n.onset_s, n.offset_s, n.midi), abs=0.01) for n in notes
    ]
    assert [n["text"] for n in data["notes"]][:4] == ["Hel-", "lo-", "", "world"]
    frames = transcription.frames
    cents = np.array([np.nan if c is None else c for c in data["cents"]])
    assert len(cents) == len(data["voicing"]) == len(frames) and data["hop"] == pytest.approx(0.01)
    drawn = ~np.isnan(cents)
    assert drawn.any() and not drawn[~frames.voiced].any()
    np.testing.assert_allclose(midi_to_hz(cents[drawn] / 100), frames.f0_hz[drawn], rtol=3e-4)
    np.testing.assert_allclose(np.array(data["voicing"]) / 100, frames.voicing, atol=0.005)


def test_of_a_long_song_some_frames_are_left_out(monkeypatch):
    monkeypatch.setattr(note_page, "MAX_POINTS", 100)
    transcription = transcription_of(scale(6))
    data = page_data(roll_html(transcription, ""))
    assert len(data["cents"]) == len(data["voicing"]) <= 100
    assert len(data["cents"]) * data["hop"] == pytest.approx(transcription.duration_s, abs=data["hop"])


@pytest.mark.parametrize("case", AWKWARD)
def test_awkward_transcriptions(case):
    transcription = AWKWARD[case]
    page = html(replace(transcription, audio=None)).decode()
    assert len(page_data(page)["notes"]) == len(transcription.notes)
    assert page.count("<tr>") == 1 + len(transcription.notes)


def test_text_is_text():
    evil = '</pre></script><img src=x onerror="alert(1)">'
    transcription = transcription_of(scale(2), [evil, "b"], title=evil, artist=evil, audio=evil, language='"><img')
    page = html(transcription).decode()
    assert "<img" not in page and 'onerror="' not in page.replace("&quot;", "'").split("<pre")[0]
    assert page.count("</script>") == 1
    assert "<img" not in table_html(transcription)
