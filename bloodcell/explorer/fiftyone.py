"""Images and predictions as a folder that FiftyOne imports: ``Dataset.from_dir`` with ``fo.types.FiftyOneDataset``.

Written without its package. ``metadata.json`` has no version, so FiftyOne reads ``samples.json`` by the names of its
classes (its importer of the documented format), not as documents of its database.
"""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from bloodcell.console.progress import track
from bloodcell.errors import UserError
from bloodcell.explorer.items import EVIDENCE, SPLITS, Items, RunColumns
from bloodcell.files import atomic_write
from bloodcell.images.address import address_of
from bloodcell.images.reading import SUFFIXES

MEDIA, SAMPLES, METADATA = "data", "samples.json", "metadata.json"


def write_fiftyone(items: Items, files: Sequence[Path | None], folder: Path) -> int:
    """Write ``samples.json``, ``metadata.json`` and the images in ``data/``; return the number of images.

    Parameters
    ----------
    items
        The images; those without a file are left out.
    files
        The file of each image; None: it is not there.
    folder
        Is created; it must not have another dataset.

    Raises
    ------
    UserError
        If the folder has files, or no image is there.
    """
    if folder.exists() and any(folder.iterdir()):
        raise UserError(f"output={folder.parent}: {folder.name}/ has files; give another folder, or remove it")
    rows = [row for row, file in enumerate(files) if file is not None]
    if not rows:
        raise UserError("export=fiftyone: none of the images is on this machine; give images=FOLDER")
    names = [run.name for run in items.runs]
    fields = ["predictions"] if len(names) == 1 else [f"predictions_{n}" for n in range(1, len(names) + 1)]
    samples = []
    for row in track(rows, "copying images", total=len(rows)):
        path = f"{MEDIA}/{row:06d}{_suffix(str(items.table['path'].iloc[row]))}"
        (folder / MEDIA).mkdir(parents=True, exist_ok=True)
        shutil.copyfile(str(files[row]), folder / path)
        samples.append(_sample(items, row, path=path, fields=fields))
    metadata = {
        "media_type": "image",
        "info": {"classes": list(items.classes), "runs": dict(zip(fields, names, strict=True))},
    }
    for name, document in ((METADATA, metadata), (SAMPLES, {"samples": samples})):
        with atomic_write(folder / name) as partial:
            partial.write_text(json.dumps(document, indent=1, ensure_ascii=False), encoding="utf-8")
    return len(samples)


def _sample(items: Items, row: int, *, path: str, fields: Sequence[str]) -> dict[str, Any]:
    table = items.table.iloc[row]
    splits = [SPLITS[run.split[row]] for run in items.runs]
    sample: dict[str, Any] = {
        "filepath": path,
        "original_path": str(table["path"]),
        "tags": [splits[0]],
        "metadata": None,
        "ground_truth": {"_cls": "Classification", "tags": [], "label": str(table["label"])},
        "photograph": str(table["source"]),
        "group": str(table["group"]),
    }
    for name, run in zip(fields, items.runs, strict=True):
        sample[name] = _prediction(items, run, row)
        sample[f"{name}_evidence"] = EVIDENCE[run.evidence[row]]
    return sample


def _prediction(items: Items, run: RunColumns, row: int) -> dict[str, Any] | None:
    predicted = int(run.predicted[row])
    if predicted < 0:
        return None
    return {
        "_cls": "Classification",
        "tags": [],
        "label": items.classes[predicted],
        "confidence": round(float(run.confidence[row]), 6),
    }


def _suffix(path: str) -> str:
    """Return the suffix of an image's file; the names of files are those of rows, as paths may be any text."""
    suffix = PurePosixPath(address_of(path).file).suffix.lower()
    return suffix if suffix in SUFFIXES else ".jpeg"
