"""The memory allocator: what is freed stays with the process."""

import ctypes
from contextlib import suppress

# Of glibc's malloc.h.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
_NEVER = 2**31 - 1
_LARGEST_MMAP_THRESHOLD = 2**25
_HEAP = 2**26
"""The size of a thread's heap: one that is empty is given back if there is more than the padding without it."""


def keep_freed_memory() -> None:
    """Let the C library keep memory that is freed for whatever is asked for next.

    By default glibc gives tensors of more than 128 kB back to the system as soon as they are freed, and takes the next
    one page by page: with layers as small as a head's, a training then spends most of its time in the kernel. Where
    there is another C library nothing changes.
    """
    with suppress(OSError, TypeError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD)
        mallopt(_TRIM_THRESHOLD, _NEVER)
        mallopt(_TOP_PAD, _HEAP)
