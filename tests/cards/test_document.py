"""Text of documents is shown as it is, and numbers keep their source, in Markdown and in LaTeX."""

import shutil
import subprocess

import pytest

from bloodcell.cards.document import (
    Bullets,
    Heading,
    Link,
    Number,
    Paragraph,
    Table,
    as_latex,
    as_markdown,
    escape_latex,
    joined,
    listed_texts,
    numbers_in,
    text,
    words_of,
)

NASTY = r"\input{/etc/passwd} 50% & $x_1^2$ #1 ~ {a} <b> | *c* `d` [e](f) \end{document}"
NUMBER = Number(
    text="0.750",
    value=0.75,
    kind="metric",
    name="test/accuracy",
    run_id="0a1b",
    address="http://127.0.0.1:5000/#/experiments/1/runs/0a1b",
)


def test_a_template_is_filled_with_spans_and_texts():
    content = text("{n} of {rest}.", n=NUMBER, rest=listed_texts([("{a}",), ("b",), ("c",)]))
    assert words_of(content) == "0.750 of {a}, b and c."
    assert joined([None, ("a",), (), ("b",)]) == ("a", " ", "b")


def test_a_number_has_a_link_with_the_name_of_its_metric():
    blocks = [Paragraph(text("Accuracy {n}, again {n}", n=NUMBER))]
    content = as_markdown(blocks)
    assert "Accuracy [0.750][r1], again [0.750][r1]" in content
    assert f'[r1]: <{NUMBER.address}> "metric test/accuracy"' in content
    address = NUMBER.address.replace("#", r"\#")
    assert f"\\fromrun{{{address}}}{{0.750}}{{metric test/accuracy}}" in as_latex(blocks)
    assert numbers_in(blocks) == [NUMBER]


def test_latex_has_no_command_of_a_text():
    assert escape_latex(r"\end{document}") == r"\textbackslash{}end\{document\}"
    content = as_latex([Heading(1, NASTY), Paragraph((NASTY,)), Bullets([(NASTY,)])])
    assert content.count(r"\end{document}") == 1
    assert r"\input" not in content
    assert r"50\% \& \$x\_1\textasciicircum{}2\$ \#1" in content


def test_an_address_cannot_end_its_link():
    link = Link(text="x", address="http://a/> [b](c) } % \\x")
    assert "> [b]" not in as_markdown([Paragraph((link,))])
    assert r"\href{http://a/\%3E\%20\%5Bb\%5D\%28c\%29\%20\%7D\%20\%20" not in as_latex([Paragraph((link,))])
    assert r"\x}" not in as_latex([Paragraph((link,))])


@pytest.mark.parametrize("start", ["1. a", "2) a", "- a", "+ a", "# a", "> a", "| a", "=== a"])
def test_a_paragraph_that_starts_like_a_list_stays_a_paragraph(start):
    line = as_markdown([Paragraph((start,))])
    assert not line.startswith(start[:2])
    assert line.replace("\\", "").strip() == start


def test_a_cell_cannot_end_its_row():
    table = Table(caption=("c",), header=[("a",)], rows=[[("x | y\n| z",)]])
    rows = [line for line in as_markdown([table]).splitlines() if line.startswith("|")]
    assert rows == ["| a |", "| --- |", r"| x \| y \| z |"]
    assert r"x | y | z \\" in as_latex([table])


@pytest.mark.skipif(shutil.which("pandoc") is None, reason="needs pandoc")
@pytest.mark.parametrize(("kind", "render"), [("gfm", as_markdown), ("latex", as_latex)])
def test_pandoc_reads_a_text_as_it_was(kind, render):
    words = ["pandoc", f"--from={kind}", "--to=plain", "--wrap=none"]
    shown = NASTY.replace("`", "")  # pandoc does not know LaTeX's command for it
    read = subprocess.run(words, input=render([Paragraph((shown,))]).encode(), capture_output=True, check=True)
    assert read.stdout.decode().strip() == shown
