"""The notebooks: every cell runs, in order, and shows what the text around it says; their saved outputs are small."""

import json
import re

import pytest
from commands import REPOSITORY

NOTEBOOKS = [REPOSITORY / "experiments" / name for name in ("walkthrough.ipynb", "your_folder.ipynb")]
SHOWN = {
    "walkthrough": ("have a copy", "photographs", "majority class has 0.", "by accuracy (95 % confidence)"),
    "your_folder": (
        "Written to  conf/data/mine.yaml",
        "audit/audit.html",
        "Sweep of ",
        "better than majority",
    ),
}
"""What the outputs say: the leak of the published split, warnings, verdicts."""
FEWER = {
    "walkthrough": {
        '"train_photographs": 60': '"train_photographs": 40',
        '"copies": 5': '"copies": 3',
        "epochs=5": "epochs=2",
    },
    "your_folder": {
        "range(14)": "range(10)",
        '"folds": 4': '"folds": 2',
        '"mobilenetv2", "morphology"': '"morphology"',
    },
}
"""What the test changes, to take less time."""
TRAININGS = {"walkthrough": 6, "your_folder": 2}
MAX_BYTES = 400_000


def outputs_of(cells):
    """Return the text of all outputs, without pictures."""
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    shown = "\n".join("".join(output.get("text", "")) + json.dumps(output.get("data", "")) for output in outputs)
    return re.sub(r"[A-Za-z0-9+/=]{200,}", "", shown)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_shows_what_its_text_says(path, tmp_path):
    nbclient = pytest.importorskip("nbclient", reason="needs nbclient (`uv sync --group dev`)")
    nbformat = pytest.importorskip("nbformat", reason="needs nbformat (`uv sync --group dev`)")
    notebook = nbformat.read(path, as_version=4)
    for many, fewer in FEWER[path.stem].items():
        assert any(many in cell.source for cell in notebook.cells)
        for cell in notebook.cells:
            cell.source = cell.source.replace(many, fewer)
    resources = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(notebook, timeout=800, coalesce_streams=True, resources=resources).execute()
    shown = outputs_of(notebook.cells)
    assert not [text for text in SHOWN[path.stem] if text not in shown]
    tables = tmp_path.glob("outputs/**/artifacts/predictions.parquet")
    assert len([each for each in tables if "folds" not in each.parts]) == TRAININGS[path.stem]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_saved_with_small_outputs_of_every_cell_in_order(path):
    text = path.read_text(encoding="utf-8")
    cells = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    shown = outputs_of(cells)
    assert not [each for each in SHOWN[path.stem] if each not in shown]
    assert not re.search(r"/(tmp|root|work|home|Users)/|Traceback|WARNING:", shown)  # of one machine, or broken
    assert len(text) < MAX_BYTES
