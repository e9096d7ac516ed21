"""How many candidates have challenged the champions of a registered model on the same validation images."""

from dataclasses import dataclass

from mlflow import MlflowClient

from bloodcell.comparison.verdicts import SIGNIFICANCE
from bloodcell.tracking.models import RegisteredVersion
from bloodcell.tracking.runs import StoredRun

PREFIX = "challenges."
"""Before the digest of images, in the name of a version's tag."""
OF_CANDIDATE = "promotion_challenge"
"""The tag of a candidate with its last challenge: model, version and digest of images."""


@dataclass(frozen=True, kw_only=True)
class Challenge:
    """A candidate's challenge of a champion.

    Attributes
    ----------
    model, champion
        The name of the registered model, and its version.
    images
        The digest of the validation images.
    number
        How many candidates have challenged a version of the model on these images, this one included.
    """

    model: str
    champion: RegisteredVersion
    images: str
    number: int

    @property
    def sentence(self) -> str:
        """How many candidates there were, and how likely one of them looks better by luck."""
        if self.number == 1:
            return "It is the first candidate that is compared with the champion on these validation images."
        luck = min(self.number * SIGNIFICANCE / 2, 1)  # the union bound
        return (
            f"{self.number:,} candidates, with this one, have been compared with a champion on these validation "
            f"images. If none is better, the probability that one looks better is up to {100 * luck:.1f} %. For many "
            "candidates use bloodcell gate, which corrects for their number."
        )

    @property
    def name(self) -> str:
        """The same for the same question."""
        return f"{self.model}/{self.champion.number} {self.images}"

    def count(self, candidate: StoredRun) -> None:
        """Write it to the champion's tags and to the candidate's."""
        client = MlflowClient()
        client.set_model_version_tag(self.model, str(self.champion.number), f"{PREFIX}{self.images}", str(self.number))
        client.set_tag(candidate.id, OF_CANDIDATE, self.name)


def find_challenge(candidate: StoredRun, champion: RegisteredVersion, *, model: str, images: str) -> Challenge:
    """Return the challenge of a champion by a candidate on validation images with a digest.

    The same candidate that challenges the same version on the same images again is not counted again.
    """
    client, tag = MlflowClient(), f"{PREFIX}{images}"
    quoted = f'"{model}"' if "'" in model else f"'{model}'"
    # Of all champions, as a new one was found on these images, too.
    counts = [each.tags.get(tag, "") for each in client.search_model_versions(f"name = {quoted}")]
    before = max((int(count) for count in counts if count.isdecimal()), default=0)
    asked = Challenge(model=model, champion=champion, images=images, number=max(before, 1))
    if before and client.get_run(candidate.id).data.tags.get(OF_CANDIDATE) == asked.name:
        return asked
    return Challenge(model=model, champion=champion, images=images, number=before + 1)
