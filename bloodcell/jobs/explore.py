"""Look at every image of some runs: filter, compare two runs, mark wrong labels, read photographs blind.

Runs or files of predictions of any tool; all runs of a study; images that were moved:

  bloodcell explore runs=[0a1b,2c3d,other.csv]
  bloodcell explore study=4e5f images=~/blood-cells
  bloodcell explore runs=[0a1b] export=fiftyone output=for-fiftyone

The page needs no network, and only this machine can open it, by an address with a secret. Marks are kept in the folder
`output`, and exported as the files that data.labels_file, data.exclude_file and data.groups_file take.
"""

import secrets
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from bloodcell.comparison.run_tags import common_group_name
from bloodcell.config.schemas import ExploreConfig
from bloodcell.config.training import StoredFeatures
from bloodcell.console.json_output import set_json_result
from bloodcell.console.screen import open_in_browser
from bloodcell.data.csv_files import groups_by_path
from bloodcell.explorer.cached import thumbnails_dir
from bloodcell.explorer.embedding import Space
from bloodcell.explorer.features import measured_space, stored_space
from bloodcell.explorer.fiftyone import write_fiftyone
from bloodcell.explorer.items import Items, make_items
from bloodcell.explorer.maps import Maps
from bloodcell.explorer.marks import Marks
from bloodcell.explorer.originals import Originals
from bloodcell.explorer.reading import Readings
from bloodcell.explorer.server import HOST, Explorer, make_app
from bloodcell.explorer.thumbnails import Thumbnails
from bloodcell.files import require_output_folder
from bloodcell.images.address import address_of
from bloodcell.local_server import listening, page_address, serve
from bloodcell.models.feature_sets import FEATURE_SETS, MAJORITY
from bloodcell.tracking.explored import Explainers, originals_of, read_explored
from bloodcell.tracking.runs import StoredRun
from bloodcell.training.feature_store import FeatureStore, features_dir
from bloodcell.wording import counted

FIFTYONE = "fiftyone"


def run(config: ExploreConfig, *, output_dir: Path) -> None:  # noqa: ARG001 - it has a folder of its own
    """Serve the page until interrupted, or export the images.

    Raises
    ------
    UserError
        If a run, a file or the folder cannot be used, the runs have different classes, or the port is taken.
    """
    output = Path(config.output).expanduser()
    require_output_folder(output)
    runs, stored = read_explored(tracking=config.tracking, runs=config.runs, study=config.study)
    items = make_items(
        runs,
        group_name=common_group_name(each.tags for each in stored if each),
        columns=config.columns,
        classes=config.classes,
        groups=None if config.groups_file is None else groups_by_path(config.groups_file, setting="groups_file"),
    )
    originals = originals_of(items, stored, images=config.images)
    console = Console(highlight=False, soft_wrap=True)
    for note in items.notes:
        console.print(f"Note: {note}", markup=False)
    if config.export is not None:
        _export(items, originals, output / FIFTYONE, console)
        return
    _say_what_is_missing(originals, console)
    _serve(config, items, originals, stored, output=output, console=console)


def _export(items: Items, originals: Originals, folder: Path, console: Console) -> None:
    files = [None if found is None else Path(address_of(found[0]).file) for found in originals.files()]
    number = write_fiftyone(items, files, folder)
    set_json_result(folder=folder.absolute(), images=number)
    console.print(f"{counted(number, 'image')} in {folder}", markup=False)
    console.print("In Python   import fiftyone as fo", markup=False)
    console.print(f"            fo.Dataset.from_dir({str(folder)!r}, fo.types.FiftyOneDataset)", markup=False)


def _say_what_is_missing(originals: Originals, console: Console) -> None:
    missing, looked = originals.missing()
    if missing:
        console.print(
            f"Warning: of {counted(looked, 'image')} that were looked for, {len(missing)} are not on this machine as "
            f"they were recorded, such as {missing[0]}; give images=FOLDER",
            markup=False,
        )


def _serve(
    config: ExploreConfig,
    items: Items,
    originals: Originals,
    stored: Sequence[StoredRun | None],
    *,
    output: Path,
    console: Console,
) -> None:
    listener = listening(HOST, config.port)
    listener.listen()
    token = secrets.token_urlsafe(24)
    maps = Maps(items, lambda: _space(items, originals, stored))
    explorer = Explorer(
        items=items,
        title=f"{counted(len(items), 'image')}, {counted(len(items.runs), 'run')}",
        read=originals.pixels,
        thumbnails=Thumbnails(read=originals.pixels, sha256s=tuple(items.table["sha256"]), folder=thumbnails_dir()),
        marks=Marks(items, output),
        maps=maps,
        readings=Readings(items, output),
        heat=Explainers(items, stored, originals).heat,
    )
    app = make_app(explorer, token=token)
    address = f"{page_address(HOST, listener.getsockname()[1])}{token}/"
    console.print(f"{counted(len(items), 'image')}, {counted(len(items.runs), 'run')}: {address}", markup=False)
    console.print(f"Marks       {output}", markup=False)
    console.print("Ctrl-C ends it.")
    set_json_result(address=address, folder=output.absolute(), images=len(items), runs=[run.name for run in items.runs])
    if config.open:
        open_in_browser(address)
    try:
        serve(app, listener)
    finally:
        maps.close()
    console.print("Ended.")


def _space(items: Items, originals: Originals, stored: Sequence[StoredRun | None]) -> Space | None:
    """Return the images as points: by features that a run's training has stored, else by measures of the cells."""
    configs = [run.config for run in stored if run is not None and run.config is not None]
    names = [config.backbone.name for config in configs]
    folders = {config.features.dir for config in configs if isinstance(config.features, StoredFeatures)}
    for folder in sorted(folders, key=str):
        space = stored_space(
            items.table["sha256"].tolist(),
            backbones=[name for name in names if name not in FEATURE_SETS],
            store=FeatureStore(features_dir(folder)),
        )
        if space is not None:
            return space
    return measured_space(originals.files(), sets=[name for name in names if name in FEATURE_SETS and name != MAJORITY])
