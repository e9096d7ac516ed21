"""The pages of documentation: built strictly, loading nothing from elsewhere, and with commands that are accepted."""

import os
import re
import shlex
import subprocess
import sys
from unittest.mock import Mock

import pytest
from browser import needs_browser, opened_page
from commands import REPOSITORY
from documents import BLOODCELL, blocks_of, commands_of
from hydra.core.override_parser.overrides_parser import OverridesParser

from bloodcell.cli.arguments import name_first_word
from bloodcell.config.composition import compose_config
from bloodcell.config.conf_files import conf_dir, experiments_dir
from bloodcell.config.jobs import split_job
from bloodcell.config.keywords import train_config

DOCS = REPOSITORY / "docs"
PAGES = [*sorted(DOCS.rglob("*.md")), REPOSITORY / "CONTRIBUTING.md"]
MINE = "data=bccd data.root=mine"
"""In the place of the file that `bloodcell init` writes; the page that has it is run by a test of its own."""
ADDED = ("backbone=vgg16", "backbone=mean_colour", "crop=middle", "split=last_groups", "matthews")
"""What CONTRIBUTING.md adds first; its own test runs these commands."""
JOBS = sorted(
    {
        command.removeprefix(BLOODCELL)
        for page in PAGES
        for command in commands_of(page.read_text(encoding="utf-8"))
        if command.startswith(BLOODCELL) and not any(word in command for word in ADDED)
    }
)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    pytest.importorskip("mkdocs", reason="needs MkDocs (`uv sync --group dev`)")
    folder = tmp_path_factory.mktemp("site")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)],
        cwd=REPOSITORY,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    return folder


@pytest.mark.slow
def test_the_pages_build_without_a_warning_and_load_nothing_from_elsewhere(site):
    pages = list(site.rglob("*.html"))
    assert len(pages) > len(list(DOCS.rglob("*.md")))  # the changelog and the guide for contributors are among them
    for page in pages:
        text = page.read_text(encoding="utf-8")
        loaded = re.findall(r'<(?:script|img|iframe|source)\b[^>]*\bsrc="([^"]*)"|<link\b[^>]*\bhref="([^"]*)"', text)
        assert not [address for either in loaded for address in either if "//" in address], page
    assert not [
        sheet for sheet in site.rglob("*.css") if re.search(r"(url\(|@import )\W?(https?:)?//", sheet.read_text())
    ]


@pytest.mark.slow
def test_the_pages_show_the_pictures_of_the_experiments_and_what_docstrings_say(site):
    assert (site / "pictures" / "leakage.png").is_file()
    assert "n_resamples" in (site / "api" / "comparison.html").read_text("utf-8")
    assert "How to add" in (site / "contributing.html").read_text("utf-8")


@needs_browser
def test_the_search_works_in_pages_from_the_disk(site):
    with opened_page() as page:
        requested = []
        page.on("request", lambda request: requested.append(request.url))
        page.goto((site / "index.html").as_uri())
        page.locator("[data-md-component=search-query]").fill("permutation test")
        page.locator(".md-search-result__item a").first.wait_for()
        assert "comparison.html" in " ".join(
            link.get_attribute("href") for link in page.locator(".md-search-result__item a").all()
        )
        assert {url.partition(":")[0] for url in requested} <= {"file", "data", "blob"}


@pytest.mark.parametrize("command", JOBS)
def test_a_command_of_the_pages_is_accepted(command):
    job, words = split_job(shlex.split(command.replace("-cd conf data=mine", MINE)))
    words = name_first_word(job, words)
    overrides = OverridesParser.create().parse_overrides([word for word in words if word not in ("-m", "--json")])
    swept = {override.key_or_group for override in overrides if override.is_sweep_override()}
    assert not swept or "-m" in words
    # Of what is swept, the first and the last: each is composed as one of the sweep's runs.
    for end in (0, -1) if swept else (0,):
        compose_config(
            job,
            [_one(override, end) if override.key_or_group in swept else override.input_line for override in overrides],
        )


def _one(override, end):
    swept = override.value()
    ends = (swept.start, swept.end) if override.is_interval_sweep() else list(override.sweep_string_iterator())
    return f"{override.key_or_group}={ends[end]}"


def test_every_choice_of_the_configuration_is_in_its_page():
    page = (DOCS / "configuration.md").read_text(encoding="utf-8")
    files = [*conf_dir().glob("*/*.yaml"), *experiments_dir().glob("*.yaml")]
    assert not [file for file in files if file.parent.name not in ("hydra", "shared") and f"`{file.stem}`" not in page]


def test_every_job_has_a_command_and_is_in_the_reference():
    named = {path.stem for path in (REPOSITORY / "bloodcell" / "jobs").glob("[!_]*.py")}
    assert {split_job(shlex.split(job))[0] for job in JOBS} == named
    reference = (DOCS / "api" / "jobs.md").read_text(encoding="utf-8")
    assert {name for name in named if f"::: bloodcell.jobs.{name}\n" in f"{reference}\n"} == named


def test_the_python_of_the_pages_runs(monkeypatch, capsys):
    trained = []

    def train(*, folder, **settings):
        trained.append(train_config(**settings))
        return Mock()

    monkeypatch.setattr("bloodcell.experiment.training.train", train)
    for page in DOCS.rglob("*.md"):
        for block in blocks_of(page.read_text(encoding="utf-8")):
            if block.language == "python":
                exec(block.text, {})
    assert [config.data.root for config in trained] == ["path/to/blood-cells"]
    assert "inconclusive" in capsys.readouterr().out


def test_what_contributors_are_asked_to_run_is_what_is_checked():
    asked = commands_of((REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8"))
    checked = (REPOSITORY / ".ci" / "run").read_text(encoding="utf-8")
    assert not [command for command in asked if command.startswith("uv run ruff") and command not in checked]


def test_every_statement_on_security_names_a_test_that_there_is():
    page = (REPOSITORY / "SECURITY.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (?!input|---).* \|$", page, flags=re.MULTILINE)
    named = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)` \|$", page, flags=re.MULTILINE)
    assert len(rows) == len(named) >= 15
    for file, name in named:
        assert f"\ndef {name}(" in (REPOSITORY / file).read_text(encoding="utf-8"), name
