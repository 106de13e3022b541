"""Stopping in good order.

A `KeyboardInterrupt` may strike anywhere, also inside a callback from C, where it would be lost, or between two
renamings. So while files are being written the first signal only sets a flag, which the loop looks at between two
blocks; a second one raises at once.
"""

import signal
import threading


class Stopped(KeyboardInterrupt):
    """The run was stopped; `exit_code` is the shell's for the signal."""

    def __init__(self, signal_number: int = signal.SIGINT):
        super().__init__(signal_number)
        self.exit_code = 128 + signal_number


class StopSignals:
    """Context in which SIGINT and SIGTERM are noted; `check()` raises `Stopped` once one has arrived."""

    def __init__(self):
        self._received: int | None = None
        self._previous: dict[int, object] = {}

    def check(self) -> None:
        if self._received is not None:
            raise Stopped(self._received)

    def __enter__(self) -> "StopSignals":
        if threading.current_thread() is threading.main_thread():  # elsewhere Python allows no handlers
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *exception) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame) -> None:
        if self._received is not None:
            raise Stopped(number)
        self._received = number
