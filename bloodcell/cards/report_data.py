"""Sentences of a report on the images: where they are from, which were left out, and their quality."""

from bloodcell.cards.document import Text, joined, listed_texts, text
from bloodcell.cards.report_facts import PARTS, ReportFacts
from bloodcell.config.data import BccdData, FolderData, SmearsData, TableData


def data_source(facts: ReportFacts) -> Text | None:
    """Return where the images are from, as far as the run knows."""
    config, digest = facts.first_config, facts.run.tags.data_digest
    if config is None or digest is None:
        return None
    match config.data:
        case BccdData(root=root):
            place = text(
                "the Kaggle set “Blood Cell Images”, or images in its layout (folder {root})", root=_name(root)
            )
        case FolderData(train_dir=folder):
            place = text("those of a folder for each class (in {folder})", folder=_name(folder))
        case TableData(table=table):
            place = text("those that a table lists ({table})", table=_name(table))
        case SmearsData():
            place = ("blood smears that a program rendered (no image is of a person)",)
    return text(
        "The images were {place}. The digest of images, labels, groups and split is {digest}.",
        place=place,
        digest=facts.run.tag("data_digest", digest),
    )


def flow(facts: ReportFacts) -> Text | None:
    """Return how many files were read, left out, and used."""
    run = facts.images_run
    if not facts.parts or "images.unreadable" not in run.parameters:
        return None
    names = [f"images.{part}" for part in facts.parts]
    counts, by_list = ["images.unreadable", "images.left_out"], None
    if run.parameters.get("images.excluded", "0") != "0":
        counts.append("images.excluded")
        by_list = text(", {n} were on a list of images to exclude", n=run.parameter("images.excluded"))
    left = text(
        "{unreadable} could not be read{by_list} and {left_out} had a copy, or images of their {group}, in another "
        "split; these were left out",
        unreadable=run.parameter("images.unreadable"),
        by_list=by_list or "",
        left_out=run.parameter("images.left_out"),
        group=facts.group_name,
    )
    return joined(
        [
            text(
                "Of {found} image files, {left}. The other {used} were used: {parts}.",
                found=run.parameter(*names, *counts),
                left=left,
                used=run.parameter(*names),
                parts=listed_texts(
                    [text("{n} for {part}", n=facts.n_images(split=part), part=PARTS[part]) for part in facts.parts]
                ),
            ),
            _other_files(facts),
        ]
    )


def _other_files(facts: ReportFacts) -> Text | None:
    what = facts.audit.what("other-files") if facts.audit else None
    return text("The audit says of other files: {what}", what=what) if what else None


def missing(facts: ReportFacts) -> Text | None:
    """Return how missing data were handled."""
    config, run = facts.first_config, facts.images_run
    if config is None or "images.unreadable" not in run.parameters:
        return None
    policy = (
        "a file that could not be read would have stopped the run"
        if config.data.on_bad_image == "error"
        else "files that could not be read were left out"
    )
    return text(
        "A missing datum is an image that cannot be read: {policy}; {n} were left out. Every image has a label; no "
        "label and no pixel was imputed.",
        policy=policy,
        n=run.parameter("images.unreadable"),
    )


def quality(facts: ReportFacts) -> Text:
    """Return which checks of the images were made."""
    compared = "" if facts.run.tags.groups in (None, "none") else f" and by their {facts.group_name}"
    parts: list[Text | None] = [
        (f"Every image file was decoded before training. Files were compared by their content (SHA-256){compared}.",)
    ]
    if facts.audit:
        counts = [code for code, each in facts.audit.findings.items() if each.get("severity") in ("error", "warning")]
        parts.append(("An audit checked files, copies, labels, shortcuts and shifts.",))
        parts.extend(
            text("It warns: {what}", what=what) for code in counts if (what := facts.audit.what(code)) is not None
        )
    return joined(parts)


def poor_input(facts: ReportFacts) -> Text | None:
    """Return how the model answers images that it cannot judge."""
    if not facts.models:
        return None
    return (
        "The saved model gives no class for a file that cannot be read, and marks an image unlike the training images "
        "by its distance from them.",
    )


def _name(place: str) -> str:
    """Return the last part of a path, without the folders of the machine."""
    return place.rstrip("/\\").replace("\\", "/").rpartition("/")[2] or place
