"""TRIPOD+AI: the checklist for prediction models that use regression or machine learning, in our words.

Collins, Moons, Dhiman et al., "TRIPOD+AI statement: updated guidance for reporting clinical prediction models that use
regression or machine learning methods", BMJ 385, e078378, 2024.
"""

from bloodcell.cards import (
    report_data,
    report_evaluation,
    report_model,
    report_partition,
    report_software,
    report_study,
    report_training,
)
from bloodcell.cards import report_results as results
from bloodcell.cards.checklist import Checklist, Item, Part
from bloodcell.cards.document import Text, joined, text
from bloodcell.cards.report_facts import ReportFacts


def _abstract(facts: ReportFacts) -> Text | None:
    return joined([report_study.abstract_methods(facts), results.performance(facts)]) or None


def _prepared(facts: ReportFacts) -> Text | None:
    steps = report_model.preprocessing(facts)
    return joined([steps, report_data.quality(facts)]) if steps else None


def _partitioned(facts: ReportFacts) -> Text | None:
    rule = report_partition.partition(facts)
    return joined([rule, report_partition.disjoint(facts)]) if rule else None


def _outcome(facts: ReportFacts) -> Text | None:
    if not facts.classes:
        return None
    return text(
        "The outcome is the class of the cell, at the time of the image: {classes}. It is the label that the data set "
        "gives.",
        classes=facts.class_list,
    )


def _predictors(facts: ReportFacts) -> Text | None:
    configs = [each.config for each in facts.trainings]
    known = [each for each in configs if each is not None]
    if not known or len(known) < len(configs):
        return None
    if any(each.backbone.is_network for each in known):
        return ("The predictors are the pixels of the image. They were not selected before the training.",)
    return ("All features of the feature set were used; none was selected before the training.",)


def _model_steps(facts: ReportFacts) -> Text | None:
    model = report_model.model(facts)
    steps = [
        model,
        report_model.weights(facts),
        report_training.training(facts),
        report_model.augmentation(facts),
        report_training.selection(facts),
    ]
    return joined(steps) if model else None


def _all_measures(facts: ReportFacts) -> Text | None:
    named = report_evaluation.measures(facts)
    return (
        joined([named, report_evaluation.uncertainty(facts), report_evaluation.calibration_method(facts)])
        if named
        else None
    )


def _predicted_how(facts: ReportFacts) -> Text | None:
    return (
        joined([report_model.output(facts), report_model.ensembling(facts)]) if facts.config or facts.method else None
    )


def _performance(facts: ReportFacts) -> Text | None:
    found = results.performance(facts)
    return joined([found, results.class_performance(facts), results.calibration(facts)]) if found else None


def _sizes(facts: ReportFacts) -> Text | None:
    return results.class_counts(facts)


def _no_subjective_predictors(facts: ReportFacts) -> str | None:  # noqa: ARG001 - of any run
    return "A program computes the input from the image; no person interprets it."


def _no_updating(facts: ReportFacts) -> str | None:
    if "calibrated/val/temperature" in facts.run.metrics:
        return (
            "The model was developed in this run and not updated afterwards; the temperature that calibrates it is "
            "part of its development."
        )
    return "The model was developed in this run and not updated afterwards."


def _item(number: int, section: str, subject: str, *parts: Part) -> Item:
    return Item(number=number, section=section, subject=subject, parts=parts)


TITLE, INTRODUCTION, METHODS = "Title and abstract", "Introduction", "Methods"
OPEN, RESULTS, DISCUSSION = "Open science and involvement", "Results", "Discussion"

TRIPOD_AI = Checklist(
    name="TRIPOD+AI",
    title="TRIPOD+AI",
    source=(
        "Collins et al., TRIPOD+AI statement: updated guidance for reporting clinical prediction models that use "
        "regression or machine learning methods. BMJ 2024;385:e078378, doi 10.1136/bmj-2023-078378"
    ),
    items=(
        _item(
            1,
            TITLE,
            "Title",
            Part(asks="a model is developed or evaluated, for whom, for what", run=report_study.title),
        ),
        _item(2, TITLE, "Abstract", Part(asks="a structured abstract", run=_abstract)),
        _item(
            3,
            INTRODUCTION,
            "Background",
            Part(label="a", asks="the clinical context, and why a model", answer="background"),
            Part(label="b", asks="for whom, for what and for which users", answer="intended_use"),
            Part(label="c", asks="known inequalities in health", answer="inequalities"),
        ),
        _item(
            4,
            INTRODUCTION,
            "Objectives",
            Part(asks="aims: development, evaluation or both", run=report_study.goal, answer="hypotheses"),
        ),
        _item(
            5,
            METHODS,
            "Data",
            Part(
                label="a",
                asks="sources, for development and for evaluation",
                run=report_data.data_source,
                answer="data_origin",
            ),
            Part(label="b", asks="dates", answer="dates"),
        ),
        _item(
            6,
            METHODS,
            "Participants",
            Part(label="a", asks="the setting, and the centres", answer="setting"),
            Part(label="b", asks="who could take part", answer="eligibility"),
            Part(label="c", asks="treatments, if they matter", answer="treatments"),
        ),
        _item(7, METHODS, "Preparation of data", Part(asks="preprocessing and checks of quality", run=_prepared)),
        _item(
            8,
            METHODS,
            "Outcome",
            Part(label="a", asks="what is predicted", run=_outcome, answer="reference_standard"),
            Part(label="b", asks="who assessed it, with which qualification", answer="annotators"),
            Part(label="c", asks="whether the assessment was blind", answer="blinding"),
        ),
        _item(
            9,
            METHODS,
            "Predictors",
            Part(label="a", asks="how they were chosen", run=_predictors),
            Part(label="b", asks="what they are, and how they are measured", run=report_model.preprocessing),
            Part(label="c", asks="who assessed them", not_applicable=_no_subjective_predictors),
        ),
        _item(
            10,
            METHODS,
            "Sample size",
            Part(asks="the sizes, and how precise they are", run=results.study_size),
            Part(asks="how they were planned", answer="sample_size_reason"),
        ),
        _item(11, METHODS, "Missing data", Part(asks="how they were handled", run=report_data.missing)),
        _item(
            12,
            METHODS,
            "Analysis",
            Part(label="a", asks="how the data were used and split", run=_partitioned),
            Part(label="b", asks="how predictors were rescaled or transformed", run=report_model.preprocessing),
            Part(label="c", asks="the kind of model, and all steps of building it", run=_model_steps),
            Part(label="d", asks="how differences between clusters were handled", run=report_partition.clusters),
            Part(label="e", asks="measures of performance", run=_all_measures),
            Part(label="f", asks="updating after the evaluation", not_applicable=_no_updating),
            Part(label="g", asks="how predictions were computed", run=_predicted_how),
        ),
        _item(
            13,
            METHODS,
            "Class imbalance",
            Part(asks="what was done about it, and recalibration", run=report_training.imbalance),
        ),
        _item(14, METHODS, "Fairness", Part(asks="what was done for it", answer="fairness")),
        _item(15, METHODS, "Output", Part(asks="probabilities or classes, and thresholds", run=report_model.output)),
        _item(
            16,
            METHODS,
            "Development and evaluation",
            Part(asks="how their data differ", run=results.comparison_of_splits, answer="external_data"),
        ),
        _item(17, METHODS, "Ethics", Part(asks="approval and consent", answer="ethics")),
        _item(
            18,
            OPEN,
            "Open science",
            Part(label="a", asks="funding", answer="funding"),
            Part(label="b", asks="conflicts of interest", answer="conflicts"),
            Part(label="c", asks="the protocol", answer="protocol"),
            Part(label="d", asks="registration", answer="registration"),
            Part(label="e", asks="access to data", answer="data_availability"),
            Part(label="f", asks="access to code", run=report_software.availability, answer="code_availability"),
        ),
        _item(19, OPEN, "Involvement", Part(asks="of patients and the public", answer="public_involvement")),
        _item(
            20,
            RESULTS,
            "Participants",
            Part(label="a", asks="the flow, with numbers", run=report_data.flow),
            Part(label="b", asks="characteristics of the people", answer="demographics"),
            Part(label="c", asks="development compared with evaluation", run=results.comparison_of_splits),
        ),
        _item(21, RESULTS, "Numbers", Part(asks="images and events in each analysis", run=_sizes)),
        _item(
            22, RESULTS, "Specification", Part(asks="the full model, for others to use", run=report_model.specification)
        ),
        _item(
            23,
            RESULTS,
            "Performance",
            Part(label="a", asks="estimates with intervals", run=_performance),
            Part(label="b", asks="differences between clusters", run=results.heterogeneity, answer="heterogeneity"),
        ),
        _item(24, RESULTS, "Updating", Part(asks="results of updating the model", not_applicable=_no_updating)),
        _item(25, DISCUSSION, "Interpretation", Part(asks="what the results mean", answer="interpretation")),
        _item(
            26,
            DISCUSSION,
            "Limitations",
            Part(asks="what limits the study", run=results.limits, answer="more_limitations"),
        ),
        _item(
            27,
            DISCUSSION,
            "Use",
            Part(label="a", asks="how poor or missing input is handled", run=report_data.poor_input),
            Part(label="b", asks="what users have to do and know", answer="user_interaction"),
            Part(label="c", asks="next steps", answer="next_steps"),
        ),
    ),
)
