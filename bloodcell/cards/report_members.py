"""Sentences of a report on the members of an ensemble."""

from collections.abc import Callable
from functools import wraps

from bloodcell.cards.document import Text, joined, text, words_of
from bloodcell.cards.report_facts import ReportFacts


def each_member(function: Callable[[ReportFacts], Text | None]) -> Callable[[ReportFacts], Text | None]:
    """Make a function of a single training say the same of each member of an ensemble, once if all are alike."""

    @wraps(function)
    def of_all(facts: ReportFacts) -> Text | None:
        if not facts.method:
            return function(facts)
        said = [(member.run, known) for member in facts.of_members if (known := function(member))]
        if not said:
            return None
        if len(said) == len(facts.trainings) and len({words_of(known) for _, known in said}) == 1:
            return said[0][1]
        return joined([text("Member {link}: {known}", link=run.link, known=known) for run, known in said])

    return of_all
