"""What a command reports: results and JSON on stdout; progress, warnings and failures on stderr."""

import sys
import time
from collections.abc import Mapping

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn
from rich.table import Column
from rich.text import Text

from ._common import print_json, shown


class _AudioSecondsColumn(ProgressColumn):
    """Seconds of audio done, and computing time per second of audio."""

    def render(self, task) -> Text:
        total = f" / {task.total:.0f}" if task.total else ""
        factor = task.elapsed / task.completed if task.completed and task.elapsed else None
        speed = f"  {factor:.3f} x real time" if factor else ""
        return Text(f"{task.completed:.0f}{total} s of audio{speed}", no_wrap=True)


class Outcomes:
    """Collects and prints the outcome of every file of one command.

    Args:
        verb: For the summary.
        as_json: One JSON object per file and one for the summary on stdout, and nothing else there.
        keep_stdout_clear: Print results on stderr too.
        names: Names to print for temporary files, by their paths.
    """

    def __init__(
        self, verb: str, as_json: bool, keep_stdout_clear: bool = False, names: Mapping[str, str] | None = None
    ):
        self.verb, self.as_json, self._names = verb, as_json, names or {}
        self.num_done, self.failures, self.audio_s = 0, [], 0.0
        self._err = Console(file=sys.stderr, highlight=False, markup=False, soft_wrap=True)
        self._out = Console(file=sys.stdout, highlight=False, markup=False, soft_wrap=True)
        if keep_stdout_clear:
            self._out = self._err
        self._started_s = time.monotonic()
        self._progress: Progress | None = None

    def __enter__(self) -> "Outcomes":
        return self

    def __exit__(self, *exception) -> None:
        self.stop_file()

    def start_file(self, source, duration_s: float | None) -> None:
        """Show a bar; its end is `duration_s` of audio, where known."""
        self._progress = Progress(
            TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis")),
            BarColumn(bar_width=20),
            _AudioSecondsColumn(table_column=Column(no_wrap=True, min_width=42)),
            console=self._err,
            transient=True,
            disable=not self._err.is_terminal,
        )
        self._progress.add_task(shown(self._named(source)), total=duration_s)
        self._progress.start()

    def advance(self, seconds: float) -> None:
        """Report this much more audio as done."""
        if self._progress is not None:
            self._progress.advance(self._progress.task_ids[0], seconds)

    def stop_file(self) -> None:
        """Take the bar away, so that lines on stdout, often the same terminal, do not run into it."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def note(self, text: str) -> None:
        """A line on stderr."""
        self._err.print(text)

    def done(self, source, facts: dict) -> None:
        """A file is finished; `facts` go into its JSON object."""
        source = self._named(source)
        self.stop_file()
        self.num_done += 1
        self.audio_s += facts["duration_s"]
        for warning in facts["warnings"]:
            self.note(f"warning: {shown(source)}: {warning}")
        if self.as_json:
            print_json({"input": source, "status": "done", **facts})
            return
        outputs = ", ".join(shown(path) for path in facts["outputs"].values())
        self._out.print(
            f"{shown(source)}: {facts['duration_s']:.1f} s in {facts['elapsed_s']:.1f} s "
            f"({facts['real_time_factor']:.3f} x real time) -> {outputs}"
        )

    def failed(self, source, reason: str) -> None:
        """A file could not be processed."""
        self.stop_file()
        source = self._named(source)
        reason = self._named(" ".join(line.strip() for line in reason.splitlines()))
        self.failures.append((source, reason))
        if self.as_json:
            print_json({"input": source, "status": "failed", "error": reason})

    def summary(self, stopped: bool = False) -> None:
        """Count what happened, each failure in one line."""
        elapsed_s = time.monotonic() - self._started_s
        for source, reason in self.failures:
            self.note(shown(f"failed: {source}: {reason.removeprefix(f'{source} ')}"))
        if stopped:
            self.note("stopped: nothing was kept of the unfinished file")
        if self.as_json:
            print_json(
                {
                    "summary": self.verb,
                    "num_done": self.num_done,
                    "num_failed": len(self.failures),
                    "stopped": stopped,
                    "audio_s": round(self.audio_s, 3),
                    "elapsed_s": round(elapsed_s, 3),
                }
            )
        elif self.num_done + len(self.failures) != 1:
            self._out.print(
                f"{self.num_done} done, {len(self.failures)} failed; {self.audio_s:.1f} s of audio in {elapsed_s:.1f} s"
            )

    def _named(self, text) -> str:
        """A path or a sentence with the names of temporary files."""
        text = str(text)
        for path, name in self._names.items():
            text = text.replace(path, name)
        return text
