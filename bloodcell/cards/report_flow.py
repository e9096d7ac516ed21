"""The diagram of the data flow of a run."""

import pandas as pd
from matplotlib.figure import Figure

from bloodcell.cards.document import words_of
from bloodcell.cards.report_facts import PARTS, ReportFacts
from bloodcell.data.manifest import TEST_SET
from bloodcell.plots.flow import Box, data_flow
from bloodcell.wording import counted

MAX_REASONS = 4
"""Reasons in the diagram, of unreadable and of excluded files each."""


def flow_figure(facts: ReportFacts) -> Figure | None:
    """Return the diagram of a run's data flow; None if the run has no list of images."""
    if facts.manifest is None or not facts.parts:
        return None
    manifest = facts.manifest
    other = facts.audit.what("other-files") if facts.audit else None
    others = f"Other files: {words_of(other) if other else 'not recorded by the run'}"
    found, left_out = _files(facts, manifest, others)
    return data_flow(
        title=f"Data flow of run {facts.run.name}",
        found=found,
        left_out=left_out,
        used=Box(
            heading=f"{counted(len(manifest), 'image')} used",
            lines=[_sizes(facts, manifest), f"classes: {len(facts.classes)}"],
        ),
        splits=[
            Box(
                heading=f"{PARTS[part].capitalize()}: {counted(len(rows), 'image')}",
                lines=[
                    _sizes(facts, rows),
                    *(["each validated in its fold"] if part == "train" and facts.folds else []),
                    *(_test_sets(facts, rows) if part == "test" else []),
                    f"by class, images ({facts.groups}):",
                    *(
                        f"{label}: {len(of_class):,} ({of_class['group'].nunique():,})"
                        for label in facts.classes
                        for of_class in [rows[rows["label"] == label]]
                    ),
                ],
            )
            for part in facts.parts
            for rows in [manifest[manifest["split"] == part]]
        ],
    )


def _files(facts: ReportFacts, manifest: pd.DataFrame, others: str) -> tuple[Box, Box]:
    """Return the boxes of files found and left out; their numbers are unknown if the run did not log them."""
    values = facts.images_run.parameters
    where = "in the folders or the table of the data set"
    if not {"images.unreadable", "images.left_out"} <= set(values):
        return Box(heading="Image files found: unknown", lines=[where]), Box(
            heading="Left out: unknown", lines=[others]
        )
    unreadable, copies = int(values["images.unreadable"]), int(values["images.left_out"])
    excluded = int(values.get("images.excluded", 0))  # runs of an earlier version have none
    left = [
        f"{counted(unreadable, 'file')} cannot be read",
        *_reasons(facts.unreadable),
        *([f"{counted(excluded, 'image')} excluded by a list"] if excluded else []),
        *_reasons(facts.excluded),
        f"{counted(copies, 'image')} with a copy or its {facts.group_name} in another split",
        others,
    ]
    n_left = unreadable + excluded + copies
    return (
        Box(heading=f"{len(manifest) + n_left:,} image files found", lines=[where]),
        Box(heading=f"{n_left:,} image files left out", lines=left),
    )


def _sizes(facts: ReportFacts, rows: pd.DataFrame) -> str:
    photographs = counted(rows["source"].nunique(), "photograph")
    if facts.group_name == "photograph":
        return f"of {photographs}"
    return f"of {photographs}, {counted(rows['group'].nunique(), facts.group_name)}"


def _test_sets(facts: ReportFacts, rows: pd.DataFrame) -> list[str]:
    return [f"{name}: {counted((rows[TEST_SET] == name).sum(), 'image')}" for name in facts.test_sets]


def _reasons(images: pd.DataFrame | None) -> list[str]:
    if images is None or "reason" not in images:
        return []
    counts = images["reason"].astype(str).value_counts()
    return [f"  {number} × {reason}" for reason, number in counts.head(MAX_REASONS).items()]
