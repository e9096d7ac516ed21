"""The audit page: HTML with embedded pictures, Markdown, and JSON for machines."""

import base64
import io
import json
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bloodcell.audit.finding import SEVERITIES, Finding, Picture
from bloodcell.audit.questions import answers
from bloodcell.files import atomic_write
from bloodcell.templates import render

DPI = 110
PICTURES = "audit_pictures"
N_ROWS = 50
"""Rows of a finding that the pages show; audit.json has all."""

TITLES = {
    "error": "Errors: fix these first",
    "warning": "Warnings: check these",
    "note": "Notes",
    "clear": "Passed checks",
}


@dataclass(frozen=True, kw_only=True)
class Audit:
    """The findings on a set of images, in the order of the checks.

    The title is the set's name; facts identify the set and the audit, by name: folder, digest, version.
    """

    title: str
    facts: Mapping[str, str]
    findings: Sequence[Finding]

    def of(self, severity: str) -> list[Finding]:
        """Return the findings of one severity."""
        return [finding for finding in self.findings if finding.severity == severity]

    @property
    def summary(self) -> str:
        """The number of findings of each severity."""
        counts = Counter(finding.severity for finding in self.findings)
        parts = [
            f"{counts[severity]} {severity}{'s' * (counts[severity] != 1)}" for severity in ("error", "warning", "note")
        ]
        return f"{', '.join(parts)}; {counts['clear']} {'check' if counts['clear'] == 1 else 'checks'} passed."


def write_page(audit: Audit, folder: Path) -> None:
    """Write ``audit.html``, ``audit.md``, ``audit.json`` and ``audit_pictures/`` into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    pictures = {picture.name: _png(picture) for finding in audit.findings for picture in finding.pictures}
    shutil.rmtree(folder / PICTURES, ignore_errors=True)  # those of an earlier audit
    for name, png in pictures.items():
        (folder / PICTURES).mkdir(exist_ok=True)
        (folder / PICTURES / f"{name}.png").write_bytes(png)
    encoded = {name: base64.b64encode(png).decode("ascii") for name, png in pictures.items()}
    for name, text in (
        ("audit.html", _render("page.html.jinja", audit, encoded)),
        ("audit.md", _render("page.md.jinja", audit, encoded)),
        ("audit.json", json.dumps(as_data(audit), indent=2, ensure_ascii=False) + "\n"),
    ):
        with atomic_write(folder / name) as partial:
            partial.write_text(text, encoding="utf-8")


def as_data(audit: Audit) -> dict[str, Any]:
    """Return the content of audit.json: facts, ``findings`` (the worst first) and the passed checks, ``clear``."""
    return {
        "title": audit.title,
        "facts": dict(audit.facts),
        "counts": {severity: len(audit.of(severity)) for severity in SEVERITIES},
        "findings": [_data(finding) for severity in SEVERITIES[:-1] for finding in audit.of(severity)],
        "clear": [_data(finding) for finding in audit.of("clear")],
    }


def _data(finding: Finding) -> dict[str, Any]:
    pictures = [f"{PICTURES}/{picture.name}.png" for picture in finding.pictures]
    return vars(finding) | {"rows": list(finding.rows), "pictures": pictures}


def _png(picture: Picture) -> bytes:
    buffer = io.BytesIO()
    picture.figure.savefig(buffer, format="png", dpi=DPI)
    return buffer.getvalue()


def _render(template: str, audit: Audit, pictures: Mapping[str, str]) -> str:
    return render(
        "bloodcell.audit",
        template,
        {
            "n_rows": N_ROWS,
            "pictures_folder": PICTURES,
            "audit": audit,
            "pictures": pictures,
            "severities": SEVERITIES,
            "titles": TITLES,
            "answers": answers(audit.findings),
            "anchor": lambda finding: (
                f"finding-{next(n for n, each in enumerate(audit.findings, 1) if each is finding)}"
            ),
        },
    )
