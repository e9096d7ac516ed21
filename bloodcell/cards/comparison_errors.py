"""The misclassified photographs of a comparison, as its report shows them."""

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from bloodcell.comparison.candidates import Aligned, Candidate
from bloodcell.evaluation.probabilities import predicted_classes

MAX_PICTURES = 150
"""Photographs with a picture on the page; the others are listed by name."""

Picture = Callable[[str], bytes | None]


@dataclass(frozen=True, kw_only=True)
class MisclassifiedSource:
    """A photograph that at least one model misclassifies.

    Attributes
    ----------
    name
        Its source, or the path of its only image.
    label
        The index of its class.
    predicted
        The index of the class that each model predicts, from the mean over the photograph's images.
    jpeg
        A small JPEG of its first image, base64; empty if there is none.
    """

    name: str
    label: int
    predicted: tuple[int, ...]
    jpeg: str

    @property
    def n_wrong(self) -> int:
        """The number of models that misclassify it."""
        return sum(each != self.label for each in self.predicted)


def predicted_sources(aligned: Aligned, candidate: Candidate) -> pd.DataFrame:
    """Return predictions by source: ``source, path, label, predicted, correct``; classes by index."""
    predictions = aligned.predictions(candidate)[0]
    each, first = predictions.by_source(), aligned.images.iloc[predictions.source_index[0]]
    predicted = predicted_classes(each.probabilities)
    return pd.DataFrame(
        {
            "source": first["source"].to_numpy(),
            "path": first["path"].to_numpy(),
            "label": each.labels,
            "predicted": predicted,
            "correct": predicted == each.labels,
        }
    )


def misclassified_sources(
    by_source: Mapping[str, pd.DataFrame], *, models: Sequence[str], picture: Picture
) -> list[MisclassifiedSource]:
    """Return the photographs that a model misclassifies, those that most models misclassify first.

    Parameters
    ----------
    by_source
        By run, the table of `predicted_sources`.
    models
        The runs, in the order of `MisclassifiedSource.predicted`.
    picture
        Returns a small JPEG of the image with a path; None if there is none.
    """
    table = by_source[models[0]]
    predicted = np.stack([by_source[model]["predicted"].to_numpy() for model in models], axis=1)
    n_wrong = (predicted != table["label"].to_numpy()[:, None]).sum(axis=1)
    found: list[MisclassifiedSource] = []
    for row in sorted(np.flatnonzero(n_wrong), key=lambda row: -n_wrong[row]):
        jpeg = picture(table["path"].iloc[row]) if len(found) < MAX_PICTURES else None
        found.append(
            MisclassifiedSource(
                name=str(table["source"].iloc[row]),
                label=int(table["label"].iloc[row]),
                predicted=tuple(int(each) for each in predicted[row]),
                jpeg=base64.b64encode(jpeg).decode("ascii") if jpeg else "",
            )
        )
    return found
