"""Checklists of reporting, filled from a run and from the answers of a study's authors.

An item has one or more parts. A part is filled by a function of the run's facts, or by an answer, or it is not stated.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from bloodcell.cards.document import Block, Heading, Paragraph, Table, Text, joined, text
from bloodcell.cards.report_answers import NOT_STATED, QUESTIONS
from bloodcell.cards.report_facts import ReportFacts

State = Literal["run", "answers", "not stated", "not applicable"]
STATES: Mapping[State, str] = {
    "run": "filled from the run",
    "answers": "filled from answers",
    "not stated": NOT_STATED,
    "not applicable": "not applicable",
}


@dataclass(frozen=True, kw_only=True)
class Part:
    """A part of an item.

    Attributes
    ----------
    asks
        What it asks for, in our words.
    run
        The sentences on it that a run knows, or None.
    answer
        The key of a question that fills it if the run does not.
    label
        Its letter in the checklist, if it has one there.
    not_applicable
        The reason why it does not apply to a run, or None.
    """

    asks: str
    run: Callable[[ReportFacts], Text | None] | None = None
    answer: str | None = None
    label: str = ""
    not_applicable: Callable[[ReportFacts], str | None] | None = None


@dataclass(frozen=True, kw_only=True)
class Item:
    """An item of a checklist: its number, the section that it is about, its subject, and its parts."""

    number: int
    section: str
    subject: str
    parts: Sequence[Part]


@dataclass(frozen=True, kw_only=True)
class Checklist:
    """A checklist, and where it was published."""

    name: str
    title: str
    source: str
    items: Sequence[Item]


@dataclass(frozen=True, kw_only=True)
class FilledPart:
    """A part with its state and its text."""

    part: Part
    state: State
    text: Text


@dataclass(frozen=True, kw_only=True)
class FilledItem:
    """An item with its parts.

    It counts as filled from the run if the run fills at least half of the parts that apply, and as filled from answers
    if at least half are filled with them.
    """

    item: Item
    parts: Sequence[FilledPart]

    @property
    def state(self) -> State:
        """The state of the whole item."""
        counts = Counter(each.state for each in self.parts)
        applying = len(self.parts) - counts["not applicable"]
        if not applying:
            return "not applicable"
        if 2 * counts["run"] >= applying:
            return "run"
        if 2 * (counts["run"] + counts["answers"]) >= applying:
            return "answers"
        return "not stated"

    @property
    def complete(self) -> bool:
        """Whether no part is left open."""
        return all(each.state != "not stated" for each in self.parts)


@dataclass(frozen=True, kw_only=True)
class Filled:
    """A filled checklist."""

    checklist: Checklist
    items: Sequence[FilledItem]

    def number(self, state: State) -> int:
        """Return the number of items in a state."""
        return sum(each.state == state for each in self.items)

    @property
    def with_questions(self) -> int:
        """The number of items that count as filled from the run and have an open part."""
        return sum(each.state == "run" and not each.complete for each in self.items)

    @property
    def share(self) -> float:
        """The share of all items that are filled from the run."""
        return self.number("run") / len(self.items)

    @property
    def open_questions(self) -> list[str]:
        """The keys of the questions whose parts are not stated, in order."""
        parts = [part for item in self.items for part in item.parts]
        return list(
            dict.fromkeys(each.part.answer for each in parts if each.state == "not stated" and each.part.answer)
        )

    @property
    def summary(self) -> str:
        """The numbers of items in each state, as a sentence."""
        left = f", {self.with_questions} of them with an open part" if self.with_questions else ""
        return (
            f"{self.checklist.name}: {self.number('run')} of {len(self.items)} items filled from the run "
            f"({self.share:.0%}{left}), {self.number('answers')} from answers, {self.number('not stated')} not stated, "
            f"{self.number('not applicable')} not applicable"
        )


def fill(checklist: Checklist, facts: ReportFacts, answers: Mapping[str, str]) -> Filled:
    """Fill a checklist."""
    return Filled(
        checklist=checklist,
        items=[
            FilledItem(item=item, parts=[_filled(part, facts, answers) for part in item.parts])
            for item in checklist.items
        ],
    )


def _filled(part: Part, facts: ReportFacts, answers: Mapping[str, str]) -> FilledPart:
    reason = part.not_applicable(facts) if part.not_applicable else None
    if reason:
        return FilledPart(part=part, state="not applicable", text=(reason,))
    known = part.run(facts) if part.run else None
    answer = answers.get(part.answer) if part.answer else None
    if known:
        return FilledPart(part=part, state="run", text=joined([known, (answer,) if answer else None]))
    if answer:
        return FilledPart(part=part, state="answers", text=(answer,))
    question = f" {QUESTIONS[part.answer]} ({part.answer})" if part.answer else ""
    return FilledPart(part=part, state="not stated", text=(f"{NOT_STATED}.{question}",))


def checklist_page(filled: Filled) -> list[Block]:
    """Return a filled checklist as a document."""
    checklist = filled.checklist
    blocks: list[Block] = [
        Heading(1, f"{checklist.title}: filled checklist"),
        Paragraph(
            (
                f"The items are worded by bloodcell. For the authors' own words, and to submit, use the checklist "
                f"itself: {checklist.source}",
            )
        ),
        Paragraph((f"{filled.summary}.",)),
        Paragraph(
            (
                "An item counts as filled from the run if the run fills at least half of its parts that apply. An open "
                "part is marked NOT STATED. Numbers link to the run that holds them.",
            )
        ),
    ]
    for section in dict.fromkeys(item.item.section for item in filled.items):
        rows = [
            [
                (f"{item.item.number}{each.part.label}",),
                text("{subject}: {asks}", subject=item.item.subject, asks=each.part.asks),
                (STATES[each.state],),
                each.text,
            ]
            for item in filled.items
            if item.item.section == section
            for each in item.parts
        ]
        blocks += [
            Heading(2, section),
            Table(
                caption=(f"Items on: {section.lower()}.",),
                header=[("item",), ("asks for",), ("state",), ("text",)],
                rows=rows,
                widths=(0.08, 0.24, 0.14, 0.54),
            ),
        ]
    return blocks
