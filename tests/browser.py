"""A real browser, where there is one."""

import importlib.util
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
)
_installed = pytest.mark.skipif(
    CHROMIUM is None or importlib.util.find_spec("playwright") is None,
    reason="no Chromium on this machine, or no Playwright (`uv sync --group dev`)",
)


def needs_browser(test: Callable[..., None]) -> Callable[..., None]:
    """Mark a test as slow, where the development tools are installed, and skip it without a browser."""
    return pytest.mark.slow(_installed(test))


@contextmanager
def opened_page(**options: Any) -> Iterator[Any]:
    """Open an empty page, of a size, a colour scheme and so on."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS])
        page = browser.new_page(**options)
        page.set_default_timeout(60_000)
        yield page
        browser.close()
