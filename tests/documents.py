"""Reading documents: their fenced blocks, and the commands in them."""

import re
from typing import NamedTuple

BLOODCELL = "uv run bloodcell "


class Block(NamedTuple):
    """A fenced block: its language, the file that its title names, and what is in it."""

    language: str
    title: str
    text: str


def blocks_of(document: str) -> list[Block]:
    """Return a document's fenced blocks, in order."""
    found = re.findall(r'^```(\w+)(?: title="([^"\n]*)")?\n(.*?)^```$', document, flags=re.DOTALL | re.MULTILINE)
    return [Block(*parts) for parts in found]


def commands_of(document: str) -> list[str]:
    """Return every line of a document's bash blocks."""
    return [line for block in blocks_of(document) if block.language == "bash" for line in block.text.splitlines()]
