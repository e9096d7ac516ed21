"""Copies that contradict each other, and files that are there twice."""

import pandas as pd

from bloodcell.audit.finding import Finding, Picture
from bloodcell.audit.leakage import Read
from bloodcell.data.leaks import connected_components
from bloodcell.plots.audit import gallery
from bloodcell.wording import counted

N_SHOWN = 8


def conflicting_labels(manifest: pd.DataFrame, *, read: Read) -> Finding:
    """Find photographs whose images are of more than one class: at least one label of each is wrong."""
    numbered = manifest.assign(photograph=connected_components(manifest, "source", "sha256"))
    kinds = numbered.groupby("photograph")["label"].transform("nunique")
    torn = numbered[kinds > 1]
    if torn.empty:
        return Finding(
            code="conflicting-labels", severity="clear", what="All images of one photograph are of one class."
        )
    majority = torn.groupby("photograph")["label"].transform(lambda labels: labels.mode().iloc[0])
    against = torn.assign(others=majority)[torn["label"] != majority].sort_values(["photograph", "path"])
    rows = [{"path": row.path, "label": row.label, "other_copies": row.others} for row in against.itertuples()]
    shown = against.drop_duplicates("photograph").head(N_SHOWN // 2)
    pairs = []
    for row in shown.itertuples():
        other = torn[(torn["photograph"] == row.photograph) & (torn["label"] == row.others)].iloc[0]
        pairs += [(row.path, str(row.label)), (other["path"], str(row.others))]
    n_photographs = torn["photograph"].nunique()
    return Finding(
        code="conflicting-labels",
        severity="error",
        what=f"{counted(n_photographs, 'photograph')} {'has' if n_photographs == 1 else 'have'} images of more than "
        f"one class: {counted(len(against), 'image')} {'is' if len(against) == 1 else 'are'} of another class than "
        "other copies.",
        numbers={"photographs": n_photographs, "images": len(against)},
        advice="Look at each, and move its images to the class that is right.",
        rows=rows,
        pictures=[
            Picture(
                name="conflicting_labels",
                figure=gallery(
                    [read(path) for path, _ in pairs],
                    captions=[f"{label}\n{path}" for path, label in pairs],
                    title="Copies of one photograph, side by side, with different labels",
                    columns=4,
                ),
                shows="Pairs of copies of one photograph that have different labels",
            )
        ],
    )


def exact_duplicates(manifest: pd.DataFrame) -> Finding:
    """Find files with the same content."""
    twice = manifest[manifest["sha256"].duplicated(keep=False)].sort_values(["sha256", "path"])
    if twice.empty:
        return Finding(code="exact-duplicates", severity="clear", what="No two files have the same content.")
    contents = twice.groupby("sha256", sort=False)["path"].agg(list)
    surplus = len(twice) - len(contents)
    return Finding(
        code="exact-duplicates",
        severity="note",
        what=f"{counted(surplus, 'file')} {'repeats' if surplus == 1 else 'repeat'} the content of another.",
        numbers={"contents": len(contents), "surplus_files": surplus},
        advice="They count as one photograph here; remove the surplus if they were not meant.",
        rows=[{"path": paths[0], "same_as": ", ".join(paths[1:])} for paths in contents],
    )
