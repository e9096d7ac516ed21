"""Documents of text, tables and pictures, in which each number knows where it is from; as Markdown and as LaTeX.

Text from runs and people is escaped. A number links to the run that holds it.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from string import Formatter
from typing import Any, Literal
from urllib.parse import quote

from bloodcell.templates import escape_markdown

LINE_START = re.compile(r"^(\d+)([.)])|^([-+=])")
"""What would start a list or underline a heading at the start of a line."""
LATEX = {
    **{each: f"\\{each}" for each in "{}$&#_%"},
    "\\": r"\textbackslash{}",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    '"': r"\textquotedbl{}",
    "`": r"\textasciigrave{}",
    "'": r"\textquotesingle{}",
    "’": "'",
    "“": "``",
    "”": "''",
    "–": "--",
    "×": r"$\times$",
    "±": r"$\pm$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "°": r"\textdegree{}",
}
PREAMBLE = r"""% Written by bloodcell. If names have letters of other scripts, compile with xelatex or lualatex.
\documentclass[11pt]{article}
\usepackage[a4paper,margin=25mm]{geometry}
\usepackage{iftex}
\ifPDFTeX
  \usepackage[utf8]{inputenc}
  \usepackage[T1]{fontenc}
  \IfFileExists{lmodern.sty}{\usepackage{lmodern}}{}
\else
  \usepackage{fontspec}
\fi
\usepackage{textcomp}
\usepackage{graphicx}
\usepackage{longtable}
\usepackage{array}
\usepackage[hidelinks]{hyperref}
% A number, its run, and the name of the metric, parameter or file. Without links: \renewcommand{\fromrun}[3]{#2}
\newcommand{\fromrun}[3]{\href{#1}{#2}}
\sloppy
\begin{document}
"""


@dataclass(frozen=True, kw_only=True)
class Number:
    """A number, or another value, of a run.

    Attributes
    ----------
    text
        As it is written.
    value
        In full precision.
    kind, name
        What holds it: a metric, a parameter, a tag, or an artifact, and its name (several names with `` + `` between
        them: their sum); or which runs were counted.
    details
        Of an artifact: how to find the value in it. ``column`` and ``where`` (values by column) are a table's cell;
        ``count``: the number of different values of this column in the rows of ``where``.
    run_id
        Its run; None: of no run that the store knows.
    address
        The page of the run.
    """

    text: str
    value: float | str
    kind: Literal["metric", "param", "tag", "artifact", "runs"]
    name: str
    run_id: str | None
    address: str
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def source(self) -> str:
        """What holds it, in words."""
        return f"{self.kind} {self.name}"


@dataclass(frozen=True, kw_only=True)
class Link:
    """Words that link to an address."""

    text: str
    address: str


Span = str | Number | Link
Text = tuple[Span, ...]


@dataclass(frozen=True)
class Heading:
    """A heading of level 1 to 3."""

    level: int
    words: str


@dataclass(frozen=True)
class Paragraph:
    """A paragraph."""

    text: Text


@dataclass(frozen=True)
class Bullets:
    """A list."""

    items: Sequence[Text]


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table, with its caption above; ``widths`` are shares of the line, for long cells in LaTeX."""

    caption: Text
    header: Sequence[Text]
    rows: Sequence[Sequence[Text]]
    widths: Sequence[float] = ()


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A picture, by the name of its file without suffix, which is PNG."""

    file: str
    caption: Text


Block = Heading | Paragraph | Bullets | Table | Picture


def text(template: str, /, **values: Span | Text) -> Text:
    """Return a template in braces, such as ``"{n} images"``, filled with spans and texts."""
    spans: list[Span] = []
    for literal, name, _, _ in Formatter().parse(template):
        if literal:
            spans.append(literal)
        if name is not None:
            value = values[name]
            spans.extend(value if isinstance(value, tuple) else (value,))
    return tuple(spans)


def joined(texts: Sequence[Text | None], between: str = " ") -> Text:
    """Join texts; None are left out."""
    spans: list[Span] = []
    for each in texts:
        if each:
            spans.extend((between, *each) if spans else each)
    return tuple(spans)


def listed_texts(texts: Sequence[Text]) -> Text:
    """Join texts into a list: ``a, b and c``."""
    *first, last = texts
    return joined([joined(first, ", "), last], " and ") if first else last


def words_of(content: Text) -> str:
    """Return a text without its links."""
    return "".join(each if isinstance(each, str) else each.text for each in content)


def numbers_in(blocks: Sequence[Block]) -> list[Number]:
    """Return the numbers of a document, in order; equal ones once."""
    found: dict[tuple[Any, ...], Number] = {}
    for content in _texts(blocks):
        for each in content:
            if isinstance(each, Number):
                found[each.text, each.source, each.run_id, repr(each.details)] = each
    return list(found.values())


def _texts(blocks: Sequence[Block]) -> Iterator[Text]:
    for block in blocks:
        match block:
            case Heading():
                yield (block.words,)
            case Paragraph():
                yield block.text
            case Bullets():
                yield from block.items
            case Picture():
                yield block.caption
            case Table():
                yield block.caption
                yield from block.header
                for row in block.rows:
                    yield from row


def as_markdown(blocks: Sequence[Block]) -> str:
    """Return a document in Markdown; the addresses of its numbers are at its end."""
    links: dict[tuple[str, str], str] = {}

    def written(content: Text) -> str:
        return "".join(_markdown(each, links) for each in content)

    parts = []
    for block in blocks:
        match block:
            case Heading():
                parts.append(f"{'#' * block.level} {written((block.words,))}")
            case Paragraph():
                parts.append(_not_a_list(written(block.text)))
            case Bullets():
                parts.append("\n".join(f"- {_not_a_list(written(item))}" for item in block.items))
            case Picture():
                parts.append(f"![{written((words_of(block.caption),))}]({block.file}.png)\n\n{written(block.caption)}")
            case Table():
                rows = [list(map(written, row)) for row in (block.header, *block.rows)]
                rows.insert(1, ["---"] * len(block.header))
                lines = [f"| {' | '.join(row)} |" for row in rows]
                parts.append(f"{written(block.caption)}\n\n" + "\n".join(lines))
    if links:
        parts.append("\n".join(f'[{label}]: <{place}> "{title}"' for (place, title), label in links.items()))
    return "\n\n".join(parts) + "\n"


def _markdown(span: Span, links: dict[tuple[str, str], str]) -> str:
    match span:
        case str():
            # A span's outer spaces are those between it and the next.
            inner = escape_markdown(span)
            return f"{' ' * span[:1].isspace()}{inner}{' ' * (bool(inner) and span[-1:].isspace())}"
        case Link():
            return f"[{escape_markdown(span.text)}](<{_address(span.address)}>)"
        case Number():
            title = re.sub(r'["\\<>\n]', " ", span.source)
            label = links.setdefault((_address(span.address), title), f"r{len(links) + 1}")
            return f"[{escape_markdown(span.text)}][{label}]"


def _not_a_list(line: str) -> str:
    return LINE_START.sub(lambda found: f"{found[1]}\\{found[2]}" if found[1] else f"\\{found[3]}", line)


def _address(address: str) -> str:
    """Percent-encode what could end an address, or start something else."""
    return quote(address, safe="/:#?&=%@+,;-._~")


def as_latex(blocks: Sequence[Block]) -> str:
    """Return a document in LaTeX, with its preamble."""
    return PREAMBLE + "\n\n".join(_latex_block(block) for block in blocks) + "\n\n\\end{document}\n"


def _latex_block(block: Block) -> str:
    match block:
        case Heading():
            command = ("section", "subsection", "subsubsection")[block.level - 1]
            return f"\\{command}*{{{escape_latex(block.words)}}}"
        case Paragraph():
            return _latex(block.text)
        case Bullets():
            items = "\n".join(f"  \\item {{}}{_latex(item)}" for item in block.items)
            return f"\\begin{{itemize}}\n{items}\n\\end{{itemize}}"
        case Picture():
            return (
                "\\begin{figure}[htbp]\n  \\centering\n"
                f"  \\includegraphics[width=\\linewidth,height=0.85\\textheight,keepaspectratio]{{{block.file}.png}}\n"
                f"  \\par\\smallskip {_latex(block.caption)}\n\\end{{figure}}"
            )
        case Table():
            # Shares of the line less the space between columns.
            shares = block.widths or _shares(block)
            columns = "".join(
                f">{{\\raggedright\\arraybackslash}}p{{\\dimexpr {share:.3f}\\linewidth-2\\tabcolsep\\relax}}"
                for share in shares
            )
            rows = "\n".join(" & ".join(map(_latex, row)) + r" \\" for row in block.rows)
            return (
                f"\\noindent {_latex(block.caption)}\n\n"
                f"\\begin{{longtable}}{{{columns}}}\n\\hline\n"
                f"{' & '.join(map(_latex, block.header))} \\\\\n\\hline\n\\endhead\n{rows}\n\\hline\n"
                "\\end{longtable}"
            )


def _shares(table: Table) -> list[float]:
    """Return the columns' shares of the line, by their longest words, which LaTeX does not break."""

    def width(word: str) -> float:
        return sum(1.4 if letter.isupper() else 1 for letter in word)

    columns = zip(table.header, *table.rows, strict=True)
    widths = [3 + max(width(word) for cell in column for word in words_of(cell).split() or [""]) for column in columns]
    return [each / sum(widths) for each in widths]


def _latex(content: Text) -> str:
    return "".join(map(_latex_span, content))


def _latex_span(span: Span) -> str:
    match span:
        case str():
            return escape_latex(span)
        case Link():
            return f"\\href{{{_latex_address(span.address)}}}{{{escape_latex(span.text)}}}"
        case Number():
            source = escape_latex(span.source)
            return f"\\fromrun{{{_latex_address(span.address)}}}{{{escape_latex(span.text)}}}{{{source}}}"


def _latex_address(address: str) -> str:
    return re.sub(r"([#%&_~])", r"\\\1", _address(address)).replace(r"\~", "%7E".replace("%", r"\%"))


def escape_latex(words: str) -> str:
    """Return text that LaTeX writes as it is, in one line."""
    kept = re.sub(r"\s+", " ", words)
    return "".join(LATEX.get(each, each) for each in kept if each.isprintable())
