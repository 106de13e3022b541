"""Reading ahead and writing behind."""

import threading

import pytest

from majl_hf.system.threads import WriteBehind, read_ahead


def threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith(("majl-read", "majl-write"))]


@pytest.mark.parametrize("count", [1, 3, 50])
def test_items_come_in_order_from_another_thread(count):
    makers = set()

    def items():
        for number in range(20):
            makers.add(threading.current_thread().name)
            yield number

    assert list(read_ahead(items(), count)) == list(range(20))
    assert len(makers) == 1 and threading.current_thread().name not in makers
    assert not threads()


def test_no_more_than_count_items_are_made_ahead():
    made = []

    def items():
        for number in range(20):
            made.append(number)
            yield number

    for item in read_ahead(items(), 3):
        assert len(made) <= item + 4


def test_a_failing_source_raises_where_it_fails():
    def items():
        yield 1
        raise OSError("unplugged")

    coming = read_ahead(items(), 2)
    assert next(coming) == 1
    with pytest.raises(OSError, match="unplugged"):
        next(coming)
    assert not threads()


def test_closing_ends_the_thread():
    coming = read_ahead(iter(range(100)), 2)
    next(coming)
    coming.close()
    assert not threads()


def test_everything_is_written_in_order_before_the_context_ends():
    written = []
    with WriteBehind(written.append, 2) as write:
        for number in range(20):
            write(number)
    assert written == list(range(20)) and not threads()


def test_a_failing_write_is_raised_and_what_follows_an_exception_is_dropped():
    def full(item):
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"), WriteBehind(full, 2) as write:
        write(1)
    started, go, written = threading.Event(), threading.Event(), []

    def slow(item):
        started.set()
        go.wait(10)
        written.append(item)

    with pytest.raises(KeyboardInterrupt), WriteBehind(slow, 5) as write:
        for number in range(3):
            write(number)
        started.wait(10)
        threading.Timer(0.1, go.set).start()
        raise KeyboardInterrupt
    assert written in ([0], [0, 1]) and not threads()
