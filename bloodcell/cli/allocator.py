"""The memory allocator: the process keeps freed memory."""

import ctypes
from contextlib import suppress

# Of glibc's malloc.h.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
_NEVER = 2**31 - 1
_LARGEST_MMAP_THRESHOLD = 2**25
_HEAP = 2**26
"""Size of a thread's heap. glibc gives an empty heap back if the rest has more than the padding."""


def keep_freed_memory() -> None:
    """Let the C library keep freed memory for later allocations.

    By default glibc returns tensors above 128 kB to the system when they are freed, and gets memory for the next page
    by page. With layers as small as a head's, training then spends most of its time in the kernel. With another C
    library nothing changes.
    """
    with suppress(OSError, TypeError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD)
        mallopt(_TRIM_THRESHOLD, _NEVER)
        mallopt(_TOP_PAD, _HEAP)
