"""Download the Kaggle "Blood Cell Images", or check a copy that you have.

Download them (needs `pip install 'bloodcell[kaggle]'`, but no account), or check a folder:

  bloodcell data fetch
  bloodcell data fetch root=path/to/blood-cells

The size of the download is shown first. The same command resumes an interrupted download.
"""

import shutil
from pathlib import Path

from rich.console import Console

from bloodcell.config.quoting import for_shell, override
from bloodcell.config.schemas import DataFetchConfig
from bloodcell.console.json_output import set_json_result
from bloodcell.data.kaggle import (
    CONTENTS,
    HANDLE,
    IMAGES_BYTES,
    ask_size,
    cache_folder,
    download,
    find_downloaded,
    verify,
)
from bloodcell.errors import UserError
from bloodcell.files import require_writable


def run(config: DataFetchConfig, *, output_dir: Path) -> None:  # noqa: ARG001 - all that is written is kagglehub's
    """Find or download the set, check every image, and print how to use it.

    Raises
    ------
    UserError
        If the set is unavailable, or is not complete.
    """
    console = Console(highlight=False, soft_wrap=True)
    folder = verify(config.root) if config.root is not None else _fetched(config, console)
    for side in ("TRAIN", "TEST"):
        counts = {name.partition("/")[2]: content.n_images for name, content in CONTENTS.items() if side in name}
        every = ", ".join(f"{label} {number:,}" for label, number in counts.items())
        console.print(f"{side:5}  {sum(counts.values()):,} images: {every}", markup=False)
    set_json_result(root=folder, images={name: content.n_images for name, content in CONTENTS.items()})
    console.print("Complete, and identical to the images that bloodcell's results were measured on.", markup=False)
    console.print(f"Use it      bloodcell train data=bccd {for_shell([override('data.root', folder)])}", markup=False)


def _fetched(config: DataFetchConfig, console: Console) -> Path:
    cache = cache_folder(config.dir)
    if not config.force and (folder := find_downloaded(cache)) is not None:
        console.print(f"Already there: {folder}", markup=False)
        return folder
    size = ask_size()
    try:
        require_writable(cache)
    except OSError as error:
        raise UserError(f"dir={cache}: cannot be written ({error.strerror}); give another folder") from error
    size_text = "an archive of unknown size" if size is None else _megabytes(size)
    free = shutil.disk_usage(next(path for path in (cache, *cache.parents) if path.exists())).free
    console.print(
        f"Download    {size_text}, {HANDLE} from Kaggle; what an earlier download left is used\n"
        f"On disk     {_megabytes(IMAGES_BYTES)} of images, and until they are unpacked the archive as well\n"
        f"Kept in     {cache} ({_megabytes(free)} free)",
        markup=False,
    )
    return verify(download(cache, again=config.force))


def _megabytes(n_bytes: int) -> str:
    return f"{n_bytes / 1e6:,.0f} MB"
