"""The figures of docs/audit.md are those of an audit of the whole Kaggle set."""

import json
import os
from pathlib import Path

import pytest
from commands import run
from pictures import DATA

DOCS = Path(__file__).parents[1] / "docs" / "audit.md"
NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


@pytest.mark.real
@pytest.mark.skipif(
    not os.environ.get("BLOODCELL_TEST_WHOLE"),
    reason="finds the photographs of 12,444 images, which takes minutes; set BLOODCELL_TEST_WHOLE=1",
)
@pytest.mark.timeout(3600)
def test_the_documented_figures_are_those_of_a_run(tmp_path: Path) -> None:
    completed = run(["audit", "data=bccd", f"data.root={DATA}", "output=page"], cwd=tmp_path, drawn=True)
    assert completed.returncode == 0, completed.stderr
    data = json.loads((tmp_path / "page" / "audit.json").read_text(encoding="utf-8"))
    found = {finding["code"]: finding for finding in (*data["findings"], *data["clear"])}
    numbers = {code: finding["numbers"] for code, finding in found.items()}
    sizes, labels, test = (numbers[code] for code in ("photographs", "suspicious-labels", "test-labels"))
    (neutrophils,) = [row for row in found["test-labels"]["rows"] if row["class"] == "NEUTROPHIL"]
    pairs, cells, several = (
        numbers[code] for code in ("overlapping-photographs", "cells-with-two-labels", "several-cells")
    )
    expected = [
        f"{sizes['images']:,} images are copies of {sizes['photographs']} photographs",
        f"cells agree with {100 * test['test_agree']:.0f} % of TEST's 71 labels and {100 * test['train_agree']:.0f} % "
        f"of training's 277 (p = {test['p_value']:.2f})",
        f"{NUMBERS[labels['suspicious']]} labels of all {labels['photographs']} are suspicious",
        f"(AUROC {numbers['splits-differ']['auroc']:.2f}, p = {numbers['splits-differ']['p_value']:.2f})",
        f"{neutrophils['test_agree']} of TEST's {neutrophils['test_photographs']} neutrophils look like neutrophils",
        f"{NUMBERS[several['photographs']]} photograph shows a second white cell",
        f"{pairs['pairs']} pairs of photographs show the same place on a slide",
        f"{NUMBERS[pairs['pairs_on_two_sides']]} of these pairs are across TRAIN and TEST",
        f"{NUMBERS[cells['cells']]} cell is labelled a monocyte in one photograph and a lymphocyte in the other",
    ]
    text = " ".join(DOCS.read_text(encoding="utf-8").split()).lower()
    assert [sentence for sentence in expected if sentence.lower() not in text] == []
