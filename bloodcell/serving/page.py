"""The page on which images are dropped: what the model is, and what it is not for."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from markdown_it import MarkdownIt

from bloodcell.evaluation.evidence import LIMITS
from bloodcell.images.reading import SUFFIXES
from bloodcell.serving.limits import MEGA, Limits
from bloodcell.serving.prediction import UNCERTAIN, UNLIKE, UNREADABLE, ServingParameters
from bloodcell.templates import render

INTENDED_USE = "Intended use"
"""The section of a card that says what its model is and is not for."""
OFFERED_ERRORS = (0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4)
"""Largest shares of errors that the page offers, of those that can be promised."""
ENVELOPE = 200
"""Bytes of a request besides its image."""
NOT_INERT = ["link", "image", "autolink", "html_inline", "html_block"]
"""What Markdown from a registry could load or open."""


@dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """What a page says of a model.

    Attributes
    ----------
    name
        For people, such as ``bloodcell@best, version 3``.
    card
        Its model card in Markdown; None: it has none.
    """

    name: str
    card: str | None


def page_html(facts: ModelFacts, serving: ServingParameters, *, limits: Limits) -> str:
    """Return the page of a model."""
    card = facts.card
    use = None if card is None else section(card, INTENDED_USE)
    errors = promised_errors(serving)
    max_bytes = int((limits.megabytes * MEGA - ENVELOPE) * 3 / 4)  # base64
    settings = {
        "classes": serving.classes,
        "answers": {"uncertain": UNCERTAIN, "unlike": UNLIKE, "unreadable": UNREADABLE},
        "images": limits.images,
        "bytes": max_bytes,
    }
    values = {
        "name": facts.name,
        "classes": serving.classes,
        "use": None if use is None else to_html(use),
        "summary": None if card is None else to_html(_accuracies(card)),
        "card": None if card is None else to_html(card),
        "warnings": [f"{name}: the model's run {LIMITS[name].why}" for name in serving.evidence],
        "errors": errors,
        "most": OFFERED_ERRORS[-1],
        "megabytes": int(max_bytes / MEGA),
        "n_held_out": len(serving.held_out_labels),
        "accept": ",".join(["image/*", *sorted(SUFFIXES)]),
        "limits": limits,
        "settings": settings,
    }
    return render("bloodcell.serving", "page.html.jinja", values)


def promised_errors(serving: ServingParameters) -> Sequence[float]:
    """Return those of `OFFERED_ERRORS` that a model can promise."""
    return [error for error in OFFERED_ERRORS if serving.threshold(error) is not None]


def section(card: str, heading: str) -> str | None:
    """Return the text of a card's section; None if it has no such section."""
    found = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", card, flags=re.MULTILINE | re.DOTALL)
    return None if found is None else found[1].strip()


def to_html(markdown: str) -> str:
    """Return Markdown as HTML in which nothing can be run, loaded or followed; headings are one level lower."""
    parser = MarkdownIt("js-default").disable(NOT_INERT)
    tokens = parser.parse(markdown)
    for token in tokens:
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{min(int(token.tag[1]) + 2, 6)}"
    return str(parser.renderer.render(tokens, parser.options, {}))


def _accuracies(card: str) -> str:
    """Return what a card says before its first section, from its first list on: the page says the rest itself."""
    head = card.partition("\n## ")[0]
    return head[head.find("\n- ") + 1 :]
