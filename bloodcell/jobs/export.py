"""Write a model for another program: ONNX, OpenVINO, TensorFlow Lite (LiteRT) or Keras.

  bloodcell export run=ID format=onnx
  bloodcell export model=models:/bloodcell@best format=tflite images=~/cells output=for-the-phone

Resizing, scaling and calibration are inside: raw RGB of any size in, calibrated probabilities out. It is written only
if it answers as the original on real images. Beside it are export.json, with size and speed of both, and a short
program that uses it.
"""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from bloodcell.config.schemas import ExportConfig
from bloodcell.console.json_output import set_json_result
from bloodcell.console.progress import print_status
from bloodcell.errors import UserError
from bloodcell.evaluation.evidence import LIMITS
from bloodcell.evaluation.temperature import with_temperature
from bloodcell.files import require_output_folder
from bloodcell.images.reading import UnreadableImage, decode_image, read_file
from bloodcell.jobs.predict import image_files
from bloodcell.serving.export import (
    FILES,
    calibrated_model,
    calls_python,
    export_model,
    runner,
    uses_own_layers,
)
from bloodcell.serving.parity import Parity, compare_models
from bloodcell.serving.prediction import raw_probabilities
from bloodcell.templates import render
from bloodcell.tracking.comparison_facts import folders_of
from bloodcell.tracking.models import StoredModel
from bloodcell.tracking.runs import StoredRun
from bloodcell.tracking.served import choose_model
from bloodcell.tracking.store import existing_store

NOTES = (
    "Research only, not for diagnosis.",
    "“Unlike the training images” is not inside: every image gets a class. bloodcell predict refuses such images.",
)


def run(config: ExportConfig, *, output_dir: Path) -> None:
    """Export a model, compare it with the original, and write its program.

    Raises
    ------
    UserError
        If the model cannot be used or exported, an image cannot be read, or it answers otherwise than the original.
    """
    output = Path(config.output).expanduser() if config.output else output_dir / "export"
    if output.exists():
        raise UserError(f"output={output}: exists; give another folder")
    require_output_folder(output)
    setting = f"run={config.run}" if config.run else f"model={config.model}"
    chosen = choose_model(existing_store(config.tracking), run=config.run, model=config.model)
    images = _images(config, chosen.run, bits=chosen.stored.serving.bits)
    model = calibrated_model(chosen.stored.model, chosen.stored.serving.temperature)
    if config.format != "keras" and calls_python(model):
        raise UserError(
            f"{setting}: crops or measures images with OpenCV, which format={config.format} cannot hold; give "
            "format=keras, or train a network with crop=none and without head.extra_features"
        )
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=".") as scratch:
        folder = Path(scratch) / "export"
        folder.mkdir()
        print_status(f"writing format={config.format}")
        export_model(model, folder, to=config.format)
        parity = compare_models(_original(chosen.stored), runner(folder, of=config.format), images)
        if not parity.holds(config.tolerance):
            raise UserError(
                f"format={config.format}: answers otherwise than the original (probabilities differ by up to "
                f"{parity.largest_difference:.2g}, {parity.same_class} of {parity.images} classes are the same); give "
                "another format, or a larger tolerance"
            )
        facts = _facts(config, chosen.name, chosen.run, chosen.stored, parity, folder)
        (folder / "export.json").write_text(json.dumps(facts, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        # As Python writes it: a class may have any name.
        classes = ascii(list(chosen.stored.serving.classes))
        values = {"format": config.format, "classes": classes, "own_layers": uses_own_layers(model)}
        program = render("bloodcell.serving", "use.py.jinja", values)
        (folder / f"use_{config.format}.py").write_text(f"{program}\n", encoding="utf-8")
        shutil.move(folder, output)
    _show(config, parity, facts, output)
    set_json_result(**facts, output=output.absolute())


def _images(config: ExportConfig, run: StoredRun | None, *, bits: int | None) -> list[NDArray[np.uint8]]:
    """Return the images on which the models are compared: the given ones, or held-out ones of the run."""
    if config.images is not None:
        files = image_files([config.images] if isinstance(config.images, str) else config.images)
    else:
        files = _held_out(run)
        if not files:
            raise UserError("images: the images of the model's run are not on this machine; give images=FOLDER")
    chosen = [files[index] for index in np.unique(np.linspace(0, len(files) - 1, config.n_images).round().astype(int))]
    images = []
    for file in chosen:
        try:
            images.append(decode_image(read_file(file), bits=bits))
        except UnreadableImage as error:
            raise UserError(f"images: {file} cannot be read ({error}); give another folder") from error
    return images


def _held_out(run: StoredRun | None) -> list[Path]:
    """Return the files of images that a run was not trained on, as far as they are here and unchanged."""
    if run is None or run.config is None:
        return []
    manifest = run.manifest
    held_out = manifest[manifest["split"] != "train"]
    rows = held_out if len(held_out) else manifest
    recorded = dict(zip(rows["path"], rows["sha256"], strict=True))
    found = [
        file
        for folder in folders_of([run])
        for path, sha256 in recorded.items()
        # A store may name any file of this machine: only those with the recorded content are used.
        if (file := folder / path).is_file() and hashlib.sha256(file.read_bytes()).hexdigest() == sha256
    ]
    return list(dict.fromkeys(found))


def _original(stored: StoredModel) -> Any:
    """Return the model as ``bloodcell predict`` runs it."""

    def ask(images: NDArray[np.uint8]) -> NDArray[np.float64]:
        raw = raw_probabilities(stored.model, list(images), len(stored.serving.classes))
        return with_temperature(raw, stored.serving.temperature)

    return ask


def _facts(
    config: ExportConfig, name: str, run: StoredRun | None, stored: StoredModel, parity: Parity, folder: Path
) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as scratch:
        stored.model.save(Path(scratch) / "model.keras")
        original_bytes = (Path(scratch) / "model.keras").stat().st_size
    return {
        "model": name,
        "run_id": run.id if run else None,
        "format": config.format,
        "file": FILES[config.format],
        "classes": list(stored.serving.classes),
        "takes": "image: RGB of any size (batch, height, width, 3), uint8",
        "gives": "probabilities (batch, classes), float32, calibrated",
        "temperature": stored.serving.temperature,
        "evidence": {name: f"the model's run {LIMITS[name].why}" for name in stored.serving.evidence},
        "notes": list(NOTES),
        "tolerance": config.tolerance,
        "parity": asdict(parity),
        "original_bytes": original_bytes,
        "exported_bytes": sum(path.stat().st_size for path in folder.iterdir()),
    }


def _show(config: ExportConfig, parity: Parity, facts: dict[str, Any], output: Path) -> None:
    console = Console(highlight=False, soft_wrap=True)
    table = Table(title=f"{parity.images} images, one at a time", title_justify="left")
    for heading in ("", "bloodcell", config.format):
        table.add_column(heading, justify="right" if heading else "left")
    sizes: Sequence[int] = (facts["original_bytes"], facts["exported_bytes"])
    table.add_row("size, MB", *(f"{size / 1e6:.1f}" for size in sizes))
    table.add_row("median time, ms", f"{parity.original_ms:.1f}", f"{parity.exported_ms:.1f}")
    table.add_row("same class", "", f"{parity.same_class} of {parity.images}")
    table.add_row("largest difference of a probability", "", f"{parity.largest_difference:.1g}")
    console.print(table)
    for line in (
        *facts["notes"],
        *(f"Warning, {name}: {why}." for name, why in facts["evidence"].items()),
        f"Written to  {output}",
        f"Use it      python {output / f'use_{config.format}.py'} IMAGE",
    ):
        console.print(line, markup=False)
