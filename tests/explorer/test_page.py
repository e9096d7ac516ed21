"""The explorer in a browser: by keyboard, by rules of accessibility, on a telephone."""

import pytest
from browser import needs_browser, opened_page
from explorers import explored, predictions, serving

from bloodcell.explorer.items import ExploredRun, make_items

RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


def broken_rules(page):
    """Return the rules of axe that a page breaks, each with the first element that does."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page, options={"runOnly": RULES}).response["violations"]
    return {each["id"]: each["nodes"][0]["html"][:200] for each in found}


@pytest.fixture(scope="module")
def twice(bccd):
    """Images whose photographs have two copies each."""
    table = predictions(bccd)
    table["group"] = [str(number // 2) for number in range(len(table))]
    return make_items([ExploredRun(name="run", predictions=table), ExploredRun(name="other", predictions=table)])


@needs_browser
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (1280, "dark"), (390, "light")])
def test_no_view_breaks_a_rule_of_accessibility(bccd, tmp_path, width, scheme):
    with (
        serving(bccd, tmp_path) as server,
        opened_page(viewport={"width": width, "height": 860}, color_scheme=scheme, bypass_csp=True) as page,
    ):
        problems = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(server.address)
        page.wait_for_selector(".bins button", state="attached")
        page.evaluate("document.getElementById('filter-box').open = true")
        assert broken_rules(page) == {}
        page.locator("#grid").focus()
        page.keyboard.press("Space")
        page.keyboard.press("Enter")
        page.wait_for_selector(".probabilities")
        assert broken_rules(page) == {}
        page.keyboard.press("Escape")
        page.locator("#tab-map").click()
        page.wait_for_selector("#map-state:has-text('images, by')")
        assert broken_rules(page) == {}
        page.locator("#tab-reader").click()
        page.get_by_role("button", name="Start").click()
        page.wait_for_selector("#reader-image")
        assert broken_rules(page) == {}
        page.keyboard.press("1")
        page.get_by_role("button", name="Finish now").click()
        page.wait_for_selector(".answers-table")
        assert broken_rules(page) == {}
        assert page.evaluate("document.documentElement.scrollWidth") == width
        assert problems == []


@needs_browser
def test_everything_can_be_done_by_keyboard(bccd, tmp_path, twice):
    with serving(bccd, tmp_path, items=twice) as server, opened_page(viewport={"width": 1280, "height": 860}) as page:
        page.goto(server.address)
        page.wait_for_selector(".bins button", state="attached")
        focused = "document.activeElement"
        page.locator("#grid").focus()
        for key in ("ArrowRight", "ArrowDown", "End", "Home", "ArrowRight"):
            page.keyboard.press(key)
        active = page.locator("#grid").get_attribute("aria-activedescendant")
        assert page.locator(f"#{active}").get_attribute("aria-posinset") == "2"
        page.keyboard.press("Shift+ArrowRight")
        assert page.locator("[role=option][aria-selected=true]").count() == 3
        page.get_by_role("button", name="Not a cell").press("Enter")
        page.wait_for_selector("#mark-state:has-text('marked: not a cell')")
        marked = server.json("marks")["not_a_cell"]
        rows = twice.table.groupby("source").indices
        sources = set(twice.table["source"].iloc[marked])
        assert sorted(marked) == sorted(row for source in sources for row in rows[source])  # with all copies
        page.locator("#grid").focus()
        page.keyboard.press("Enter")
        assert page.evaluate(f"{focused}.id") == "detail-title"
        page.keyboard.press("Escape")
        assert page.evaluate(f"{focused}.id") == "grid"
        cell = page.locator("#confusion [data-cell='0-1']")
        expected = int(cell.inner_text())
        cell.press("Enter")
        assert page.locator("#count").inner_text().startswith(f"{expected} of")
        assert page.locator("#confusion [data-cell='0-1']").get_attribute("aria-pressed") == "true"


@needs_browser
def test_five_minutes_of_a_reader_by_digits(bccd, tmp_path):
    items = explored(bccd)
    with serving(bccd, tmp_path, items=items) as server, opened_page(viewport={"width": 1280, "height": 860}) as page:
        page.goto(server.address)
        page.wait_for_selector(".bins button", state="attached")
        page.locator("#tab-reader").click()
        page.get_by_role("button", name="Start").click()
        page.wait_for_selector("#reader-place:has-text('Photograph 1 of')")
        hidden = page.locator("#view-reader").inner_html()
        assert not [path for path in items.table["path"] if path.rpartition("/")[2] in hidden]
        for number, key in enumerate("120-9", start=1):
            page.keyboard.press(key)
            place = min(number + 1, 5)  # there is no ninth class
            page.wait_for_selector(f"#reader-place:has-text('Photograph {place} of')")
        page.get_by_role("button", name="Finish now").click()
        page.wait_for_selector(".answers-table")
        answers = page.locator(".answers-table tbody tr td:nth-child(2)").all_inner_texts()
        assert answers == [items.classes[0], items.classes[1], "unsure", "not a cell"]
        assert "can be at most" in page.locator("#view-reader").inner_text()
