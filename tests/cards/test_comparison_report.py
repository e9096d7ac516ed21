"""The report of a comparison, as files and in a browser."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from browser import needs_browser, opened_page

from bloodcell.cards.comparison_report import Report, RunFacts, write_report
from bloodcell.comparison import compare

N_RUNS = 12
CLASSES = ("EOSINOPHIL", "LYMPHOCYTE", "MONOCYTE", "NEUTROPHIL")


def predictions(rng: np.random.Generator, level: float) -> pd.DataFrame:
    photograph = np.arange(600) // 10
    label = photograph % 4
    logits = rng.normal(size=(600, 4))
    logits[np.arange(600), label] += level + np.random.default_rng(0).normal(size=60)[photograph]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    images = pd.DataFrame({"path": [f"{n:04}.jpeg" for n in range(600)], "label": np.array(CLASSES)[label]})
    columns = [f"p_{name}" for name in CLASSES]
    return pd.concat([images.assign(group=photograph), pd.DataFrame(probabilities, columns=columns)], axis=1)


@pytest.fixture(scope="module")
def report() -> Report:
    rng = np.random.default_rng(1)
    names = [f"<b>run</b> {number} & 'co'" if number == 3 else f"run {number}" for number in range(N_RUNS)]
    tables = {name: predictions(rng, 0.5 + 0.12 * number) for number, name in enumerate(names)}
    runs = {
        name: RunFacts(
            configuration={"backbone.name": f"net {number % 3}", "split.folds": "5"},
            costs={"parameters": 1e6 * (number + 1), "flops": 1e8, "milliseconds": 3.5 + number},
            curve=[(epoch, 0.5 + 0.03 * epoch) for epoch in range(8)],
            run_ids=[f"id{number}"],
        )
        for number, name in enumerate(names)
    }
    return Report(
        title="Comparison of 12 runs",
        comparison=compare(tables, metrics=["accuracy", "log_loss"], evidence={"run 11": ["leaky"]}, n_resamples=2000),
        runs=runs,
        warnings=["run 11 leaks, and cannot win."],
        facts={"classes": ", ".join(CLASSES)},
    )


@pytest.fixture(scope="module")
def folder(report, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    write_report(report, folder)
    return folder


def test_of_many_models_the_page_has_the_best_and_the_json_has_all(monkeypatch, tmp_path):
    monkeypatch.setattr("bloodcell.comparison.comparing.MAX_MODELS", 3)
    rng = np.random.default_rng(1)
    names = [f"run {number}" for number in range(6)]
    tables = {name: predictions(rng, 0.5 + 0.2 * number) for number, name in enumerate(names)}
    runs = {name: RunFacts(configuration={"rate": name}, run_ids=[f"id of {name}"]) for name in names}
    write_report(Report(title="", comparison=compare(tables, n_resamples=10), runs=runs), tmp_path)
    for page in ("report.html", "report.md"):
        text = (tmp_path / page).read_text()
        assert [name in text for name in (*names, "majority class")] == [*[False] * 3, *[True] * 4]
    whole = json.loads((tmp_path / "report.json").read_text())
    assert {each["run"] for each in whole["ranking"]} == {*names, "majority class"}
    assert {each["run"] for each in whole["estimates"]} == {*names, "majority class"}
    assert list(whole["runs"]) == names


def test_the_page_begins_with_a_decision_and_what_would_settle_it(report, folder):
    decision = report.decision
    n_best = int(report.comparison.ranking["can_be_best"].sum())
    assert decision.headline == f"No clear winner: {n_best} of 11 models may be the best by accuracy (95 % confidence)."
    cheapest = min(report.comparison.not_worse(), key=lambda run: report.runs[run].costs["parameters"])
    assert decision.advice.startswith(f"Use {cheapest}: the cheapest of them (")
    assert decision.basis == "Test: 600 images of 60 photographs, 4 classes."
    assert "run 11" not in decision.advice
    assert json.loads((folder / "report.json").read_text())["summary"] == list(decision.sentences)


def test_what_all_models_misclassify_is_named(report):
    wrong = [set(report.sources[run].loc[~report.sources[run]["correct"], "source"]) for run in report.models]
    assert set(report.misclassified_by_all) == set(map(str, set.intersection(*wrong)))


def test_the_json_and_the_tables_have_all_that_was_found(report, folder):
    kept = json.loads((folder / "report.json").read_text())
    assert len(kept["verdicts"]) == len(report.comparison.verdicts)
    assert [each["sentence"] for each in kept["verdicts"]] == list(report.comparison.sentences)
    assert kept["ranking"][0]["run"] == report.comparison.ranking["run"][0]
    assert kept["photographs"] == 60
    verdicts = pd.read_csv(folder / "verdicts.csv")
    pd.testing.assert_frame_equal(verdicts, report.comparison.verdicts)


def test_names_are_shown_as_they_are_and_run_nothing(folder):
    html, markdown = (folder / "report.html").read_text(), (folder / "report.md").read_text()
    assert "<b>run</b>" not in html
    assert "&lt;b&gt;run&lt;/b&gt; 3 &amp; &#39;co&#39;" in html
    assert "<b>run</b>" not in markdown


def test_the_page_needs_nothing_else(folder):
    html = (folder / "report.html").read_text()
    assert "http://" not in html
    assert "https://" not in html
    assert (folder / "report.html").stat().st_size < 5e6


@needs_browser
def test_the_page_is_sorted_filtered_and_asked_with_mouse_and_keyboard(folder, report):
    with opened_page(viewport={"width": 1280, "height": 900}) as page:
        asked, errors = [], []
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: errors.append(error))
        page.goto((folder / "report.html").as_uri())
        board = page.locator("#leaderboard table").first
        names = board.locator("tbody tr:visible th")
        assert names.all_inner_texts() == report.comparison.ranking["run"].tolist()
        for _ in range(2):
            board.get_by_role("button", name="parameters").press("Enter")  # by keyboard: first the most, then the least
        ordered = sorted(report.runs, key=lambda run: report.runs[run].costs["parameters"])
        assert names.all_inner_texts()[:N_RUNS] == ordered
        assert board.get_by_role("columnheader", name="parameters").get_attribute("aria-sort") == "ascending"
        page.get_by_label("Filter runs").fill("run 1")
        assert set(names.all_inner_texts()) == {"run 1", "run 10", "run 11"}
        assert page.locator("#shown").inner_text() == "3 of 13"
        page.get_by_label("Filter runs").fill("")
        first = page.locator("#verdicts button[data-sentence]").last
        first.click()
        assert page.locator("#sentence").inner_text() in report.comparison.sentences
        cell = page.locator("#confusion table").nth(1).locator("td[data-difference]").first
        before = cell.inner_text()
        page.get_by_label("show differences").check()
        assert cell.inner_text().startswith(("+", "-"))
        page.get_by_label("show differences").uncheck()
        assert cell.inner_text() == before
        choice = page.get_by_label("Show photographs that")
        choice.select_option("any")
        everyone = set().union(
            *(set(t.loc[~t["correct"], "source"]) for r, t in report.sources.items() if r in report.models)
        )
        assert set(page.locator("#errors figure:visible .name").all_inner_texts()) == {str(each) for each in everyone}
        cell = page.locator("#confusion table").nth(1).locator("button[data-predicted='2']").first
        cell.press("Enter")
        table = report.sources[report.models[int(cell.get_attribute("data-model"))]]
        label = int(cell.get_attribute("data-label"))
        own = table.loc[(table["label"] == label) & (table["predicted"] == 2), "source"]
        assert set(page.locator("#errors figure:visible .name").all_inner_texts()) == set(map(str, own))
        assert page.locator("#error-cell").inner_text().startswith(f"{CLASSES[label]} predicted as MONOCYTE")
        page.get_by_role("button", name="any classes").click()
        wrong = table.loc[~table["correct"], "source"]
        assert set(page.locator("#errors figure:visible .name").all_inner_texts()) == set(map(str, wrong))
        assert asked == [(folder / "report.html").as_uri()]
        assert errors == []


CONTRAST = """() => {
  const luminance = colour => {
    const [r, g, b] = colour.match(/[\\d.]+/g).map(Number).map(c => c / 255)
      .map(c => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = element => {
    for (; element; element = element.parentElement) {
      const colour = getComputedStyle(element).backgroundColor;
      if (!colour.startsWith("rgba")) return colour;  // what lets the paper through is no darker than it looks
    }
    return "rgb(255, 255, 255)";
  };
  const texts = "p, th, td, li, a, span, button, small, dt, dd, figcaption, caption, summary, h1, h2, h3, label";
  return [...document.querySelectorAll(texts)].flatMap(element => {
    if (!element.innerText?.trim() || element.classList.contains("visually-hidden")) return [];
    const [a, b] = [luminance(getComputedStyle(element).color), luminance(ground(element))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    return ratio < 4.5 ? [[element.tagName, element.innerText.slice(0, 30), ratio.toFixed(2)]] : [];
  });
}"""


@needs_browser
@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
def test_the_page_is_legible_in_light_and_dark_and_on_a_telephone(folder, scheme, width):
    with opened_page(viewport={"width": width, "height": 800}, color_scheme=scheme) as page:
        page.goto((folder / "report.html").as_uri())
        page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate(CONTRAST) == []
        assert page.evaluate("document.documentElement.lang") == "en"
        nameless = "svg:not([aria-label]):not([aria-hidden]), img:not([alt]), input:not([id]), table:not(:has(th))"
        assert page.locator(nameless).count() == 0


@needs_browser
def test_the_page_prints_with_all_that_can_be_opened(folder, tmp_path):
    with opened_page() as page:
        page.goto((folder / "report.html").as_uri())
        page.emulate_media(media="print")
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        assert page.locator("details:not([open])").count() == 0
        assert not page.locator("nav").is_visible()
        assert page.locator("#verdicts .sentences").is_visible()
        page.pdf(path=tmp_path / "report.pdf")  # for which a browser opens and closes them itself
        page.evaluate("dispatchEvent(new Event('afterprint'))")
        assert page.locator("details[open]").count() == 0


def test_a_report_of_one_run_compares_it_with_the_baseline(tmp_path):
    one = compare({"alone": predictions(np.random.default_rng(2), 1.0)})
    report = Report(title="Comparison of 1 run", comparison=one)
    write_report(report, tmp_path)
    assert report.decision.headline == "alone is better than the baseline by accuracy (95 % confidence)."
    assert report.decision.verdict.startswith("alone is better than majority class by ")
    assert "alone" in (tmp_path / "report.html").read_text()


def test_of_one_photograph_there_is_a_report_too(tmp_path):
    single = {name: predictions(np.random.default_rng(seed), 1.0).head(10) for seed, name in enumerate("ab")}
    runs = {name: RunFacts(costs={"parameters": 1e6 * (number + 1)}) for number, name in enumerate("ab")}
    one = compare(single, metrics=["log_loss", "accuracy"])
    write_report(Report(title="One photograph", comparison=one, runs=runs), tmp_path)
    assert "inconclusive" in (tmp_path / "report.md").read_text()
