"""Run notebooks of this folder, and save them with small outputs.

    uv run python experiments/run_notebook.py experiments/walkthrough.ipynb experiments/your_folder.ipynb

They run in an empty folder, whose path is removed from the outputs. Pictures are reduced, and progress, which is on
standard error, and colours of a terminal are left out.
"""

import base64
import io
import re
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from PIL import Image

MAX_WIDTH, N_COLOURS = 640, 48
DATA_IMAGE = re.compile(r"data:image/png;base64,([A-Za-z0-9+/=]+)")

COLOUR = re.compile(r"\x1b\[[\d;]*m")


def main() -> None:
    """Run every notebook that the command names."""
    for name in sys.argv[1:]:
        path = Path(name)
        notebook = nbformat.read(path, as_version=4)
        with tempfile.TemporaryDirectory() as folder:
            resources = {"metadata": {"path": folder}}
            NotebookClient(notebook, timeout=1800, coalesce_streams=True, resources=resources).execute()
        for cell in notebook.cells:
            cell.metadata.pop("execution", None)  # times
            if "outputs" in cell:
                cell.outputs = [reduced(each, folder) for each in cell.outputs if each.get("name") != "stderr"]
        notebook.metadata.pop("language_info", None)  # the version of Python
        nbformat.write(notebook, path)
        print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


def reduced(output: nbformat.NotebookNode, folder: str) -> nbformat.NotebookNode:
    """Return a cell's output with smaller pictures, no colours, and paths relative to a folder."""
    data = output.get("data", {})
    for texts, kind in ((output, "text"), (data, "text/plain"), (data, "text/html")):
        if kind in texts:
            texts[kind] = COLOUR.sub("", texts[kind].replace(f"{folder}/", ""))
    if "image/png" in data:
        data["image/png"] = small_png(data["image/png"])
    if "text/html" in data:
        data["text/html"] = DATA_IMAGE.sub(
            lambda found: f"data:image/png;base64,{small_png(found[1])}", data["text/html"]
        )
    return output


def small_png(encoded: str) -> str:
    """Return a picture in base64 with at most `MAX_WIDTH` pixels a row and `N_COLOURS` colours."""
    image = Image.open(io.BytesIO(base64.b64decode(encoded))).convert("RGB")
    image.thumbnail((MAX_WIDTH, 10 * MAX_WIDTH))
    content = io.BytesIO()
    image.quantize(N_COLOURS, dither=Image.Dither.NONE).save(content, "png", optimize=True)
    return base64.b64encode(content.getvalue()).decode()


if __name__ == "__main__":
    main()
