"""Photographs and groups on two sides of a split, and what a split by file would do."""

from collections.abc import Callable, Sequence

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bloodcell.audit.finding import Finding, Picture
from bloodcell.data.groups import sources_in_several_groups
from bloodcell.data.leaks import SPLIT_NAMES, SharedGroups, find_shared_groups
from bloodcell.images.normalisation import at_working_size
from bloodcell.plots.audit import aligned_pairs
from bloodcell.provenance.alignment import align
from bloodcell.provenance.keypoints import find_keypoints
from bloodcell.wording import PHOTOGRAPH, counted, plural

N_PAIRS = 4
VALIDATION_SHARE = 0.2

Read = Callable[[str], NDArray[np.uint8]]
"""From a path of the manifest to its pixels, RGB, shape (height, width, 3), uint8."""


def shared_between_sides(
    manifest: pd.DataFrame, *, read: Read, groups_known: bool, group_name: str = PHOTOGRAPH
) -> list[Finding]:
    """Find photographs and groups that have images on two sides of training, validation and test.

    Parameters
    ----------
    manifest
        As in `bloodcell.data.manifest.ImageSet`.
    read
        Reads an image.
    groups_known
        Whether groups are known; where they are not, only exact copies are.
    group_name
        What a group is called.
    """
    found = [_shared(manifest, shared, read) for shared in find_shared_groups(manifest, group_name=group_name)]
    if not groups_known:
        found.append(
            Finding(
                code="photographs-unknown",
                severity="warning",
                what="Which photograph an image was made from was not looked for (data.groups=none), so copies on "
                "two sides would go unseen, and every number below counts images as if each were a photograph.",
                advice="Leave data.groups=recover, or name the photographs by column, pattern or folder.",
            )
        )
    if not found:
        nouns = " and no ".join(dict.fromkeys([PHOTOGRAPH, group_name]))
        sides = sorted(set(manifest["split"]), key=list(SPLIT_NAMES).index)
        found.append(
            Finding(
                code="shared-photographs",
                severity="clear",
                what=f"No {nouns} has images on two sides of {', '.join(SPLIT_NAMES[side] for side in sides)}.",
            )
        )
    return [*found, *_torn(manifest, group_name)]


def _torn(manifest: pd.DataFrame, group_name: str) -> list[Finding]:
    """Find photographs whose images lie in several groups."""
    torn = sources_in_several_groups(manifest)
    if not torn:
        return []
    first = manifest.drop_duplicates(["source", "group"]).set_index(["source", "group"])["path"]
    rows = [
        {"path": str(first[source, name]), group_name: name, "photograph": source}
        for source, names in torn.items()
        for name in names
    ]
    return [
        Finding(
            code="photographs-in-several-groups",
            severity="warning",
            what=f"{counted(len(torn), PHOTOGRAPH)} {'lies' if len(torn) == 1 else 'lie'} in more than one "
            f"{group_name}, so these {plural(group_name)} are not independent.",
            numbers={"photographs": len(torn)},
            advice=f"Give the images of one photograph one {group_name}, or join the {plural(group_name)}.",
            rows=rows,
        )
    ]


def overlapping(manifest: pd.DataFrame, *, pairs: Sequence[tuple[str, str]], read: Read) -> Finding:
    """Report pairs of photographs, by their names, that show the same place in part."""
    first = manifest.drop_duplicates("source").set_index("source")
    rows = [
        {
            "path": str(first.loc[one, "path"]),
            "overlaps": str(first.loc[other, "path"]),
            "labels": ", ".join(dict.fromkeys(first.loc[[one, other], "label"])),
            "sides": " and ".join(
                SPLIT_NAMES[side] for side in SPLIT_NAMES if side in set(first.loc[[one, other], "split"])
            ),
        }
        for one, other in pairs
    ]
    if not rows:
        return Finding(
            code="overlapping-photographs", severity="clear", what="No two photographs show the same place on a slide."
        )
    rows.sort(key=lambda row: (" and " not in row["sides"], row["labels"].count(",") == 0))
    across = sum(" and " in row["sides"] for row in rows)
    differing = sum("," in row["labels"] for row in rows)
    return Finding(
        code="overlapping-photographs",
        severity="warning" if across else "note",
        what=f"{counted(len(rows), 'pair')} of photographs {'shows' if len(rows) == 1 else 'show'} places that "
        f"overlap, {across} of them on two sides and {differing} with different labels: the same cell may be in both.",
        numbers={"pairs": len(rows), "pairs_on_two_sides": across, "pairs_with_different_labels": differing},
        advice="Look whether it is the same cell. If so, put both on one side: write the groups down with bloodcell "
        "groups, give both one name, and use data.groups=column data.group_name=photograph.",
        rows=rows,
        pictures=[
            _aligned([(row["path"], row["overlaps"]) for row in rows], read, "Photographs that overlap", "overlapping")
        ],
    )


def random_split(manifest: pd.DataFrame) -> Finding:
    """Say how many validation images would have a copy in training if validation were taken file by file.

    Exactly, for a fifth of the training images drawn at random: an image of a photograph with s of all n images has no
    copy in training if the other s - 1 were all drawn too.
    """
    sizes = manifest.loc[manifest["split"] == "train", "source"].value_counts().to_numpy()
    n_images = int(sizes.sum())
    n_val = max(round(VALIDATION_SHARE * n_images), 1)
    alone = sum(size * _all_drawn(size - 1, n_val - 1, n_images - 1) for size in sizes) / n_images
    leaking = 1 - alone
    numbers = {
        "training_images": n_images,
        "validation_images": n_val,
        "share_with_copy_in_training": round(leaking, 4),
    }
    if leaking < 0.005:
        return Finding(
            code="random-split",
            severity="clear",
            what="A random split by file would hardly part copies of one photograph: there are none, or next to none.",
            numbers=numbers,
        )
    return Finding(
        code="random-split",
        severity="note",
        what=f"A random split by file would leave {leaking:.1%} of its {n_val:,} validation images with a copy in "
        f"training{': validation would measure memory' if leaking > 0.5 else ''}.",
        numbers=numbers,
        advice="Split by whole photographs: split=group_holdout (the default) or split=group_kfold.",
    )


def _all_drawn(others: int, drawn: int, among: int) -> float:
    """Return the probability that all of some others are among those drawn without replacement."""
    if others > drawn:
        return 0.0
    steps = np.arange(others)
    return float(np.prod((drawn - steps) / (among - steps)))


def _shared(manifest: pd.DataFrame, shared: SharedGroups, read: Read) -> Finding:
    one, other = (SPLIT_NAMES[side] for side in shared.sides)
    of_photographs = shared.noun == PHOTOGRAPH
    rows = _copies(manifest, shared.sides, ("source", "sha256") if of_photographs else ("group",))
    return Finding(
        code="shared-photographs" if of_photographs else "shared-groups",
        severity="error",
        what=f"{counted(shared.number, shared.noun)} {'has' if shared.number == 1 else 'have'} "
        f"images in both {one} and {other}: {shared}.",
        numbers={
            "sides": f"{one}, {other}",
            "photographs" if of_photographs else "groups": shared.number,
            f"{shared.sides[0]}_images": shared.images[0],
            f"{shared.sides[1]}_images": shared.images[1],
        },
        advice=f"Move every {shared.noun} to one side, or leave its {one} images out with data.on_shared_groups=drop.",
        rows=rows,
        pictures=[
            _aligned(
                [(pair[shared.sides[0]], pair[shared.sides[1]]) for pair in rows],
                read,
                f"On both sides, {one} and {other}",
                f"shared_{'_'.join(shared.sides)}",
            )
        ]
        if of_photographs
        else [],
    )


def _copies(manifest: pd.DataFrame, sides: Sequence[str], columns: Sequence[str]) -> list[dict[str, str]]:
    """Return an image of each side for every value of any of some columns that they share."""
    here, there = (manifest[manifest["split"] == side] for side in sides)
    pairs = []
    for column in columns:
        first, second = (rows.drop_duplicates(column).set_index(column)["path"] for rows in (here, there))
        both = first.to_frame("here").join(second.rename("there"), how="inner").sort_values("here")
        pairs += [{sides[0]: str(row.here), sides[1]: str(row.there)} for row in both.itertuples()]
    return list({tuple(pair.values()): pair for pair in pairs}.values())


def _aligned(pairs: Sequence[tuple[str, str]], read: Read, title: str, name: str) -> Picture:
    chosen = pairs[:N_PAIRS]
    triples = []
    for here, there in chosen:
        first, second = at_working_size(read(here)), at_working_size(read(there))
        triples.append((first, second, lay_on(second, first)))
    return Picture(
        name=name,
        figure=aligned_pairs(triples, names=chosen, title=title),
        shows=f"{title}: pairs of images, and the second laid on the first",
    )


def lay_on(moving: NDArray[np.uint8], fixed: NDArray[np.uint8]) -> NDArray[np.uint8] | None:
    """Bring an image to where another shows the same; None if no transformation is found."""
    here, there = find_keypoints(moving), find_keypoints(fixed)
    found = [align(here, there, mirrored=mirrored) for mirrored in (False, True)]
    best = max((fit for fit in found if fit is not None), key=lambda fit: fit.inliers, default=None)
    if best is None:
        return None
    return np.asarray(cv2.warpPerspective(moving, best.matrix, (fixed.shape[1], fixed.shape[0])))
