"""Sentences of a report on software, and on where code, model and settings are."""

from bloodcell.cards.document import Text, joined, listed_texts, text
from bloodcell.cards.report_facts import ReportFacts
from bloodcell.wording import listed


def versions(facts: ReportFacts) -> Text | None:
    """Return the versions of software, and the machine."""
    tags = facts.run.tags
    if not tags.versions:
        return None
    named = [
        text("{name} {version}", name=name, version=facts.run.tag(tags.version_tag(name), version))
        for name, version in sorted(tags.versions.items())
    ]
    dirty = {True: ", with uncommitted changes", False: ", without uncommitted changes", None: ""}[tags.git_dirty]
    commit = facts.run.tag("git_commit", tags.git_commit) if tags.git_commit else None
    return joined(
        [
            text("Software: {named}.", named=listed_texts(named)),
            text("The code is at commit {commit}{dirty}.", commit=commit, dirty=dirty) if commit else None,
        ]
    )


def details(facts: ReportFacts) -> Text | None:
    """Return where every setting is."""
    if not facts.run.parameters:
        return None
    return text(
        "Every setting, the list of images with their split, and every prediction are kept with the MLflow run {link} "
        "({id}).",
        link=facts.run.link,
        id=facts.run.id,
    )


def availability(facts: ReportFacts) -> Text | None:
    """Return where the software and the model are."""
    version = facts.run.tags.versions.get("bloodcell")
    if version is None:
        return None
    return joined(
        [
            text(
                "The analysis was made with the software bloodcell {version} (MIT licence).",
                version=facts.run.tag(facts.run.tags.version_tag("bloodcell"), version),
            ),
            text("The trained model is kept with the run as {models}.", models=listed(facts.models))
            if facts.models
            else ("The trained model was not kept.",),
        ]
    )
