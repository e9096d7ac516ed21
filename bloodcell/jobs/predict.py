"""Predict the classes of images with a saved model.

The model of a run for a folder of images; a registered model that may answer "uncertain":

  bloodcell predict run=ID images=~/new-cells
  bloodcell predict model=models:/bloodcell@candidate images=[a.jpeg,b.jpeg] max_error=0.2 output=a.parquet --explain

Each image gets an answer: a class, "uncertain", "unlike the training images" or "cannot be read".
"""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bloodcell.config.schemas import PredictConfig
from bloodcell.console.json_output import set_json_result
from bloodcell.console.logs import log_file
from bloodcell.console.progress import print_status, track
from bloodcell.data.folders import files_below, folder_errors, printable
from bloodcell.errors import UserError
from bloodcell.evaluation.evidence import LIMITS
from bloodcell.evaluation.pointing import nucleus_in
from bloodcell.files import atomic_write, require_output_file
from bloodcell.images.reading import SUFFIXES, UnreadableImage, decode_image, pages_of, read_file, require_image
from bloodcell.serving.prediction import UNREADABLE, ServingParameters, predict_images
from bloodcell.tracking.models import StoredModel, load_model, model_of
from bloodcell.tracking.runs import finished_run
from bloodcell.tracking.store import existing_store
from bloodcell.wording import counted

AT_ONCE = 64
"""Number of images that are read at a time."""
SHOWN = 20


def run(config: PredictConfig, *, output_dir: Path) -> None:
    """Write a prediction for every image, and print the first ones.

    Raises
    ------
    UserError
        If the model or an image's path cannot be used, or no threshold guarantees ``max_error``.
    """
    files = image_files([config.images] if isinstance(config.images, str) else config.images)
    output = Path(config.output or output_dir / "answers.csv").expanduser()
    require_output_file(output)
    model = _model(config)
    table = ask(model, files, max_error=config.max_error)
    with atomic_write(output) as partial:
        if output.suffix == ".csv":
            table.to_csv(partial, index=False)
        else:
            table.to_parquet(partial, index=False)
    _show(table)
    for limit in model.serving.evidence:
        print(f"Warning, {limit}: the model's run {LIMITS[limit].why}.")
    if several := [path for path in table.loc[table["answer"] != UNREADABLE, "path"] if pages_of(Path(path)) > 1]:
        print(f"Of {counted(len(several), 'file')} with several pages, the first was predicted, such as {several[0]}")
    print(f"Written to  {output}")
    explained = None
    if config.explain:
        folder = output.with_name(f"{output.stem}_explained")
        draw_explanations(model, files, table, folder=folder)
        explained = folder / "plots"
        print(f"Explained   {explained}")
    set_json_result(
        answers=table.to_dict("records"),
        evidence=model.serving.evidence,
        counts=table["answer"].value_counts().to_dict(),
        output=output.absolute(),
        explained=explained and explained.absolute(),
        log=log_file(),
    )


def image_files(places: Sequence[str]) -> list[Path]:
    """Return the given files, and all files in folders, without hidden ones.

    Raises
    ------
    UserError
        If a path does not exist, or a folder has no image.
    """
    files: list[Path] = []
    for place in places:
        path = Path(place).expanduser()
        if path.is_dir():
            with folder_errors():
                found = files_below(path)
            if not any(file.suffix.lower() in SUFFIXES for file in found):
                raise UserError(f"images={place}: has no images; give a file or a folder with images")
            files += found
        elif path.exists():
            files.append(path)
        else:
            raise UserError(f"images={place}: there is no such file or folder")
    return list(dict.fromkeys(files))


def _model(config: PredictConfig) -> StoredModel:
    store = existing_store(config.tracking)
    address, setting = str(config.model), f"model={config.model}"
    if config.run is not None:
        run = finished_run(config.run, store, setting="run")
        address, setting = model_of(run, setting="run"), f"run={config.run}"

    def check(serving: ServingParameters) -> None:
        if config.max_error is not None:
            serving.required_threshold(config.max_error)

    return load_model(address, setting=setting, check=check)


def ask(model: StoredModel, files: Sequence[Path], *, max_error: float | None = None) -> pd.DataFrame:
    """Return the table of `bloodcell.serving.prediction.predict_images` with the files' paths before it, in ``path``.

    Parameters
    ----------
    model
        See `bloodcell.tracking.models.load_model`.
    files
        The images.
    max_error
        See `predict_images`.
    """
    parts: list[pd.DataFrame] = []
    starts = range(0, len(files), AT_ONCE)
    for start in track(starts, "predicting", total=len(starts)):
        paths = files[start : start + AT_ONCE]
        contents, reasons = _contents(paths)
        part = predict_images(model.model, model.serving, contents, max_error=max_error)
        for row, reason in reasons.items():
            part.loc[row, "why"] = reason
        part.insert(0, "path", [printable(path) for path in paths])
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def _contents(paths: Sequence[Path]) -> tuple[list[bytes], dict[int, str]]:
    """Return the files' bytes (empty for unreadable files), and the reasons why files are unreadable."""
    contents, reasons = [], {}
    for row, path in enumerate(paths):
        try:
            if path.suffix.lower() not in SUFFIXES:
                require_image(path)
            contents.append(read_file(path))
        except UnreadableImage as error:
            contents.append(b"")
            reasons[row] = str(error)
    return contents, reasons


def draw_explanations(model: StoredModel, files: Sequence[Path], table: pd.DataFrame, *, folder: Path) -> None:
    """Draw a heat map of the predicted class for each readable image.

    Parameters
    ----------
    model
        See `bloodcell.tracking.models.load_model`.
    files
        The images.
    table
        Their predictions.
    folder
        The folder of the plots ``plots/NUMBER-NAME.png``, one for each row, numbered from 1.
    """
    # With Keras and matplotlib, which a question that is refused does not need.
    from bloodcell.models.explanation import explain
    from bloodcell.plots.drawing import save_figure
    from bloodcell.plots.explanation import Explained, Heat, explanation_gallery

    rows = zip(files, table.to_dict("records"), strict=True)
    for number, (file, row) in enumerate(track(rows, "explaining", total=len(table)), start=1):
        if not row["predicted"]:
            continue
        try:
            pixels = decode_image(read_file(file), bits=model.serving.bits)
        except UnreadableImage as error:  # the file was removed meanwhile
            print_status(f"{row['path']}: not explained: {error}")
            continue
        path = Path(row["path"])
        explanation = explain(model.model, pixels)
        explained = Explained(
            pixels=pixels,
            nucleus=nucleus_in(pixels),
            heats=[Heat(name=explanation.method, heat=explanation.heat)],
            label=None,
            predicted=row["predicted"],
            probability=row["probability"],
            name=path.name,
        )
        title = row["answer"] if not row["why"] else f"{row['answer']}: {row['why']}"
        save_figure(explanation_gallery([explained], title=title), folder, f"{number}-{path.stem}")


def _show(table: pd.DataFrame) -> None:
    console = Console(highlight=False, soft_wrap=True)
    drawn = Table(title="Predictions", title_justify="left")
    for heading in ("image", "answer", "most probable", "why"):
        drawn.add_column(heading, overflow="fold")
    for row in table.head(SHOWN).to_dict("records"):
        sure = f"{row['predicted']} {row['probability']:.1%}" if row["predicted"] else ""
        drawn.add_row(*(escape(str(cell)) for cell in (row["path"], row["answer"], sure, row["why"])))
    console.print(drawn)
    if len(table) > SHOWN:
        console.print(f"and {len(table) - SHOWN} more.")
    counts = ", ".join(f"{name} {count}" for name, count in table["answer"].value_counts().items())
    console.print(f"{len(table)} files: {counts}", markup=False)
    unreadable = table.loc[table["answer"] == UNREADABLE, "path"].map(lambda path: Path(path).suffix.lower())
    if len(unreadable):
        endings = ", ".join(f"{ending or 'none'} {count}" for ending, count in unreadable.value_counts().items())
        console.print(f"Cannot be read, by ending: {endings}", markup=False)
