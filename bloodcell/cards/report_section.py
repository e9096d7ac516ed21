"""The methods and results section of a paper on a run: its text, and the list of its numbers."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bloodcell.cards import report_methods as methods
from bloodcell.cards.checklist import Checklist
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
    "Data": (methods.goal, methods.data_source, methods.missing, methods.subsets),
    "Partition": (methods.partition, methods.disjoint, methods.clusters),
    "Preprocessing and augmentation": (methods.preprocessing, methods.quality, methods.augmentation),
    "Model": (methods.model, methods.weights, methods.ensembling),
    "Training": (methods.training,),
    "Selection": (methods.selection,),
    "Evaluation": (methods.measures, methods.uncertainty, methods.calibration_method, methods.explained),
    "Software": (methods.versions, methods.availability, methods.details),
}
FLOW = "flow"
"""The picture of the data flow, without suffix."""
SENTENCES = {
    "design": "Design",
    "data_origin": "Origin of the images",
    "eligibility": "Eligibility",
    "acquisition": "Acquisition of images",
    "demographics": "People",
    "reference_standard": "Reference standard",
    "annotators": "Annotators",
    "ethics": "Ethics",
    "intended_use": "Intended use",
}


def questions_of(checklist: Checklist) -> list[str]:
    """Return the keys of the questions of a section with a checklist."""
    asked = {*ALWAYS, *checklist.questions}
    return [key for key in QUESTIONS if key in asked]


def section(facts: ReportFacts, *, checklist: Checklist, answers: Mapping[str, str]) -> list[Block]:
    """Return a section on methods and results.

    Parameters
    ----------
    facts
        The run's.
    checklist
        The checklist whose questions are asked.
    answers
        Answers by the keys of `bloodcell.cards.report_answers.QUESTIONS`.
    """
    blocks: list[Block] = [
        Paragraph(
            text(
                "This section is written from the MLflow run {link} ({id}{date}). A number links to the run that holds it, "
                "with the name of its metric, parameter or file; numbers.json lists all of them. What the run cannot know "
                "is marked {mark} until its authors state it. For research only; not for diagnosis.",
                link=facts.run.link,
                id=facts.run.id,
                date=f", started {facts.date}" if facts.date else "",
                mark=NOT_STATED,
            )
        ),
        Heading(1, "Methods"),
        Heading(2, "Study, people and reference standard"),
        Bullets([_answered(key, answers) for key in SENTENCES if key in ALWAYS or key in answers]),
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
    if others := [key for key in questions_of(checklist) if key not in SENTENCES or key not in (*ALWAYS, *answers)]:
        blocks += [Heading(1, "Statements of the authors"), Bullets([_answered(key, answers) for key in others])]
    return blocks


def _answered(key: str, answers: Mapping[str, str]) -> Text:
    label = SENTENCES.get(key, key.replace("_", " ").capitalize())
    if key in answers:
        return (f"{label}: ", answers[key])
    return (f"{label}: {NOT_STATED}. {QUESTIONS[key]} ({key})",)


def _data_flow(facts: ReportFacts) -> list[Block]:
    flow = methods.flow(facts)
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
