"""The metrics of an experiment as HTML, for notebooks."""

import base64
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from bloodcell.cards.outcome import SHOWN, interval_text
from bloodcell.wording import plural

NAMES = {"val": "Validation", "test": "Test"}


def experiment_html(
    *,
    name: str,
    metrics: Mapping[str, Mapping[str, float]],
    baselines: Mapping[str, Mapping[str, float]],
    figures: Mapping[str, Path],
    notes: Sequence[str],
    places: Sequence[str],
    group_name: str,
) -> str:
    """Return a table of metrics with intervals and baseline, the confusion matrices, and where everything is.

    Parameters
    ----------
    name
        The name of the run.
    metrics, baselines
        The metrics of each split, and of the majority class on the same images, by their names.
    figures
        PNG files by name; those named ``confusion_<split>`` are shown.
    notes
        What limits the result, a paragraph each.
    places
        Where to find the run.
    group_name
        The user's word for a group.
    """
    head = "".join(f"<th>{NAMES[split]}</th><th>95 % interval</th><th>majority class</th>" for split in metrics)
    rows = "".join(
        f"<tr><th>{escape(label.format(groups=plural(group_name)).strip())}</th>"
        + "".join(_cells(metrics[split], baselines.get(split, {}), metric) for split in metrics)
        + "</tr>"
        for metric, label in SHOWN.items()
        if any(metric in each for each in metrics.values())
    )
    pictures = "".join(
        f'<img alt="{escape(figure)}" style="max-width: 48%" src="data:image/png;base64,{_encoded(path)}">'
        for figure, path in figures.items()
        if figure in [f"confusion_{split}" for split in metrics]
    )
    return (
        f"<h4>{escape(name)}</h4>{''.join(f'<p>{escape(note)}</p>' for note in notes)}"
        f"<table><thead><tr><th></th>{head}</tr></thead><tbody>{rows}</tbody></table>{pictures}"
        f"{''.join(f'<p><code>{escape(place)}</code></p>' for place in places)}"
    )


def _cells(metrics: Mapping[str, float], baseline: Mapping[str, float], name: str) -> str:
    interval = interval_text(metrics, name) if f"{name}_low" in metrics else ""
    values = (f"{each[name]:.3f}" if name in each else "" for each in (metrics, baseline))
    value, majority = values
    return f"<td>{value}</td><td>{interval}</td><td>{majority}</td>"


def _encoded(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
