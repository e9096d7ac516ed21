"""Sentences of a report on the splits: how images were assigned, and what the splits share."""

from bloodcell.cards.document import Text, joined, text
from bloodcell.cards.model_card import GROUPS, SPLIT
from bloodcell.cards.report_facts import PARTS, ReportFacts
from bloodcell.config.data import BccdData, FolderData, SmearsData, TableData
from bloodcell.wording import PHOTOGRAPH, listed


def partition(facts: ReportFacts) -> Text | None:
    """Return how images were assigned to training, validation and test."""
    config = facts.first_config
    run = facts.images_run if facts.method else facts.run
    if config is None:
        return None
    name = config.split.name
    rule = SPLIT.get(name, name).format(group=facts.group_name, groups=facts.groups)
    parts: list[Text | None] = [text("Validation: {rule}.", rule=rule)]
    if run.tags.fold is not None:
        parts.append(text("This run is fold {n}.", n=run.tag("fold", str(run.tags.fold))))
    if "split.fraction" in run.parameters:
        parts.append(text("The share was {n}.", n=run.parameter("split.fraction", percent=True)))
    if "split.folds" in run.parameters:
        parts.append(
            text(
                "Number of folds: {folds}; of repeats: {repeats}. Validation metrics are of out-of-fold predictions.",
                folds=run.parameter("split.folds"),
                repeats=run.parameter("split.repeats"),
            )
        )
    parts.append(test_origin(facts))
    return joined(parts)


def test_origin(facts: ReportFacts) -> Text | None:
    """Return where the test images are from."""
    config = facts.first_config
    if config is None or "test" not in facts.parts:
        return None
    match config.data:
        case BccdData():
            return ("The test images are those in the set's own folder TEST.",)
        case SmearsData():
            return ("The test images are other rendered smears of the same program.",)
        case FolderData(test_dir=None) | TableData():
            given = isinstance(config.data, TableData) and not facts.run.parameters.get("data.test_fraction")
            return None if given else (f"Test images were held out, whole {facts.groups}, from the same collection.",)
        case FolderData():
            several = f"{len(facts.test_sets)} folders" if facts.test_sets else "a folder"
            return (f"The test images are in {several} of their own.",)
    return None


def external(facts: ReportFacts) -> Text | None:
    """Return whether images from elsewhere were used; None if the run cannot know."""
    config = facts.first_config
    if config is None:
        return None
    match config.data:
        case FolderData(test_dir=folder) if folder is not None:
            return None
        case TableData():
            return None
    return ("No external data were used: all images are of one collection.",)


def disjoint(facts: ReportFacts) -> Text | None:
    """Return at which level the splits are disjoint, and which copies they share; None if that is unknown."""
    return None if facts.run.tags.leaky in (None, "unknown") else disjointness(facts)


def disjointness(facts: ReportFacts) -> Text | None:
    """Return at which level the splits are disjoint, which copies they share, or that this is unknown."""
    tags = facts.run.tags
    if tags.leaky is None or tags.groups is None:
        return None
    known = ", and ".join(GROUPS.get(each, each) for each in tags.groups.split(", "))
    where = text("Origin of the {groups}: {known}.", groups=facts.groups, known=known)
    match tags.leaky:
        case "false":
            nouns = dict.fromkeys((facts.group_name, PHOTOGRAPH, "file"))
            where_from = "In every fold, training" if facts.folds else "Training"
            found: Text = (
                f"{where_from}, validation and test share {listed([f'no {noun}' for noun in nouns])}: they are "
                f"disjoint by {facts.group_name}.",
            )
        case "true":
            found = _shared(facts)
        case _:
            found = ("Whether copies of one photograph are in several splits is unknown.",)
    left = text(
        "{n} images with a copy in another split were left out.",
        n=facts.images_run.parameter("images.left_out"),
    )
    return joined([where, found, left if facts.images_run.parameters.get("images.left_out", "0") != "0" else None])


def _shared(facts: ReportFacts) -> Text:
    shared = facts.leakage.shared if facts.leakage else []
    if not shared:
        return ("The splits are not disjoint: copies of one photograph can be on both sides.",)
    parts = [
        text(
            "{n} of {total} {second} images have a copy, or images of their {noun}, in {first}",
            n=facts.run.artifact("manifest.parquet", each.images[1], shared=list(each.splits), noun=each.noun),
            total=facts.run.artifact("manifest.parquet", each.totals[1], count="path", where={"split": each.splits[1]}),
            first=PARTS[each.splits[0]],
            second=PARTS[each.splits[1]],
            noun=each.noun,
        )
        for each in shared
    ]
    return text("The splits are not disjoint: {parts}. Metrics may be inflated.", parts=joined(parts, "; "))


def clusters(facts: ReportFacts) -> Text | None:
    """Return how images that are not independent were handled."""
    if facts.run.tags.groups in (None, "none"):
        return None
    name = facts.group_name
    whole = "They are in one split. " if facts.run.tags.leaky == "false" else ""
    return (
        f"Images of one {name} are a cluster. {whole}Intervals allow for the correlation within {facts.groups}. "
        "Centres, devices and stains are not known to the run.",
    )
