"""Who can access a result, and when it is deleted."""

from types import SimpleNamespace

import pytest

from majl_hf.demo import sessions as sessions_room
from majl_hf.demo.limits import Limits
from majl_hf.demo.sessions import NotYours, Sessions

ANNA, BERT = "a" * 43, "b" * 43


@pytest.fixture
def sessions(tmp_path):
    return Sessions(Limits(grace_s=60, keep_s=600), tmp_path)


@pytest.fixture
def clock(monkeypatch):
    """The time as sessions read it; a server that also runs reads another one."""
    clock = SimpleNamespace(now_s=0.0)
    monkeypatch.setattr(sessions_room, "time", SimpleNamespace(monotonic=lambda: clock.now_s))
    return clock


def finished(sessions, name="page", cookie=ANNA):
    session = sessions.open(name, cookie)
    folder = sessions.start(session)
    (folder / "vocals.wav").write_text("la")
    sessions.finish(session, SimpleNamespace(folder=folder))
    return session, folder


def test_only_the_owner_reaches_a_song(sessions):
    session, _ = finished(sessions)
    assert sessions.song(session.token, ANNA) is session.song
    for key in (BERT, None, "", "é"):
        with pytest.raises(NotYours):
            sessions.song(session.token, key)
    with pytest.raises(KeyError):
        sessions.song("guess", ANNA)
    with pytest.raises(NotYours):
        sessions.open("page", BERT)
    with pytest.raises(NotYours):
        sessions.open("page", None)


def test_without_a_cookie_links_carry_the_key(sessions):
    session, _ = finished(sessions, cookie=None)
    assert not session.in_cookie and len(session.owner) > 40
    assert sessions.song(session.token, session.owner) is session.song
    with pytest.raises(NotYours):
        sessions.song(session.token, None)
    with pytest.raises(NotYours):
        sessions.open("page", BERT)


def test_the_next_song_replaces_the_last(sessions):
    session, folder = finished(sessions)
    token = session.token
    _, second = finished(sessions)
    assert not folder.exists() and second.exists()
    with pytest.raises(KeyError):
        sessions.song(token, ANNA)


def test_closing_deletes_after_a_time_of_grace(sessions, clock):
    session, folder = finished(sessions)
    _, others_folder = finished(sessions, "other", BERT)
    sessions.close("page", BERT)
    assert not session.stop.is_set()
    sessions.close("page", ANNA)
    assert session.stop.is_set()
    sessions.sweep()
    assert folder.exists()
    clock.now_s = 61
    sessions.sweep()
    assert not folder.exists() and others_folder.exists()
    clock.now_s = 601
    sessions.sweep()
    assert not others_folder.exists() and len(sessions) == 0


def test_a_page_that_comes_back_in_time_keeps_its_song(sessions, clock):
    session, folder = finished(sessions)
    sessions.close("page", ANNA)
    clock.now_s = 59
    sessions.song(session.token, ANNA)
    clock.now_s = 100
    sessions.sweep()
    assert folder.exists()


def test_a_song_that_ends_after_its_page_is_not_kept(sessions):
    session = sessions.open("page", ANNA)
    folder = sessions.start(session)
    sessions.end()
    sessions.finish(session, SimpleNamespace(folder=folder))
    assert not folder.exists() and not sessions.root.exists()
