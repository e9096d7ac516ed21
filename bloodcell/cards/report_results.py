"""The results section of a report, from the facts of a run."""

import math

import pandas as pd

from bloodcell.cards.document import (
    Block,
    Bullets,
    Heading,
    Number,
    Paragraph,
    Span,
    Table,
    Text,
    joined,
    listed_texts,
    text,
)
from bloodcell.cards.model_card_metrics import recall_by_photograph
from bloodcell.cards.model_card_training import UNKNOWN
from bloodcell.cards.report_facts import PARTS, PREDICTIONS, ReportFacts, ReportRun
from bloodcell.evaluation.evidence import LIMITS
from bloodcell.evaluation.predictions import most_confident_errors
from bloodcell.wording import PHOTOGRAPH, plural

MEASURES = {
    "accuracy": "accuracy, by image",
    "photograph_accuracy": "accuracy, by photograph",
    "group_mean_accuracy": "accuracy, mean of {groups}",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro F1",
    "auroc": "AUROC, one against the rest",
    "cohen_kappa": "Cohen's kappa",
    "log_loss": "log loss",
    "brier": "Brier score (0 to 2)",
}
"""The metrics of the table of results."""
CALIBRATION = {
    "ece": "expected calibration error",
    "ece_by_chance": "the same, of a perfectly calibrated model (by chance)",
    "calibration_error": "debiased calibration error",
    "log_loss": "log loss",
    "brier": "Brier score",
}
N_FAILURES = 5
"""Most confident errors of a split that are listed."""
MAX_RUNS = 50
"""Runs of a study in the table."""
NONE: Text = ("–",)


def performance(facts: ReportFacts) -> Text | None:
    """Return accuracy with its interval, and the baseline's, for each held-out split."""
    if not facts.splits:
        return None
    named = facts.test_sets if "test" in facts.splits else []
    return joined([*(_performance(facts, split) for split in facts.splits), *(_of_test_set(facts, n) for n in named)])


def _performance(facts: ReportFacts, split: str) -> Text:
    run = facts.run
    out_of_fold = ", out of fold" if split == "val" and facts.folds else ""
    unit = "groups" if f"{split}/groups" in run.metrics else "photographs"
    noun = facts.groups if unit == "groups" else plural(PHOTOGRAPH)
    return text(
        "On {part}{out_of_fold}, accuracy by image was {accuracy} (95 % interval in brackets, {n} {noun}); by "
        "photograph {photograph}. The majority-class baseline had {baseline} by image.",
        part=PARTS[split],
        out_of_fold=out_of_fold,
        accuracy=run.interval(f"{split}/accuracy"),
        n=run.metric(f"{split}/{unit}", ",.0f"),
        noun=noun,
        photograph=run.interval(f"{split}/photograph_accuracy"),
        baseline=run.metric(f"{split}/majority_class/accuracy"),
    )


def _of_test_set(facts: ReportFacts, name: str) -> Text:
    run = facts.run
    return text(
        "On the test set {name}, accuracy by image was {accuracy} and by photograph {photograph}.",
        name=name,
        accuracy=run.interval(f"test/{name}/accuracy"),
        photograph=run.interval(f"test/{name}/photograph_accuracy"),
    )


def class_performance(facts: ReportFacts) -> Text | None:
    """Return sensitivity and precision of each class on the last held-out split."""
    if not facts.per_class:
        return None
    split = list(facts.per_class)[-1]
    table = facts.per_class[split]
    parts = [
        text(
            "{name} {recall} and {precision} by image{by_photograph}",
            name=str(row["class"]),
            recall=_cell(facts, split, row, "recall"),
            precision=_cell(facts, split, row, "precision"),
            by_photograph=text(", sensitivity by photograph {n}", n=recall)
            if (recall := _sensitivity(facts, split, str(row["class"])))
            else (),
        )
        for _, row in table.iterrows()
    ]
    return text(
        "Sensitivity and precision on {part} (95 % intervals in brackets): {parts}.",
        part=PARTS[split],
        parts=joined(parts, "; "),
    )


def _sensitivity(facts: ReportFacts, split: str, label: str) -> Text | None:
    """Return how many photographs of a class are classified correctly, with a 95 % interval; None if it is unknown."""
    if split not in facts.tables:
        return None
    found = recall_by_photograph(facts.tables[split], classes=facts.classes, label=label)
    where = {"split": split, "label": label}

    def shown(value: float, form: str, end: str) -> Number:
        return facts.run.artifact(PREDICTIONS, value, form, sensitivity_by_photograph=end, where=where)

    shares = text(
        "{right} of {number}", right=shown(found.right, ",.0f", "right"), number=shown(found.number, ",.0f", "number")
    )
    if found.low is None or found.high is None:
        return joined([shares, ("(no interval: too few groups)",)])
    low, high = shown(found.low, ".2f", "low"), shown(found.high, ".2f", "high")
    return text("{shares} ({low} to {high})", shares=shares, low=low, high=high)


def confusions(facts: ReportFacts) -> Text | None:
    """Return the most frequent confusion of each held-out split, in images."""
    parts = []
    for split, table in facts.tables.items():
        wrong = table[table["label"] != table["predicted"]]
        total = facts.predicted(split)
        if wrong.empty:
            parts.append(text("On {part}, none of {n} images was misclassified.", part=PARTS[split], n=total))
            continue
        pairs = wrong.groupby(["label", "predicted"]).size().sort_values(ascending=False, kind="stable")
        label, predicted = map(str, pairs.index[0])
        parts.append(
            text(
                "On {part}, {wrong} of {n} images were misclassified, most often {label} as {predicted} ({count} of "
                "{of} images).",
                part=PARTS[split],
                wrong=facts.run.artifact(PREDICTIONS, len(wrong), count="path", where={"split": split}, wrong=True),
                n=total,
                label=label,
                predicted=predicted,
                count=facts.predicted(split, label=label, predicted=predicted),
                of=facts.predicted(split, label=label),
            )
        )
    return joined(parts) if parts else None


def failures(facts: ReportFacts) -> list[Text]:
    """Return the most confident errors of each held-out split, one of each photograph."""
    found = []
    for split, table in facts.tables.items():
        if len(facts.classes) < 2:
            continue
        errors = most_confident_errors(table.drop(columns="predicted"), list(facts.classes), len(table))
        for _, row in errors.drop_duplicates("source").head(N_FAILURES).iterrows():
            path = str(row["path"])
            found.append(
                text(
                    "{part}: {path}, labelled {label}, was predicted as {predicted} with probability {p}",
                    part=PARTS[split].capitalize(),
                    path=path,
                    label=str(row["label"]),
                    predicted=str(row["predicted"]),
                    p=facts.run.artifact(
                        PREDICTIONS,
                        float(row["probability"]),
                        ".2f",
                        column=f"p_{row['predicted']}",
                        where={"split": split, "path": path},
                    ),
                )
            )
    return found


def failure_analysis(facts: ReportFacts) -> Text | None:
    """Return confusions and the most confident errors in a paragraph."""
    found = failures(facts)
    listed = text("The most confident errors: {errors}.", errors=joined(found, "; ")) if found else None
    return joined([confusions(facts), listed]) or None


def robustness(facts: ReportFacts) -> Text | None:
    """Return how the result changes with the folds, or with the unit that is counted; None if it was not examined."""
    run = facts.run
    parts: list[Text | None] = []
    if "val/accuracy_fold_std" in run.metrics:
        parts.append(
            text(
                "Between the folds, validation accuracy had the mean {mean} and the standard deviation {std}.",
                mean=run.metric("val/accuracy_fold_mean"),
                std=run.metric("val/accuracy_fold_std"),
            )
        )
    several = [
        split for split in facts.splits if split in facts.tables and facts.tables[split]["source"].duplicated().any()
    ]
    parts += [
        text(
            "On {part}, accuracy was {image} if images are counted and {photograph} if photographs are.",
            part=PARTS[split],
            image=run.metric(f"{split}/accuracy"),
            photograph=run.metric(f"{split}/photograph_accuracy"),
        )
        for split in several
    ]
    if facts.audit:
        parts += [
            text("An audit compared the splits: {what}", what=what)
            for code in ("splits-differ", "drift")
            if (what := facts.audit.what(code))
        ]
    return joined(parts) or None


def heterogeneity(facts: ReportFacts) -> Text | None:
    """Return how performance differs between folds or groups; None if it was not examined."""
    run = facts.run
    if "val/accuracy_fold_std" in run.metrics:
        return robustness(facts)
    if facts.group_name == PHOTOGRAPH or "val/group_mean_accuracy" not in run.metrics:
        return None
    return text(
        "Averaged over {groups}, each with the same weight, validation accuracy was {mean}; by image it was {image}.",
        groups=facts.groups,
        mean=run.interval("val/group_mean_accuracy"),
        image=run.metric("val/accuracy"),
    )


def calibration(facts: ReportFacts) -> Text | None:
    """Return the calibration errors before and after temperature scaling."""
    run = facts.run
    parts = [
        text(
            "On {part}, the expected calibration error was {before} ({chance} is expected by chance of a perfectly "
            "calibrated model of this sample size) and {after} after calibration.",
            part=PARTS[split],
            before=run.metric(f"{split}/ece"),
            chance=run.metric(f"{split}/ece_by_chance"),
            after=run.metric(f"calibrated/{split}/ece"),
        )
        for split in facts.splits
        if f"{split}/ece" in run.metrics
    ]
    return joined(parts) if parts else None


def study_size(facts: ReportFacts) -> Text | None:
    """Return the sizes that the data had, and how precise an accuracy they allow."""
    run = facts.run
    if not facts.parts:
        return None
    sizes = listed_texts(
        [text("{n} in {part}", n=facts.n_images(split=part), part=PARTS[part]) for part in facts.parts]
    )
    half = facts.audit.number("photographs", "test_interval_half_width") if facts.audit else None
    return joined(
        [
            text("The run used what the folders hold: {sizes}.", sizes=sizes),
            text(
                "Test accuracy, with the 95 % interval that this size allows, is {interval}.",
                interval=run.interval("test/accuracy"),
            )
            if "test/accuracy_low" in run.metrics
            else None,
            text("An accuracy of 0.8 would have a 95 % interval of ±{half} on test (audit).", half=half)
            if half
            else None,
        ]
    )


def class_counts(facts: ReportFacts) -> Text | None:
    """Return the numbers of each class in each split."""
    if not facts.parts:
        return None
    parts = [
        text(
            "{part}: {classes}",
            part=PARTS[part].capitalize(),
            classes=joined(
                [text("{name} {n}", name=name, n=facts.n_images(split=part, label=name)) for name in facts.classes],
                ", ",
            ),
        )
        for part in facts.parts
    ]
    return text("{parts}.", parts=joined(parts, "; "))


def comparison_of_splits(facts: ReportFacts) -> Text | None:
    """Return how development and test images differ: in classes, and in what an audit measured."""
    counts = class_counts(facts)
    if counts is None or "test" not in facts.parts:
        return None
    found = [facts.audit.what(code) for code in ("splits-differ", "drift")] if facts.audit else []
    return joined([counts, *found])


def limitations(facts: ReportFacts) -> list[Text]:
    """Return what limits the run, a sentence each."""
    found: list[Text] = [
        text("{name}: this run {why}.", name=name.capitalize(), why=LIMITS[name].why)
        for name in facts.run.tags.evidence
    ]
    if facts.leakage and facts.leakage.sentence:
        found.append((facts.leakage.sentence,))
    config = facts.first_config
    if config is not None and config.data.source != "smears":
        found.append(
            (
                "Age, sex, origin and disease of the people, and stain, microscope and laboratory are not known to the "
                "run, so differences between them are unknown.",
            )
        )
    if "test" not in facts.splits:
        found.append(("There is no result on a test set.",))
    return found


def limits(facts: ReportFacts) -> Text | None:
    """Return the limitations in a paragraph."""
    found = limitations(facts)
    return joined(found) if found else None


def results(facts: ReportFacts) -> list[Block]:
    """Return the blocks of the results section."""
    blocks: list[Block] = [Heading(1, "Results")]
    blocks += _study_blocks(facts)
    blocks += [Heading(2, "Performance"), Paragraph(performance(facts) or _not_known("Performance"))]
    if facts.splits:
        blocks.append(_performance_table(facts))
    if facts.test_sets and "test" in facts.splits:
        blocks.append(_test_sets_table(facts))
    for split, table in facts.per_class.items():
        blocks.append(_class_table(facts, split, table))
    for split in facts.tables:
        blocks.append(_confusion_table(facts, split))
    if facts.folds:
        blocks.append(_fold_table(facts))
    if examined := robustness(facts):
        blocks += [Heading(2, "Robustness"), Paragraph(examined)]
    blocks += [Heading(2, "Calibration"), Paragraph(calibration(facts) or _not_known("Calibration"))]
    if calibration(facts):
        blocks.append(_calibration_table(facts))
    blocks += [Heading(2, "Failures"), Paragraph(confusions(facts) or _not_known("Failures"))]
    if found := failures(facts):
        blocks += [Paragraph(("The most confident errors, one image of each photograph:",)), Bullets(found)]
    blocks.append(Heading(2, "Limitations"))
    blocks.append(Bullets(limitations(facts) or [("The run has no known limit of `bloodcell`'s evidence.",)]))
    return blocks


def _not_known(what: str) -> Text:
    return (f"{what}: the run has no metrics of it.",)


def _cell(facts: ReportFacts, split: str, row: "pd.Series", column: str, form: str = ".3f") -> Span:
    value = float(row[column])
    if not math.isfinite(value):
        return "undefined"
    where = {"class": str(row["class"])}
    return facts.run.artifact(f"report/{split}.csv", value, form, column=column, where=where)


def _performance_table(facts: ReportFacts) -> Table:
    run = facts.run
    names = [
        name
        for name in MEASURES
        if any(f"{split}/{name}" in run.metrics for split in facts.splits)
        and (name != "group_mean_accuracy" or facts.group_name != PHOTOGRAPH)
    ]
    rows = [
        [
            (MEASURES[name].format(groups=facts.groups),),
            *(
                cell
                for split in facts.splits
                for cell in (run.interval(f"{split}/{name}"), (run.metric(f"{split}/majority_class/{name}"),))
            ),
        ]
        for name in names
    ]
    header: list[Text] = [("metric",)]
    for split in facts.splits:
        header += [(PARTS[split],), (f"baseline on {PARTS[split]}",)]
    widths = [0.28, *[0.22, 0.14] * len(facts.splits)]
    return Table(
        caption=(
            "Metrics of the run, with 95 % intervals in brackets where they were computed. Baseline: always the "
            "majority class of training.",
        ),
        header=header,
        rows=rows,
        widths=widths,
    )


def _test_sets_table(facts: ReportFacts) -> Table:
    """Return the metrics of each test set; those of groups need enough of them."""
    measures = {name: label for name, label in MEASURES.items() if name != "group_mean_accuracy"}
    names = [f"test/{name}/{measure}" for name in facts.test_sets for measure in measures]
    values = {name: facts.run.interval(name) if name in facts.run.metrics else NONE for name in names}
    return Table(
        caption=("Each test set, with 95 % intervals in brackets where they were computed.",),
        header=[("metric",), *((name,) for name in facts.test_sets)],
        rows=[
            [("images",), *(facts.n_images(split="test", test_set=name) for name in facts.test_sets)],
            *(
                [(label,), *(values[f"test/{name}/{measure}"] for name in facts.test_sets)]
                for measure, label in measures.items()
            ),
        ],
    )


def _class_table(facts: ReportFacts, split: str, table: pd.DataFrame) -> Table:
    columns = {"recall": "sensitivity", "precision": "precision", "f1": "F1", "auroc": "AUROC"}
    rows = [
        [
            (str(row["class"]),),
            (_cell(facts, split, row, "images", ",.0f"),),
            *((_cell(facts, split, row, column),) for column in columns if column in row),
            _sensitivity(facts, split, str(row["class"])) or NONE,
        ]
        for _, row in table.iterrows()
    ]
    return Table(
        caption=(
            f"Each class on {PARTS[split]}, by image; in the last column the photographs that are classified "
            "correctly, with 95 % intervals.",
        ),
        header=[
            ("class",),
            ("images",),
            *((name,) for column, name in columns.items() if column in table),
            ("sensitivity by photograph",),
        ],
        rows=rows,
    )


def _confusion_table(facts: ReportFacts, split: str) -> Table:
    return Table(
        caption=(
            f"Confusion matrix on {PARTS[split]}, in images: true classes in rows, predicted classes in columns.",
        ),
        header=[("true class",), *((name,) for name in facts.classes)],
        rows=[
            [(label,), *((facts.predicted(split, label=label, predicted=name),) for name in facts.classes)]
            for label in facts.classes
        ],
    )


def _calibration_table(facts: ReportFacts) -> Table:
    run = facts.run
    rows = [
        [
            (description,),
            *(
                (run.metric(f"{place}{split}/{name}") if f"{place}{split}/{name}" in run.metrics else "–",)
                for split in facts.splits
                for place in ("", "calibrated/")
            ),
        ]
        for name, description in CALIBRATION.items()
    ]
    header: list[Text] = [("measure",)]
    for split in facts.splits:
        header += [(f"{PARTS[split]}, before",), (f"{PARTS[split]}, after",)]
    return Table(caption=("Calibration before and after temperature scaling.",), header=header, rows=rows)


def _fold_table(facts: ReportFacts) -> Table:
    return Table(
        caption=("The folds of the cross-validation.",),
        header=[("fold",), ("validation accuracy",), (f"{facts.groups} of validation",)],
        rows=[
            [
                (run.link,),
                run.interval("val/accuracy"),
                (run.metric("val/groups" if "val/groups" in run.metrics else "val/photographs", ",.0f"),),
            ]
            for run in facts.folds
        ],
    )


def _study_blocks(facts: ReportFacts) -> list[Block]:
    study = facts.study
    if study is None:
        return []
    shown = study.runs[:MAX_RUNS]
    more = (
        text(" The best {n} are shown.", n=study.run.count_of_runs("runs shown", MAX_RUNS))
        if len(shown) < len(study.runs)
        else ()
    )
    return [
        Heading(2, "All runs of the study"),
        Paragraph(
            text(
                "{n} runs of the {kind} {link} finished, baselines included, and {failed} did not. They are ranked by "
                "validation, which chose the first; all other sections are about it.{more}",
                n=study.run.count_of_runs("finished runs of the study", len(study.runs)),
                kind=study.kind,
                link=study.run.link,
                failed=study.run.count_of_runs("other runs of the study", study.not_finished),
                more=more,
            )
        ),
        Table(
            caption=("The runs of the study, ranked by validation. 95 % intervals in brackets.",),
            header=[("run",), ("validation accuracy",), ("test accuracy",), ("limits",)],
            rows=[[(run.link,), *_accuracies(run), (", ".join(run.tags.evidence) or "–",)] for run in shown],
            widths=(0.28, 0.22, 0.22, 0.28),
        ),
    ]


def _accuracies(run: ReportRun) -> list[Text]:
    return [
        run.interval(f"{split}/accuracy") if f"{split}/accuracy" in run.metrics else (UNKNOWN,)
        for split in ("val", "test")
    ]
