"""The diagram of the data flow of a run."""

import pandas as pd
from matplotlib.figure import Figure

from bloodcell.cards.document import words_of
from bloodcell.cards.report_facts import PARTS, ReportFacts
from bloodcell.plots.flow import Box, data_flow
from bloodcell.wording import counted

MAX_REASONS = 4
"""Reasons of unreadable files in the diagram."""


def flow_figure(facts: ReportFacts) -> Figure | None:
    """Return the diagram of a run's data flow; None if the run has no list of images."""
    if facts.manifest is None or not facts.parts:
        return None
    manifest, values = facts.manifest, facts.run.parameters
    unreadable = int(values.get("images.unreadable", 0))
    copies = int(values.get("images.left_out", 0))
    found = len(manifest) + unreadable + copies
    left = [f"{counted(unreadable, 'file')} cannot be read"]
    left += _reasons(facts.unreadable)
    left.append(f"{counted(copies, 'image')} with a copy or its {facts.group_name} in another split")
    other = facts.audit.what("other-files") if facts.audit else None
    left.append(f"Other files: {words_of(other) if other else 'not recorded by the run'}")
    return data_flow(
        title=f"Data flow of run {facts.run.name}",
        found=Box(heading=f"{found:,} image files found", lines=["in the folders or the table of the data set"]),
        left_out=Box(heading=f"{unreadable + copies:,} image files left out", lines=left),
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
                    f"images ({facts.groups}) of each class:",
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


def _sizes(facts: ReportFacts, rows: pd.DataFrame) -> str:
    photographs = counted(rows["source"].nunique(), "photograph")
    if facts.group_name == "photograph":
        return f"of {photographs}"
    return f"of {photographs}, {counted(rows['group'].nunique(), facts.group_name)}"


def _reasons(unreadable: pd.DataFrame | None) -> list[str]:
    if unreadable is None or "reason" not in unreadable:
        return []
    counts = unreadable["reason"].astype(str).value_counts()
    return [f"  {number} × {reason}" for reason, number in counts.head(MAX_REASONS).items()]
