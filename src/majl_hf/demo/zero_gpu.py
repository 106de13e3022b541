"""The separation on ZeroGPU, the GPUs that Spaces share.

A Space there has a GPU only while a function runs that `spaces.GPU` has decorated. It runs in a process forked from the
server: it has the server's model, its arguments and what it yields are pickled, and an exception arrives without its
text. Elsewhere the decorator changes nothing, and without the package `spaces` there is none.
"""

import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from ..errors import MajlError
from .limits import Limits
from .separation import Progress, SeparatedSong, SeparationStopped, separate_file, song_seconds

try:
    from spaces import GPU
except ImportError:
    GPU = None

# Seconds of GPU to ask for: to start, and for each second of audio, of which most are decoding and writing; a request
# beyond the visitor's quota, two minutes a day without an account, is refused.
START_S, SECONDS_PER_SECOND, MOST_S = 15, 0.06, 120


def gpu_seconds(song_s: float) -> int:
    """Seconds of GPU to ask for, for a song of `song_s` seconds."""
    return min(math.ceil(START_S + SECONDS_PER_SECOND * song_s), MOST_S)


def separator(model, limits: Limits) -> Callable[..., Iterator[Progress | SeparatedSong]]:
    """`separate(source, file_name, folder, should_stop)`: `separate_file` with this model and these limits, on
    ZeroGPU where there is one. There, `should_stop` is called after every step, and the file is checked before a GPU is
    asked for."""

    def here(source: Path, file_name: str, folder: Path, should_stop: Callable[[], bool]):
        return separate_file(model, source, file_name, folder, limits, should_stop)

    if GPU is None:
        return here
    server = os.getpid()

    def seconds(source: Path, file_name: str, folder: Path) -> int:
        return gpu_seconds(song_seconds(source, file_name, limits))

    def steps(source: Path, file_name: str, folder: Path) -> Iterator[Progress | SeparatedSong | MajlError]:
        if os.getpid() != server:
            import torch

            torch.set_num_threads(1)  # the server's threads are not there in a forked process, see `check_fork`
        try:
            yield from separate_file(model, source, file_name, folder, limits)
        except MajlError as error:
            yield error

    on_gpu = GPU(duration=seconds)(steps)
    if on_gpu is steps:
        return here

    def there(source: Path, file_name: str, folder: Path, should_stop: Callable[[], bool]):
        running = on_gpu(source, file_name, folder)
        try:
            for step in running:
                if should_stop():
                    raise SeparationStopped
                if isinstance(step, MajlError):
                    raise step
                yield step
        finally:
            running.close()

    return there
