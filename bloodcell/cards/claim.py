"""CLAIM 2024: the checklist for artificial intelligence in medical imaging, in our words.

Tejani, Klontzas, Gatti, Mongan, Moy, Park and Kahn, "Checklist for Artificial Intelligence in Medical Imaging (CLAIM):
2024 Update", Radiology: Artificial Intelligence 6(4), e240300, 2024.
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
from bloodcell.cards.document import Text, joined
from bloodcell.cards.report_facts import ReportFacts


def _abstract(facts: ReportFacts) -> Text | None:
    return joined([report_study.abstract_methods(facts), results.performance(facts)]) or None


def _partition(facts: ReportFacts) -> Text | None:
    rule = report_partition.partition(facts)
    return joined([rule, results.class_counts(facts)]) if rule else None


def _training(facts: ReportFacts) -> Text | None:
    trained = report_training.training(facts)
    return joined([trained, report_model.augmentation(facts)]) if trained else None


def _evaluated(facts: ReportFacts) -> Text | None:
    origin = report_partition.test_origin(facts)
    return joined([origin, report_training.test_use(facts)]) if origin else None


def _item(number: int, section: str, subject: str, *parts: Part) -> Item:
    return Item(number=number, section=section, subject=subject, parts=parts)


TITLE, INTRODUCTION, DATA = "Title and abstract", "Introduction", "Methods: study and data"
REFERENCE, PARTITIONS, MODEL = "Methods: reference standard", "Methods: partitions", "Methods: model and training"
EVALUATION, RESULTS, DISCUSSION, OTHER = "Methods: evaluation", "Results", "Discussion", "Other information"

CLAIM = Checklist(
    name="CLAIM 2024",
    title="CLAIM 2024",
    source=(
        "Tejani et al., Checklist for Artificial Intelligence in Medical Imaging (CLAIM): 2024 Update. Radiology: "
        "Artificial Intelligence 2024;6(4):e240300, doi 10.1148/ryai.240300"
    ),
    items=(
        _item(1, TITLE, "Title", Part(asks="says that it is about AI, and of which kind", run=report_study.title)),
        _item(2, TITLE, "Abstract", Part(asks="design, methods, results and conclusion in short", run=_abstract)),
        _item(
            3,
            INTRODUCTION,
            "Background",
            Part(asks="clinical context, and the part the AI would play", answer="background"),
        ),
        _item(4, INTRODUCTION, "Aims", Part(asks="aims, and hypotheses if there were any", answer="hypotheses")),
        _item(5, DATA, "Design", Part(asks="images collected before or for the study", answer="design")),
        _item(6, DATA, "Goal", Part(asks="what the study was to achieve, such as a new model", run=report_study.goal)),
        _item(
            7,
            DATA,
            "Data sources",
            Part(asks="which set of images was used", run=report_data.data_source),
            Part(asks="who made the images, and whether they are public", answer="data_origin"),
        ),
        _item(
            8, DATA, "Eligibility", Part(asks="what was included and excluded, by which rules", answer="eligibility")
        ),
        _item(
            9, DATA, "Preprocessing", Part(asks="every step from the file to the input", run=report_model.preprocessing)
        ),
        _item(
            10,
            DATA,
            "Subsets",
            Part(asks="whether parts of images, or of the set, were chosen", run=report_model.subsets),
        ),
        _item(11, DATA, "De-identification", Part(asks="how identifying data were removed", answer="deidentification")),
        _item(12, DATA, "Missing data", Part(asks="how missing data were handled", run=report_data.missing)),
        _item(13, DATA, "Acquisition", Part(asks="how the images were taken", answer="acquisition")),
        _item(14, REFERENCE, "Definition", Part(asks="how the true class was determined", answer="reference_standard")),
        _item(15, REFERENCE, "Reason", Part(asks="why this reference standard", answer="reference_reason")),
        _item(16, REFERENCE, "Annotators", Part(asks="who labelled, with which qualification", answer="annotators")),
        _item(
            17,
            REFERENCE,
            "Labels of the test set",
            Part(asks="how test images were labelled", answer="annotation_of_test"),
        ),
        _item(
            18,
            REFERENCE,
            "Agreement",
            Part(asks="how far annotators agree, and what was done", answer="rater_variability"),
        ),
        _item(19, PARTITIONS, "Assignment", Part(asks="how images were split, and in which shares", run=_partition)),
        _item(
            20, PARTITIONS, "Disjointness", Part(asks="by what the splits are disjoint", run=report_partition.disjoint)
        ),
        _item(
            21,
            PARTITIONS,
            "Size",
            Part(asks="the size of the test set, and how precise it is", run=results.study_size),
            Part(asks="how the size was planned", answer="sample_size_reason"),
        ),
        _item(22, MODEL, "Model", Part(asks="architecture, input and output", run=report_model.model)),
        _item(23, MODEL, "Software", Part(asks="libraries and their versions", run=report_software.versions)),
        _item(24, MODEL, "Initial weights", Part(asks="where the weights started", run=report_model.weights)),
        _item(25, MODEL, "Training", Part(asks="augmentation, settings, and how training ended", run=_training)),
        _item(
            26,
            MODEL,
            "Choice of the model",
            Part(asks="by which rule the final model was chosen", run=report_training.selection),
        ),
        _item(27, MODEL, "Ensemble", Part(asks="whether and how models were combined", run=report_model.ensembling)),
        _item(28, EVALUATION, "Metrics", Part(asks="how performance was measured", run=report_evaluation.measures)),
        _item(29, EVALUATION, "Uncertainty", Part(asks="intervals and tests", run=report_evaluation.uncertainty)),
        _item(
            30,
            EVALUATION,
            "Robustness",
            Part(asks="how far results depend on choices and data", run=results.robustness, answer="robustness"),
        ),
        _item(
            31,
            EVALUATION,
            "Explanation",
            Part(
                asks="how answers were explained, and if that was checked",
                run=report_evaluation.explained,
                answer="explanation",
            ),
        ),
        _item(32, EVALUATION, "Internal test", Part(asks="the test on images of the same origin", run=_evaluated)),
        _item(
            33,
            EVALUATION,
            "External test",
            Part(
                asks="the test on images of another origin, or why there is none",
                run=report_partition.external,
                answer="external_data",
            ),
        ),
        _item(
            34, EVALUATION, "Registration", Part(asks="the register, if it is a clinical trial", answer="registration")
        ),
        _item(35, RESULTS, "Flow", Part(asks="numbers included and excluded, with a diagram", run=report_data.flow)),
        _item(
            36,
            RESULTS,
            "Characteristics",
            Part(asks="classes of cells in each split", run=results.class_counts),
            Part(asks="people's characteristics in each split", answer="demographics"),
        ),
        _item(
            37,
            RESULTS,
            "Performance",
            Part(asks="metrics with their uncertainty, on all splits", run=results.performance),
        ),
        _item(
            38,
            RESULTS,
            "Diagnostic estimates",
            Part(asks="estimates for each class, and their precision", run=results.class_performance),
        ),
        _item(39, RESULTS, "Failures", Part(asks="an analysis of wrong answers", run=results.failure_analysis)),
        _item(
            40,
            DISCUSSION,
            "Limitations",
            Part(asks="what limits the study", run=results.limits, answer="more_limitations"),
        ),
        _item(
            41,
            DISCUSSION,
            "Implications",
            Part(asks="what follows for practice, and the intended use", answer="practice"),
        ),
        _item(
            42,
            OTHER,
            "Details",
            Part(asks="where the protocol or all details are", run=report_software.details, answer="protocol"),
        ),
        _item(
            43,
            OTHER,
            "Availability",
            Part(asks="of software and model", run=report_software.availability, answer="model_availability"),
            Part(asks="of images and labels", answer="data_availability"),
        ),
        _item(44, OTHER, "Funding", Part(asks="who paid, and their part in the study", answer="funding")),
    ),
)
