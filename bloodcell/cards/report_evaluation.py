"""Sentences of a report on the evaluation: metrics, intervals, calibration, explanations."""

from bloodcell.cards.document import Text, text
from bloodcell.cards.report_facts import ReportFacts


def measures(facts: ReportFacts) -> Text | None:
    """Return the metrics and their definitions."""
    if not facts.splits:
        return None
    return (
        "Metrics: accuracy by image and by photograph (from the mean probabilities of a photograph's images); balanced "
        "accuracy (mean sensitivity of the classes); macro F1; the area under the ROC curve, one class against the "
        "rest (mean of the classes); log loss; Brier score; Cohen's kappa; sensitivity and precision of each class; "
        "the confusion matrix; and the expected calibration error. The baseline always predicts the majority class of "
        "training.",
    )


def uncertainty(facts: ReportFacts) -> Text | None:
    """Return how intervals were computed."""
    if not any(f"{split}/accuracy_low" in facts.run.metrics for split in facts.splits):
        return None
    return (
        f"Intervals are 95 % confidence intervals of accuracy. They count {facts.groups}, not images: Jeffreys' "
        f"interval at the effective sample size, from the correlation of errors within {facts.groups} (Korn and "
        "Graubard, Survey Methodology 1998; Fleiss and Cuzick, Applied Psychological Measurement 1979). No "
        "significance test was made in this run.",
    )


def calibration_method(facts: ReportFacts) -> Text | None:
    """Return how probabilities were calibrated."""
    name = "calibrated/val/temperature"
    if name not in facts.run.metrics:
        return None
    return text(
        "Probabilities were calibrated by temperature scaling (Guo et al., ICML 2017) with the temperature {n}, fitted "
        "to validation with equal weight for each {group}. Calibrated metrics of validation are of temperatures fitted "
        "to other {groups}.",
        n=facts.run.metric(name),
        group=facts.group_name,
        groups=facts.groups,
    )


def explained(facts: ReportFacts) -> Text | None:
    """Return how predictions were explained."""
    run = facts.run
    if "explain/peak_on_cell" in run.metrics:
        return text(
            "Heat maps of the predicted class were computed for {n} validation photographs. Their maximum is on the "
            "white cell in {peak} of them; a random point would be in {area}.",
            n=run.metric("explain/photographs", ",.0f"),
            peak=run.metric("explain/peak_on_cell", ".0%"),
            area=run.metric("explain/cell_area", ".0%"),
        )
    if facts.config is None:
        return None
    return ("No method of explanation was applied.",)
