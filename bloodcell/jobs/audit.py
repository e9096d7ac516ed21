"""Check a data set for leakage, label errors, shortcuts and shift.

The Kaggle set, and your own folders in a check that fails on errors:

  bloodcell audit data=bccd data.root=~/blood-cells
  bloodcell audit data=folder data.train_dir=cells/train data.test_dir=cells/test output=audit fail_on=error

The report is audit.html, with the same content in audit.md and, for programs, audit.json.
"""

from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from bloodcell.audit.duplicates import conflicting_labels, exact_duplicates
from bloodcell.audit.file_shortcuts import file_shortcuts
from bloodcell.audit.files import headers_of, odd_files
from bloodcell.audit.finding import SEVERITIES, Finding
from bloodcell.audit.labels import several_cells, suspicious_labels
from bloodcell.audit.leakage import (
    cells_with_two_labels,
    overlapping,
    random_split,
    shared_between_splits,
    too_little_texture,
)
from bloodcell.audit.page import Audit, as_data, write_page
from bloodcell.audit.sample_size import sample_size
from bloodcell.audit.shift import shift
from bloodcell.audit.shortcuts import shortcuts
from bloodcell.audit.sources import source_table
from bloodcell.cells.measurements import measure_images
from bloodcell.config.data import BccdData, DataConfig, FolderData, SmearsData, TableData
from bloodcell.config.parameters import parameters_of
from bloodcell.config.schemas import AuditConfig
from bloodcell.console.colours import SEVERITIES as SHADES
from bloodcell.console.json_output import set_json_result
from bloodcell.data.manifest import SPLITS, UNTEXTURED, ImageSet, digest
from bloodcell.errors import FindingsError
from bloodcell.experiment.environment import environment_tags
from bloodcell.experiment.images import load_images
from bloodcell.files import require_output_folder
from bloodcell.images.reading import read_image_to_show
from bloodcell.provenance.recovery import overlapping_sources
from bloodcell.tracking.experiment_page import EXCLUDED_TAG
from bloodcell.tracking.run import tracked_run
from bloodcell.tracking.store import find_store
from bloodcell.tracking.where import run_data

FAILING = {"error": ("error",), "warning": ("error", "warning"), "never": ()}


def run(config: AuditConfig, *, output_dir: Path) -> None:
    """Check the images, write the page, track it as an MLflow run and print the findings.

    The folder is written first, MLflow second, so a lost store loses nothing.

    Raises
    ------
    UserError
        If the images or the store cannot be used, or the folder cannot be written.
    FindingsError
        If there is a finding of the severity ``fail_on`` or worse; the report is written before.
    """
    find_store(config.tracking)  # refuses a missing store before anything is read
    folder = output_dir / "artifacts"
    output = folder if config.output is None else Path(config.output).expanduser()
    require_output_folder(output)
    images = load_images(replace(config.data, on_bad_image="skip"))  # an audit reports them
    data_digest = digest(images.manifest)
    audit = Audit(
        title=f"Audit of {_name_of(config.data)}",
        facts=_facts(images, config),
        findings=list(_findings(images, config)),
    )
    write_page(audit, folder)
    if config.output is not None:
        write_page(audit, output)
    with tracked_run(
        tracking=config.tracking,
        name=config.tracking.run_name or audit.title,
        tags=environment_tags()
        | {"job": "audit", EXCLUDED_TAG: "audit", "data_digest": data_digest}
        | {"groups": config.data.groups, "group_name": config.data.group_noun},
        folder=output_dir,
    ) as tracked:
        tracked.log_parameters(parameters_of(config))
        tracked.log_dataset(images.manifest, name=config.data.source, source=str(images.root), digest=data_digest)
        tracked.log_metrics({name: float(len(audit.of(name))) for name in SEVERITIES}, prefix="findings")
        tracked.log_artifacts()
        tracked.describe(f"{audit.summary} The page is `audit.html`.")
    _show(audit, output)
    set_json_result(
        **run_data(tracked, config.tracking) | {"folder": output.absolute()},
        page=(output / "audit.html").absolute(),
        **as_data(audit),
    )
    failing = [finding for severity in FAILING[config.fail_on] for finding in audit.of(severity)]
    if failing:
        raise FindingsError(
            f"fail_on={config.fail_on}: {', '.join(dict.fromkeys(finding.code for finding in failing))}; "
            f"see {output / 'audit.html'}"
        )


def _findings(images: ImageSet, config: AuditConfig) -> Iterator[Finding]:
    manifest, name = images.manifest, config.data.group_noun
    random = {"n_permutations": config.n_permutations, "seed": config.seed}

    def read(path: str) -> NDArray[np.uint8]:
        return read_image_to_show(images.file(path))

    headers = headers_of(images)
    yield from odd_files(images, headers)
    yield from shared_between_splits(manifest, read=read, groups_known=config.data.groups != "none", group_name=name)
    if UNTEXTURED in manifest:
        yield too_little_texture(manifest)
    if config.data.finds_photographs:
        pairs = overlapping_sources(images.files(manifest), manifest["sha256"].tolist())
        yield overlapping(manifest, pairs=pairs, read=read)
        yield cells_with_two_labels(manifest, pairs=pairs, read=read)
    if config.data.groups != "none":
        yield random_split(manifest)
    yield from sample_size(manifest, group_name=name)
    yield conflicting_labels(manifest, read=read)
    yield exact_duplicates(manifest)
    sources = source_table(manifest, measure_images(images.files(manifest), manifest["sha256"].tolist()))
    yield from suspicious_labels(sources, read=read, **random)
    yield several_cells(sources, read=read, **random)
    yield from shift(sources, splits=[split for split in SPLITS if (manifest["split"] == split).any()], **random)
    yield from shortcuts(sources, **random)
    yield from file_shortcuts(sources, headers, **random)


def _facts(images: ImageSet, config: AuditConfig) -> dict[str, str]:
    return {
        "folder": str(images.root),
        "classes": ", ".join(images.classes),
        "groups": f"data.groups={config.data.groups}",
        "data digest": digest(images.manifest),
        "bloodcell": version("bloodcell"),
    }


def _show(audit: Audit, folder: Path) -> None:
    console = Console(highlight=False)
    table = Table(title=escape(audit.title), title_justify="left", show_lines=False)
    table.add_column("", no_wrap=True)
    table.add_column("finding", no_wrap=True)
    table.add_column("", overflow="fold")
    for severity in SEVERITIES:
        for finding in audit.of(severity):
            table.add_row(Text(severity, style=SHADES[severity]), finding.code, escape(finding.what))
    console.print(table)
    console.print(audit.summary, markup=False)
    console.print(f"Page        {folder / 'audit.html'}", markup=False, soft_wrap=True)


def _name_of(data: DataConfig) -> str:
    """Return the name of a set of images: that of its folder."""
    match data:
        case SmearsData():
            return "rendered smears"
        case BccdData():
            return Path(data.root).name or data.root
        case TableData():
            return Path(data.table).stem or data.table
        case FolderData():
            return Path(data.train_dir).name or data.train_dir
