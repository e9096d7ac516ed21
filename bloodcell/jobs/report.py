"""Write a methods and results section on a run, and a filled checklist of reporting.

  bloodcell report run=ID
  bloodcell report study=ID checklist=tripod-ai answers=answers.yaml audit=audit/audit.json output=paper

The section (section.md, section.tex, with pandoc also section.docx) has only numbers that link to the run that holds
them; numbers.json lists them. checklist.md is CLAIM 2024 or TRIPOD+AI, item by item. What no run can know, such as
ethics, is asked for in answers.yaml, and NOT STATED until you answer. flow.png and flow.svg show the data flow.
"""

import json
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from matplotlib.figure import Figure
from rich.console import Console

from bloodcell.cards.checklist import STATES, Checklist, Filled, checklist_page, fill
from bloodcell.cards.claim import CLAIM
from bloodcell.cards.document import as_latex, as_markdown
from bloodcell.cards.report_answers import read_answers, template
from bloodcell.cards.report_facts import ReportFacts
from bloodcell.cards.report_flow import flow_figure
from bloodcell.cards.report_section import FLOW, numbers_data, open_questions, section
from bloodcell.cards.tripod_ai import TRIPOD_AI
from bloodcell.config.schemas import ReportConfig
from bloodcell.console.json_output import plain, set_json_result
from bloodcell.console.logs import log_file
from bloodcell.files import atomic_write, require_output_folder
from bloodcell.tracking.report_facts import facts_of_run, facts_of_study, read_audit
from bloodcell.tracking.store import Store, existing_store

CHECKLISTS: Mapping[str, Checklist] = {"claim": CLAIM, "tripod-ai": TRIPOD_AI}
FOLDER, ANSWERS = "report", "answers.yaml"
MARKDOWN, LATEX, DOCX = "section.md", "section.tex", "section.docx"
PANDOC_SECONDS = 120.0
DPI = 200


def run(config: ReportConfig, *, output_dir: Path) -> None:
    """Write the section, the checklist, the numbers and the diagram into a folder.

    Everything is read and written as text before the first file is replaced.

    Raises
    ------
    UserError
        If the run, the study, the answers or the audit cannot be used, or the folder cannot be written.
    """
    answers = {} if config.answers is None else read_answers(config.answers)
    store = existing_store(config.tracking)
    output = output_dir / FOLDER if config.output is None else Path(config.output).expanduser()
    require_output_folder(output)
    facts = _facts(config, store)
    checklist = CHECKLISTS[config.checklist]
    filled = fill(checklist, facts, answers)
    blocks = section(facts, filled=filled, answers=answers)
    page = checklist_page(filled)
    questions = open_questions(filled, answers)
    texts = {
        MARKDOWN: as_markdown(blocks),
        LATEX: as_latex(blocks),
        "checklist.md": as_markdown(page),
        "numbers.json": json.dumps(plain(numbers_data([*blocks, *page])), indent=2, ensure_ascii=False) + "\n",
    }
    figure = flow_figure(facts)
    _write(output, texts, figure)
    asked = _write_questions(output / ANSWERS, questions) if config.answers is None else None
    problem = _write_docx(output)
    _show(config, facts, filled, output=output, asked=asked, problem=problem, questions=questions, store=store)


def _facts(config: ReportConfig, store: Store) -> ReportFacts:
    facts = facts_of_study(config.study, store) if config.study is not None else facts_of_run(str(config.run), store)
    if config.audit is None:
        return facts
    return replace(facts, audit=read_audit(config.audit, facts, store))


def _write(folder: Path, texts: Mapping[str, str], figure: Figure | None) -> None:
    for name, content in texts.items():
        with atomic_write(folder / name) as partial:
            partial.write_text(content, encoding="utf-8")
    if figure is None:
        return
    for suffix in ("png", "svg"):
        with atomic_write(folder / f"{FLOW}.{suffix}") as partial:
            figure.savefig(partial, dpi=DPI)


def _write_questions(file: Path, keys: Sequence[str]) -> Path | None:
    """Write a template of open questions unless there is a file of that name; return its path if it was written."""
    if file.exists() or not keys:
        return None
    with atomic_write(file) as partial:
        partial.write_text(template(list(keys)), encoding="utf-8")
    return file


def _write_docx(folder: Path) -> str:
    """Convert the section by pandoc; return why it was not, or an empty text."""
    (folder / DOCX).unlink(missing_ok=True)  # of an earlier section
    pandoc = shutil.which("pandoc")
    if pandoc is None:
        return f"no {DOCX}, because pandoc is not installed"
    with atomic_write(folder / DOCX) as partial:
        words = [pandoc, MARKDOWN, "--from=gfm", "--to=docx", "--sandbox", "--output", str(partial.absolute())]
        try:
            done = subprocess.run(words, cwd=folder, capture_output=True, timeout=PANDOC_SECONDS, check=False)
            reason = "" if done.returncode == 0 else " ".join(done.stderr.decode(errors="replace").split())[:200]
        except (OSError, subprocess.TimeoutExpired) as error:
            reason = type(error).__name__
        if not reason:
            return ""
        partial.touch()
    (folder / DOCX).unlink(missing_ok=True)
    return f"no {DOCX}, because pandoc failed ({reason})"


def _show(
    config: ReportConfig,
    facts: ReportFacts,
    filled: Filled,
    *,
    output: Path,
    asked: Path | None,
    problem: str,
    questions: Sequence[str],
    store: Store,
) -> None:
    files = [path for path in sorted(output.iterdir()) if path.is_file() and path.name[0] != "."]
    set_json_result(
        run_id=facts.run.id,
        study=config.study,
        tracking=store.label,
        folder=output.absolute(),
        files=[path.name for path in files],
        checklist=config.checklist,
        items=len(filled.items),
        counts={state: filled.number(state) for state in STATES},
        with_open_parts=filled.with_questions,
        share_from_run=filled.share,
        open_questions=questions,
        docx=problem or DOCX,
        log=log_file(),
    )
    console = Console(highlight=False, soft_wrap=True)
    lines = [
        f"Run        {facts.run.id} ({facts.run.name})",
        f"{filled.summary}",
        f"Section    {output / MARKDOWN}, {LATEX}{'' if problem else f', {DOCX}'}",
        f"Checklist  {output / 'checklist.md'}",
        f"Numbers    {output / 'numbers.json'}",
    ]
    if asked is not None:
        lines.append(f"Questions  {asked}: answer them, and add answers={asked}")
    if problem:
        lines.append(f"Note: {problem}")
    for line in lines:
        console.print(line, markup=False)
