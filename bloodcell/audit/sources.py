"""A set by photograph: one row for each, whatever the number of its copies."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bloodcell.cells.measurements import PROPERTIES, Measurements


@dataclass(frozen=True, kw_only=True)
class Photographs:
    """n photographs and what they look like: the mean over their images.

    Attributes
    ----------
    sources
        Their names, sorted.
    groups
        Numbers of the groups that they belong to, shape (n,), int64, sorted by the groups' names.
    labels
        The class of most of each one's images; of equally many the first by name.
    splits
        The split that each is in; empty where it is in several.
    examples
        The path of one image of each.
    n_images
        How many images were made from each, shape (n,), int64.
    properties, cells, counts
        As in `bloodcell.cells.measurements.Measurements`: means over the images, and the most frequent count.
    one_border, one_ground
        The black border and the ground of the example alone: a mean over copies would tell how many there are.
    """

    sources: NDArray[np.str_]
    groups: NDArray[np.int64]
    labels: NDArray[np.str_]
    splits: NDArray[np.str_]
    examples: NDArray[np.str_]
    n_images: NDArray[np.int64]
    properties: NDArray[np.float64]
    cells: NDArray[np.float64]
    one_border: NDArray[np.float64]
    one_ground: NDArray[np.float64]
    counts: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.sources)

    def part(self, chosen: NDArray[np.bool_]) -> "Photographs":
        """Return some of the photographs, shape (n,)."""
        return Photographs(**{name: values[chosen] for name, values in vars(self).items()})


def by_photograph(manifest: pd.DataFrame, measures: Measurements) -> Photographs:
    """Put the images of each photograph of a manifest together; the measures are in its rows' order."""
    numbers, sources = pd.factorize(manifest["source"], sort=True)
    by_source = manifest.reset_index(drop=True).groupby(numbers)
    first = np.unique(numbers, return_index=True)[1]
    splits = by_source["split"].agg(lambda values: values.iloc[0] if values.nunique() == 1 else "")
    return Photographs(
        sources=sources.to_numpy(dtype=str),
        groups=pd.factorize(manifest["group"], sort=True)[0][first].astype(np.int64),
        labels=by_source["label"].agg(lambda values: values.mode().iloc[0]).to_numpy(dtype=str),
        splits=splits.to_numpy(dtype=str),
        examples=manifest["path"].to_numpy(dtype=str)[first],
        n_images=np.bincount(numbers),
        properties=_means(measures.properties, numbers),
        cells=_means(measures.cells, numbers),
        one_border=measures.properties[first, PROPERTIES.index("black border")].astype(np.float64),
        one_ground=measures.ground[first].astype(np.float64),
        counts=pd.Series(measures.counts).groupby(numbers).agg(lambda values: values.mode().iloc[0]).to_numpy(np.int64),
    )


def _means(values: NDArray[np.float32], numbers: NDArray[np.intp]) -> NDArray[np.float64]:
    return np.asarray(pd.DataFrame(values.astype(np.float64)).groupby(numbers).mean())
