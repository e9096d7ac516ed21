"""The audit's page in a browser."""

from browser import needs_browser, opened_page

from bloodcell.audit.finding import Finding
from bloodcell.audit.page import Audit, write_page


@needs_browser
def test_the_page_can_be_read_on_a_telephone(tmp_path):
    rows = [{"path": f"TRAIN/EOSINOPHIL/a long name of a file, number {n}.png", "format": "BMP"} for n in range(3)]
    findings = [
        Finding(
            code="wrong-endings", severity="warning", what="3 images.", numbers={"a_long_name": 1.25}, rows=rows * 2
        )
    ]
    write_page(Audit(title="Audit", facts={"folder": "/a/long/path/" * 8}, findings=findings), tmp_path)
    with opened_page(viewport={"width": 390, "height": 844}) as page:
        page.goto((tmp_path / "audit.html").absolute().as_uri())
        page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
        cells = "[...document.querySelectorAll('td, th')].map(each => each.getBoundingClientRect().width)"
        assert min(page.evaluate(cells)) >= 60
        assert page.evaluate("document.documentElement.scrollWidth") == 390
