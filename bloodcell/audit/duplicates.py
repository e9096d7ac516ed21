"""Copies with different labels, and files with the same content."""

import pandas as pd

from bloodcell.audit.finding import Finding, Picture, ReadImage
from bloodcell.data.leaks import connected_components
from bloodcell.plots.images import captioned
from bloodcell.wording import PHOTOGRAPH, counted

N_PAIRS = 4


def conflicting_labels(manifest: pd.DataFrame, *, read: ReadImage) -> Finding:
    """Find sources whose images have different labels: at least one label of each source is wrong."""
    table = manifest.assign(source=connected_components(manifest, "source", "sha256"))
    conflicting = table[table.groupby("source")["label"].transform("nunique") > 1]
    if conflicting.empty:
        return Finding(
            code="conflicting-labels", severity="clear", what="All images of a photograph have the same label."
        )
    majority = conflicting.groupby("source")["label"].transform(lambda labels: labels.mode().iloc[0])
    minority = conflicting.assign(others=majority)[conflicting["label"] != majority].sort_values(["source", "path"])
    pairs = []
    for row in minority.drop_duplicates("source").head(N_PAIRS).itertuples():
        other = conflicting[(conflicting["source"] == row.source) & (conflicting["label"] == row.others)].iloc[0]
        pairs += [(row.path, str(row.label)), (other["path"], str(row.others))]
    n_sources = conflicting["source"].nunique()
    title = "Copies of one photograph with different labels"
    return Finding(
        code="conflicting-labels",
        severity="error",
        what=f"{counted(n_sources, PHOTOGRAPH)} {'has' if n_sources == 1 else 'have'} images with different labels: "
        f"{counted(len(minority), 'image')} {'has' if len(minority) == 1 else 'have'} another label than most copies.",
        numbers={"photographs": n_sources, "images": len(minority)},
        advice="Look at each photograph and move its images to the correct class.",
        rows=[{"path": row.path, "label": row.label, "other_copies": row.others} for row in minority.itertuples()],
        pictures=[
            Picture(
                name="conflicting_labels",
                figure=captioned(
                    [read(path) for path, _ in pairs],
                    captions=[f"{label}\n{path}" for path, label in pairs],
                    title=title,
                ),
                caption=f"{title}, in pairs",
            )
        ],
    )


def exact_duplicates(manifest: pd.DataFrame) -> Finding:
    """Find files with the same content."""
    duplicates = manifest[manifest["sha256"].duplicated(keep=False)].sort_values(["sha256", "path"])
    if duplicates.empty:
        return Finding(code="exact-duplicates", severity="clear", what="No two files have the same content.")
    contents = duplicates.groupby("sha256", sort=False)["path"].agg(list)
    surplus = len(duplicates) - len(contents)
    return Finding(
        code="exact-duplicates",
        severity="note",
        what=f"{counted(surplus, 'file')} {'has' if surplus == 1 else 'have'} the same content as another file.",
        numbers={"contents": len(contents), "surplus_files": surplus},
        advice="They count as one photograph. Remove them if they are not intended.",
        rows=[{"path": paths[0], "same_as": ", ".join(paths[1:])} for paths in contents],
    )
