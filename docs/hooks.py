"""What the pages show that lies elsewhere in the checkout: pictures of the experiments, and two files at its top."""

from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
PICTURES = "experiments/pictures"


def on_files(files: Files, config: MkDocsConfig) -> None:
    """Add the pictures, and CONTRIBUTING.md and CHANGELOG.md as pages."""
    for picture in sorted((ROOT / PICTURES).iterdir()):
        files.append(File.generated(config, f"pictures/{picture.name}", abs_src_path=str(picture)))
    for name in ("CONTRIBUTING.md", "CHANGELOG.md"):
        files.append(File.generated(config, name.lower(), abs_src_path=str(ROOT / name)))


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Lead to the pictures where the site has them; in the checkout the same address leads to the files."""
    return markdown.replace(f"../{PICTURES}/", "pictures/")
