"""Sentences of a report on the study as a whole: its title, goal and technology."""

from bloodcell.cards.document import Text, joined, text
from bloodcell.cards.report_facts import PARTS, ReportFacts
from bloodcell.wording import listed


def technology(facts: ReportFacts) -> Text | None:
    """Return the kind of method, as a noun phrase."""
    config = facts.config
    if facts.method:
        return text("an ensemble of {n} classifiers", n=facts.n_members)
    if config is None:
        return None
    if config.backbone.is_network:
        trained = "as fixed features" if config.stays_frozen else "fine-tuned"
        return (
            f"deep learning: the convolutional network {config.backbone.name}, {trained}, with a classifier on top",
        )
    return (f"machine learning on hand-made image features ({config.backbone.name}), without a neural network",)


def title(facts: ReportFacts) -> Text | None:
    """Suggest a title."""
    method = technology(facts)
    if method is None:
        return None
    evaluated = " and internal evaluation" if facts.splits else ""
    return text(
        "Suggested title: “Classification of images of single blood cells ({classes}) by {method}: "
        "development{evaluated}”.",
        classes=facts.class_list,
        method=method,
        evaluated=evaluated,
    )


def goal(facts: ReportFacts) -> Text | None:
    """Return what the run was for."""
    if not facts.classes:
        return None
    evaluated = listed([PARTS[each] for each in facts.splits]) if facts.splits else ""
    return text(
        "A classifier of images of single blood cells was developed{evaluated}. It assigns one of the classes "
        "{classes}.",
        evaluated=f" and evaluated on held-out images ({evaluated})" if evaluated else "",
        classes=facts.class_list,
    )


def abstract_methods(facts: ReportFacts) -> Text | None:
    """Return the methods in the sentences of an abstract."""
    return joined([goal(facts), text("Method: {method}.", method=method) if (method := technology(facts)) else None])
