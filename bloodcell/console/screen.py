"""Opening a page in a browser."""

import os
import sys
import webbrowser


def open_in_browser(address: str) -> bool:
    """Open a page if there is a screen, and return whether it was opened."""
    return has_screen() and webbrowser.open(address)


def has_screen() -> bool:
    """Return whether there is a screen: without one, Python opens a text browser in the terminal on Linux."""
    return sys.platform != "linux" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
