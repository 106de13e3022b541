"""Folders are written atomically, and only one process at a time works in a locked one."""

import os
import threading

import pytest
from killed import forks, run_and_kill

from majl_hf.errors import MajlError
from majl_hf.system.files import LOCK_NAME, locked, new_folder


def test_a_locked_folder_keeps_others_out_and_is_left_clean(tmp_path):
    folder = tmp_path / "runs" / "x"
    with locked(folder) as free, locked(folder) as second:
        assert free and not second
        assert os.listdir(folder) == [LOCK_NAME] and LOCK_NAME.startswith(".")
    assert os.listdir(folder) == []
    with pytest.raises(KeyboardInterrupt), locked(folder) as free:
        assert free
        raise KeyboardInterrupt
    assert os.listdir(folder) == []


def test_who_waits_gets_the_folder(tmp_path):
    order = []

    def wait():
        with locked(tmp_path, wait=True) as free:
            order.append(free)

    with locked(tmp_path):
        thread = threading.Thread(target=wait)
        thread.start()
        thread.join(0.3)
        order.append("released")
    thread.join(60)
    assert order == ["released", True]


@forks
def test_a_killed_process_lets_go(tmp_path):
    def work(halt):
        with locked(tmp_path):
            halt()

    run_and_kill(work)
    with locked(tmp_path) as free:
        assert free
    assert os.listdir(tmp_path) == []


def test_a_folder_that_cannot_be_locked_is_an_error_with_a_sentence(tmp_path):
    (tmp_path / "file").touch()
    with (
        pytest.raises(MajlError, match=r"file.x cannot be written or locked: .* Choose another folder"),
        locked(tmp_path / "file" / "x"),
    ):
        pass


def test_a_new_folder_takes_the_place_of_an_old_one_or_leaves_it(tmp_path):
    target = tmp_path / "model"
    for text in ("first", "second"):
        with new_folder(target) as part:
            (part / "weights").write_text(text)
        assert (target / "weights").read_text() == text
    with pytest.raises(KeyboardInterrupt), new_folder(target) as part:
        (part / "weights").write_text("half")
        raise KeyboardInterrupt
    assert (target / "weights").read_text() == "second" and os.listdir(tmp_path) == ["model"]
