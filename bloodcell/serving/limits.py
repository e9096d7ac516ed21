"""Limits of what a server accepts, and one worker that keeps to them."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")

MEGA = 1_000_000
DISCARDED = 4
"""A body of up to this many times the limit is received and discarded: clients read no answer before they have sent."""


class RefusedRequest(Exception):  # noqa: N818
    """A request that gets no answer; the message is one line for the client.

    Attributes
    ----------
    status
        Of HTTP.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a server accepts.

    Attributes
    ----------
    megabytes
        Most of a request's body.
    images
        Most images of a request, and of a batch on the page.
    megapixels
        Most of all images of a request.
    seconds
        For a request, from its first byte to its answer.
    waiting
        Most requests at a time; further ones are refused at once.
    """

    megabytes: float
    images: int
    megapixels: float
    seconds: float
    waiting: int

    def require_images(self, n_images: int) -> None:
        """Refuse too many images."""
        if n_images > self.images:
            raise RefusedRequest(413, f"{n_images:,} images; send at most {self.images:,} in a request")

    def require_pixels(self, n_pixels: int) -> None:
        """Refuse images that have too many pixels together."""
        if n_pixels > self.megapixels * MEGA:
            raise RefusedRequest(
                413, f"{n_pixels / MEGA:,.0f} megapixels; send at most {self.megapixels:,g} in a request"
            )

    def require_bytes(self, n_bytes: int) -> None:
        """Refuse a body that is so large that it is not even received."""
        if n_bytes > DISCARDED * self.megabytes * MEGA:
            raise self.too_large

    @property
    def too_large(self) -> RefusedRequest:
        """The refusal of a body."""
        return RefusedRequest(413, f"more than {self.megabytes:,g} MB; send fewer or smaller images")


class Deadline:
    """The moment at which a request is given up."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._until = time.monotonic() + seconds

    @property
    def left(self) -> float:
        """Seconds that are left, at least 0."""
        return max(self._until - time.monotonic(), 0.0)

    def check(self) -> None:
        """Raise `RefusedRequest` if no time is left."""
        if not self.left:
            raise self.missed

    @property
    def missed(self) -> RefusedRequest:
        """The refusal when no time is left."""
        return RefusedRequest(504, f"no answer within {self.seconds:g} s; send fewer or smaller images")


class Worker:
    """Runs functions one at a time in a thread of its own, as TensorFlow uses all cores for one.

    Python cannot end a thread, so a function that has started must look at the deadline itself. Its place is free
    again when it has ended, not when its client is gone.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="predicting")
        self._places = limits.waiting

    async def serve(self, chunks: AsyncIterator[bytes], function: Callable[[bytes, Deadline], T]) -> T:
        """Receive a body, and return what a function makes of it.

        Raises
        ------
        RefusedRequest
            If too many requests wait, the body is too large, or the time is over.
        """
        if not self._places:
            raise RefusedRequest(503, "busy with other requests; try again in a few seconds")
        deadline = Deadline(self._limits.seconds)
        self._places -= 1
        try:
            body = await asyncio.wait_for(self._received(chunks), deadline.left)
            work = self._pool.submit(self._run, function, body, deadline)
        except TimeoutError as error:
            self._places += 1
            raise RefusedRequest(408, f"the body did not arrive within {deadline.seconds:g} s") from error
        except BaseException:
            self._places += 1
            raise
        loop = asyncio.get_running_loop()

        def ended(_: "Future[T]") -> None:
            loop.call_soon_threadsafe(self._free)

        work.add_done_callback(ended)
        try:
            return await asyncio.wait_for(asyncio.wrap_future(work), deadline.left)
        except TimeoutError as error:
            raise deadline.missed from error

    def close(self) -> None:
        """Start nothing more."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _free(self) -> None:
        self._places += 1

    async def _received(self, chunks: AsyncIterator[bytes]) -> bytes:
        body, size = bytearray(), 0
        async for chunk in chunks:
            size += len(chunk)
            self._limits.require_bytes(size)
            if size > self._limits.megabytes * MEGA:
                body.clear()
            else:
                body += chunk
        if size > self._limits.megabytes * MEGA:
            raise self._limits.too_large
        return bytes(body)

    @staticmethod
    def _run(function: Callable[[bytes, Deadline], T], body: bytes, deadline: Deadline) -> T:
        deadline.check()
        return function(body, deadline)
