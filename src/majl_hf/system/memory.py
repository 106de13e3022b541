"""Settings of the C library's memory allocator for long runs."""

import contextlib
import ctypes
import platform

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # numbers of glibc's `mallopt`


def keep_freed_memory() -> None:
    """Keep large freed blocks for the next window or training step, which needs blocks of the same sizes.

    glibc returns blocks above 32 MiB to the system at once and gets them back page by page, each filled with zeros,
    which takes a tenth of the time of separating a file and a third of that of a training step. With other C
    libraries, this does nothing.
    """
    if platform.libc_ver()[0] == "glibc":
        with contextlib.suppress(OSError, AttributeError):
            library = ctypes.CDLL(None)
            library.mallopt(M_MMAP_MAX, 0)
            library.mallopt(M_TRIM_THRESHOLD, 2**30)
