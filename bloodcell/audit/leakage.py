"""Sources and groups that several splits share, and the leakage of a split by file."""

from collections.abc import Sequence

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bloodcell.audit.finding import Finding, Numbers, Picture, ReadImage, passed
from bloodcell.cells.segmentation import find_cell
from bloodcell.data.groups import sources_in_several_groups
from bloodcell.data.leaks import SPLIT_NAMES, SharedGroups, find_shared_groups, untextured_sentence
from bloodcell.data.manifest import UNTEXTURED
from bloodcell.images.normalisation import at_working_size
from bloodcell.plots.audit import aligned_pairs
from bloodcell.provenance.alignment import Matrix, align, apply
from bloodcell.provenance.keypoints import find_keypoints
from bloodcell.wording import PHOTOGRAPH, counted, plural

N_PAIRS = 4
VALIDATION_FRACTION = 0.2


def shared_between_splits(
    manifest: pd.DataFrame, *, read: ReadImage, groups_known: bool, group_name: str = PHOTOGRAPH
) -> list[Finding]:
    """Find sources and groups with images in more than one split.

    Parameters
    ----------
    manifest
        As in `bloodcell.data.manifest.ImageSet`.
    read
        Reads an image.
    groups_known
        Whether groups are known; if not, only exact copies are found.
    group_name
        The user's word for a group.
    """
    found = [_shared(manifest, shared, read) for shared in find_shared_groups(manifest, group_name=group_name)]
    if not groups_known:
        found.append(
            Finding(
                code="photographs-unknown",
                severity="warning",
                what="data.groups=none: which images come from one photograph is unknown. The audit finds only exact "
                "copies across splits, and every number below counts each image as a photograph.",
                advice="Use data.groups=recover, or give the photographs by column, pattern or folder.",
            )
        )
    if not found:
        nouns = " and no ".join(dict.fromkeys([PHOTOGRAPH, group_name]))
        splits = ", ".join(name for split, name in SPLIT_NAMES.items() if split in set(manifest["split"]))
        found.append(passed("shared-photographs", f"No {nouns} has images in more than one split ({splits})."))
    return [*found, *_in_several_groups(manifest, group_name)]


def _in_several_groups(manifest: pd.DataFrame, group_name: str) -> list[Finding]:
    sources = sources_in_several_groups(manifest)
    if not sources:
        return []
    paths = manifest.drop_duplicates(["source", "group"]).set_index(["source", "group"])["path"]
    groups = plural(group_name)
    return [
        Finding(
            code="photographs-in-several-groups",
            severity="warning",
            what=f"{counted(len(sources), PHOTOGRAPH)} {'has' if len(sources) == 1 else 'have'} images in more than "
            f"one {group_name}, so these {groups} are not independent.",
            numbers={"photographs": len(sources)},
            advice=f"Assign all images of a photograph to one {group_name}, or merge the {groups}.",
            rows=[
                {"path": str(paths[source, name]), group_name: name, "photograph": source}
                for source, names in sources.items()
                for name in names
            ],
        )
    ]


def too_little_texture(manifest: pd.DataFrame) -> Finding:
    """Report the images without enough texture to be matched, whose copies are not found."""
    rows = manifest[manifest[UNTEXTURED].astype(bool)]
    if rows.empty:
        return passed("too-little-texture", "Every image has enough texture to be matched.")
    return Finding(
        code="too-little-texture",
        severity="warning",
        what=f"{untextured_sentence(len(rows))}.",
        numbers={"images": len(rows)},
        advice="Give their photographs by column, pattern or folder, or leave them out.",
        rows=[{"path": row.path, "split": row.split, "label": row.label} for row in rows.itertuples()],
    )


def overlapping(manifest: pd.DataFrame, *, pairs: Sequence[tuple[str, str]], read: ReadImage) -> Finding:
    """Report pairs of sources, by their names, that show overlapping places of a slide."""
    if not pairs:
        return passed("overlapping-photographs", "No two photographs show the same place on a slide.")
    first = manifest.drop_duplicates("source").set_index("source")
    rows = [
        {
            "path": str(first.loc[one, "path"]),
            "overlaps": str(first.loc[other, "path"]),
            "labels": ", ".join(dict.fromkeys(first.loc[[one, other], "label"])),
            "sides": " and ".join(
                name for split, name in SPLIT_NAMES.items() if split in set(first.loc[[one, other], "split"])
            ),
        }
        for one, other in pairs
    ]
    rows.sort(key=lambda row: (" and " not in row["sides"], row["labels"].count(",") == 0))
    n_across = sum(" and " in row["sides"] for row in rows)
    n_differing = sum("," in row["labels"] for row in rows)
    return Finding(
        code="overlapping-photographs",
        severity="warning" if n_across else "note",
        what=f"{counted(len(rows), 'pair')} of photographs {'shows' if len(rows) == 1 else 'show'} overlapping places "
        f"of a slide, perhaps the same cell; {n_across} of them {'is' if n_across == 1 else 'are'} in two splits and "
        f"{n_differing} {'has' if n_differing == 1 else 'have'} different labels.",
        numbers={"pairs": len(rows), "pairs_on_two_sides": n_across, "pairs_with_different_labels": n_differing},
        advice="Check whether both show the same cell. If so, give them one group: save the groups with bloodcell "
        "groups, edit the table, and set data.groups=column data.group_name=photograph.",
        rows=rows,
        pictures=[
            _aligned([(row["path"], row["overlaps"]) for row in rows], read, "Overlapping photographs", "overlapping")
        ],
    )


def cells_with_two_labels(manifest: pd.DataFrame, *, pairs: Sequence[tuple[str, str]], read: ReadImage) -> Finding:
    """Find cells that two overlapping sources, by their names, show under different labels."""
    first = manifest.drop_duplicates("source")
    path, label = (dict(zip(first["source"], first[column], strict=True)) for column in ("path", "label"))
    rows = [
        {"path": path[one], "label": label[one], "same_cell": path[other], "its_label": label[other]}
        for one, other in pairs
        if label[one] != label[other] and _show_one_cell(read(path[one]), read(path[other]))
    ]
    if not rows:
        return passed("cells-with-two-labels", "No cell is in two photographs with different labels.")
    verb = "is" if len(rows) == 1 else "are"
    return Finding(
        code="cells-with-two-labels",
        severity="error",
        what=f"{counted(len(rows), 'cell')} {verb} in two photographs with different labels, for example "
        f"{rows[0]['label']} in {rows[0]['path']} and {rows[0]['its_label']} in {rows[0]['same_cell']}.",
        numbers={"cells": len(rows)},
        advice="One label of each is wrong. Correct it with data.labels_file, and give both photographs one group.",
        rows=rows,
        pictures=[_aligned([(row["path"], row["same_cell"]) for row in rows], read, "Cells with two labels", "labels")],
    )


def _show_one_cell(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> bool:
    """Return whether the white cell of one image is, after alignment, that of the other."""
    fixed, moving = at_working_size(first), at_working_size(second)
    matrix = alignment_of(moving, fixed)
    here, there = find_cell(fixed), find_cell(moving)
    if matrix is None or not (here.found and there.found):
        return False
    moved = apply(matrix, np.array([there.centre]))[0]
    return bool(np.hypot(*(moved - np.array(here.centre))) <= here.radius)


def random_split(manifest: pd.DataFrame) -> Finding:
    """Compute the share of validation images with a copy in training, for a random split by file.

    The expectation is exact. A fifth of the n training images is drawn for validation; an image whose source has s
    images has no copy in training if the other s - 1 are drawn, too.
    """
    sizes = manifest.loc[manifest["split"] == "train", "source"].value_counts().to_numpy()
    n_images = int(sizes.sum())
    n_val = max(round(VALIDATION_FRACTION * n_images), 1)
    leaking = 1 - sum(size * _all_drawn(size - 1, n_val - 1, n_images - 1) for size in sizes) / n_images
    numbers: Numbers = {
        "training_images": n_images,
        "validation_images": n_val,
        "share_with_copy_in_training": round(leaking, 4),
    }
    if leaking < 0.005:
        return passed(
            "random-split",
            "A random split by file would leave almost no validation image with a copy in training.",
            numbers,
        )
    return Finding(
        code="random-split",
        severity="note",
        what=f"In a random split by file, {100 * leaking:.1f} % of {n_val:,} validation images would have a copy in "
        f"training{', so validation would measure memorisation' if leaking > 0.5 else ''}.",
        numbers=numbers,
        advice="Split by photograph: split=group_holdout (the default) or split=group_kfold.",
    )


def _all_drawn(others: int, drawn: int, total: int) -> float:
    """Return the probability that all of some items are among those drawn without replacement."""
    if others > drawn:
        return 0.0
    steps = np.arange(others)
    return float(np.prod((drawn - steps) / (total - steps)))


def _shared(manifest: pd.DataFrame, shared: SharedGroups, read: ReadImage) -> Finding:
    one, other = (SPLIT_NAMES[split] for split in shared.splits)
    of_sources = shared.noun == PHOTOGRAPH
    pairs = _shared_pairs(manifest, shared.splits, ("source", "sha256") if of_sources else ("group",))
    name = f"shared_{'_'.join(shared.splits)}"
    return Finding(
        code="shared-photographs" if of_sources else "shared-groups",
        severity="error",
        what=f"{counted(shared.number, shared.noun)} {'has' if shared.number == 1 else 'have'} images in both {one} "
        f"and {other}: {shared}.",
        numbers={
            "sides": f"{one}, {other}",
            "photographs" if of_sources else "groups": shared.number,
            f"{shared.splits[0]}_images": shared.images[0],
            f"{shared.splits[1]}_images": shared.images[1],
        },
        advice=f"Put all images of a {shared.noun} into one split, or set data.on_shared_groups=drop to leave its "
        f"{one} images out.",
        rows=[dict(zip(shared.splits, pair, strict=True)) for pair in pairs],
        pictures=[_aligned(pairs, read, f"Photographs in both {one} and {other}", name)] if of_sources else [],
    )


def _shared_pairs(manifest: pd.DataFrame, splits: Sequence[str], columns: Sequence[str]) -> list[tuple[str, str]]:
    """Return the paths of an image of each split for every value of a column that both have."""
    pairs: dict[tuple[str, str], None] = {}
    for column in columns:
        first, second = (
            manifest[manifest["split"] == split].drop_duplicates(column).set_index(column)["path"] for split in splits
        )
        both = first.to_frame("first").join(second.rename("second"), how="inner").sort_values("first")
        pairs |= dict.fromkeys((str(row.first), str(row.second)) for row in both.itertuples())
    return list(pairs)


def _aligned(pairs: Sequence[tuple[str, str]], read: ReadImage, title: str, name: str) -> Picture:
    shown = pairs[:N_PAIRS]
    triples = []
    for paths in shown:
        first, second = (at_working_size(read(path)) for path in paths)
        triples.append((first, second, align_images(second, first)))
    return Picture(
        name=name,
        figure=aligned_pairs(triples, names=shown, title=title),
        caption=f"{title}: two images, and the second aligned with the first",
    )


def align_images(moving: NDArray[np.uint8], fixed: NDArray[np.uint8]) -> NDArray[np.uint8] | None:
    """Warp an image so that it matches another; None if no transformation is found."""
    matrix = alignment_of(moving, fixed)
    if matrix is None:
        return None
    return np.asarray(cv2.warpPerspective(moving, matrix, (fixed.shape[1], fixed.shape[0])))


def alignment_of(moving: NDArray[np.uint8], fixed: NDArray[np.uint8]) -> Matrix | None:
    """Return the matrix from one image's pixels to another's, shape (3, 3); None if none is found."""
    keypoints = find_keypoints(moving), find_keypoints(fixed)
    found = [align(*keypoints, mirrored=mirrored) for mirrored in (False, True)]
    best = max((fit for fit in found if fit is not None), key=lambda fit: fit.inliers, default=None)
    return None if best is None else best.matrix
