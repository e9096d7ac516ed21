"""The methods and results section of a paper on a run: its text, and the list of its numbers."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bloodcell.cards import (
    report_data,
    report_evaluation,
    report_model,
    report_partition,
    report_software,
    report_study,
    report_training,
)
from bloodcell.cards.checklist import Filled
from bloodcell.cards.document import (
    Block,
    Bullets,
    Heading,
    Paragraph,
    Picture,
    Table,
    Text,
    joined,
    numbers_in,
    text,
)
from bloodcell.cards.report_answers import NOT_STATED, QUESTIONS
from bloodcell.cards.report_facts import PARTS, ReportFacts
from bloodcell.cards.report_results import results

ALWAYS = (
    *("eligibility", "acquisition", "demographics"),
    *("reference_standard", "annotators", "ethics", "intended_use"),
)
"""Questions that every methods section answers, whichever checklist is filled."""
METHODS: Mapping[str, Sequence[Callable[[ReportFacts], Text | None]]] = {
    "Data": (report_study.goal, report_data.data_source, report_data.missing, report_model.subsets),
    "Partition": (report_partition.partition, report_partition.disjointness, report_partition.clusters),
    "Preprocessing and augmentation": (report_model.preprocessing, report_data.quality, report_model.augmentation),
    "Model": (report_model.model, report_model.weights, report_model.ensembling),
    "Training": (report_training.training,),
    "Selection": (report_training.selection,),
    "Evaluation": (
        report_evaluation.measures,
        report_evaluation.uncertainty,
        report_evaluation.calibration_method,
        report_evaluation.explained,
    ),
    "Software": (report_software.versions, report_software.availability, report_software.details),
}
FLOW = "flow"
"""The picture of the data flow, without suffix."""
SENTENCES = {
    "design": "Design",
    "data_origin": "Origin of the images",
    "dates": "Dates",
    "setting": "Setting",
    "eligibility": "Eligibility",
    "treatments": "Treatments",
    "deidentification": "De-identification",
    "acquisition": "Acquisition of images",
    "demographics": "People",
    "sample_size_reason": "Planned size",
    "reference_standard": "Reference standard",
    "reference_reason": "Reason for the reference standard",
    "annotators": "Annotators",
    "annotation_of_test": "Labels of the test images",
    "rater_variability": "Agreement of annotators",
    "blinding": "Blinding",
    "ethics": "Ethics",
    "intended_use": "Intended use",
}
"""The questions that belong to the methods, and their labels; all others are statements at the end."""


def open_questions(filled: Filled, answers: Mapping[str, str]) -> list[str]:
    """Return the keys of the questions that a section with a checklist leaves open."""
    asked = {*ALWAYS, *filled.open_questions} - set(answers)
    return [key for key in QUESTIONS if key in asked]


def section(facts: ReportFacts, *, filled: Filled, answers: Mapping[str, str]) -> list[Block]:
    """Return a section on methods and results.

    Parameters
    ----------
    facts
        The run's.
    filled
        The checklist whose questions are asked.
    answers
        Answers by the keys of `bloodcell.cards.report_answers.QUESTIONS`.
    """
    left = open_questions(filled, answers)
    shown = [key for key in QUESTIONS if key in answers or key in left]
    blocks: list[Block] = [
        Paragraph(
            text(
                "This section is written from the MLflow run {link} ({id}{date}). A number links to the run that holds "
                "it, with the name of its metric, parameter or file; numbers.json lists all of them. Links to "
                "127.0.0.1 open while “bloodcell ui” runs. What the run cannot know "
                "is marked {mark} until its authors state it. For research only; not for diagnosis.",
                link=facts.run.link,
                id=facts.run.id,
                date=f", started {facts.date}" if facts.date else "",
                mark=NOT_STATED,
            )
        ),
        Heading(1, "Methods"),
        Heading(2, "Study, people and reference standard"),
        Bullets([_answered(key, answers) for key in shown if key in SENTENCES]),
    ]
    for heading, functions in METHODS.items():
        sentences = [sentence for each in functions if (sentence := each(facts))]
        blocks += [
            Heading(2, heading),
            *(map(Paragraph, sentences) if sentences else [Paragraph(("The run does not know this.",))]),
        ]
        if heading == "Data" and facts.parts:
            blocks += _data_flow(facts)
    blocks += results(facts)
    if others := [key for key in shown if key not in SENTENCES]:
        blocks += [Heading(1, "Statements of the authors"), Bullets([_answered(key, answers) for key in others])]
    return blocks


def _answered(key: str, answers: Mapping[str, str]) -> Text:
    label = SENTENCES.get(key, key.replace("_", " ").capitalize())
    if key in answers:
        return (f"{label}: ", answers[key])
    return (f"{label}: {NOT_STATED}. {QUESTIONS[key]} ({key})",)


def _data_flow(facts: ReportFacts) -> list[Block]:
    flow = report_data.flow(facts)
    caption = joined([("Data flow.",), flow])
    return [
        Picture(file=FLOW, caption=caption),
        Table(
            caption=(f"Images and {facts.groups} by class and split.",),
            header=[("class",), *((PARTS[part],) for part in facts.parts)],
            rows=[
                *(
                    [(name,), *(facts.n_images(split=part, label=name) for part in facts.parts)]
                    for name in facts.classes
                ),
                [("all",), *(facts.n_images(split=part) for part in facts.parts)],
            ],
        ),
    ]


def numbers_data(blocks: Sequence[Block]) -> list[dict[str, Any]]:
    """Return the content of numbers.json: each number of a document with what holds it."""
    return [
        {"text": each.text, "value": each.value, "run_id": each.run_id, each.kind: each.name, **each.details}
        for each in numbers_in(blocks)
    ]
