"""The measurements of a set with one row per source, however many copies it has."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bloodcell.cells.measurements import PROPERTIES, Measurements

MIN_SOURCES = 5
"""Sources that a class needs to be checked, and groups that all classes need together."""


@dataclass(frozen=True, kw_only=True)
class SourceTable:
    """n sources and the means of their images' measurements.

    Attributes
    ----------
    sources, groups
        Names, sorted; the number of each source's group, shape (n,), int64, in the order of the groups' names.
    labels, splits
        The most frequent label of its images, of ties the first by name; its split, empty if it is in several.
    examples, n_images
        The path of one of its images, and their number, shape (n,), int64.
    properties, cells, counts
        As in `Measurements`: means over the images, and the most frequent count.
    border, background
        Black border and background of the example image only: a mean over copies would depend on their number.
    """

    sources: NDArray[np.str_]
    groups: NDArray[np.int64]
    labels: NDArray[np.str_]
    splits: NDArray[np.str_]
    examples: NDArray[np.str_]
    n_images: NDArray[np.int64]
    properties: NDArray[np.float64]
    cells: NDArray[np.float64]
    border: NDArray[np.float64]
    background: NDArray[np.float64]
    counts: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.sources)

    def where(self, mask: NDArray[np.bool_]) -> "SourceTable":
        """Return the sources of a mask, shape (n,)."""
        return SourceTable(**{name: values[mask] for name, values in vars(self).items()})

    def of_frequent_classes(self) -> "SourceTable | None":
        """Return the sources of classes that have `MIN_SOURCES`.

        None if there are fewer than two such classes, or fewer than `MIN_SOURCES` groups.
        """
        names, counts = np.unique(self.labels, return_counts=True)
        kept = self.where(np.isin(self.labels, names[counts >= MIN_SOURCES]))
        return None if (counts >= MIN_SOURCES).sum() < 2 or np.unique(kept.groups).size < MIN_SOURCES else kept


def source_table(manifest: pd.DataFrame, measurements: Measurements) -> SourceTable:
    """Aggregate the measurements of a manifest's images, in its order, by source."""
    numbers, sources = pd.factorize(manifest["source"], sort=True)
    by_source = manifest.reset_index(drop=True).groupby(numbers)
    first = np.unique(numbers, return_index=True)[1]
    splits = by_source["split"].agg(lambda values: values.iloc[0] if values.nunique() == 1 else "")
    counts = pd.Series(measurements.counts).groupby(numbers).agg(lambda values: values.mode().iloc[0])
    return SourceTable(
        sources=sources.to_numpy(dtype=str),
        groups=pd.factorize(manifest["group"], sort=True)[0][first].astype(np.int64),
        labels=by_source["label"].agg(lambda values: values.mode().iloc[0]).to_numpy(dtype=str),
        splits=splits.to_numpy(dtype=str),
        examples=manifest["path"].to_numpy(dtype=str)[first],
        n_images=np.bincount(numbers),
        properties=_means(measurements.properties, numbers),
        cells=_means(measurements.cells, numbers),
        border=measurements.properties[first, PROPERTIES.index("black border")].astype(np.float64),
        background=measurements.ground[first].astype(np.float64),
        counts=counts.to_numpy(np.int64),
    )


def _means(values: NDArray[np.float32], numbers: NDArray[np.intp]) -> NDArray[np.float64]:
    return np.asarray(pd.DataFrame(values.astype(np.float64)).groupby(numbers).mean())
