"""Graceful stopping by signals.

A `KeyboardInterrupt` may occur anywhere, even inside a callback from C, where it would be lost, or between two renames.
So while files are being written, the first signal only sets a flag, which the loop checks between two blocks; a second
one raises at once.
"""

import signal
import threading


class Stopped(KeyboardInterrupt):
    """The run was stopped; `exit_code` is the shell's for the signal, `advice` what to do next."""

    def __init__(self, signal_number: int = signal.SIGINT, advice: str = ""):
        super().__init__(signal_number)
        self.exit_code, self.advice = 128 + signal_number, advice


class StopSignals:
    """Context that records SIGINT, SIGTERM and SIGHUP (the terminal is gone); once one has arrived, `check()` raises
    `Stopped` with `advice`."""

    def __init__(self, advice: str = ""):
        self.advice = advice
        self._received: int | None = None
        self._previous: dict[int, object] = {}

    def check(self) -> None:
        if self._received is not None:
            raise Stopped(self._received, self.advice)

    def __enter__(self) -> "StopSignals":
        if threading.current_thread() is threading.main_thread():  # elsewhere Python allows no handlers
            for name in ("SIGINT", "SIGTERM", "SIGHUP"):
                number = getattr(signal, name, None)  # Windows has no SIGHUP; nohup has it ignored
                if number is not None and (name != "SIGHUP" or signal.getsignal(number) != signal.SIG_IGN):
                    self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *exception) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame) -> None:
        if self._received is not None:
            raise Stopped(number, self.advice)
        self._received = number


class Resumable(StopSignals):
    """Context in which these signals raise `Stopped` at once, for work that resumes from what is on disk."""

    ADVICE = "run the same command again to resume"

    def __init__(self, advice: str = ADVICE):
        super().__init__(advice)

    def _note(self, number: int, frame) -> None:
        self._received = number
        raise Stopped(number)

    def __exit__(self, kind, error, traceback) -> None:
        super().__exit__()
        if error is not None and self._received is not None:
            # Loader processes may have received the signal also; then the error raised is that they ended.
            raise Stopped(self._received, self.advice) from error
