"""Add files from outside docs/ to the site: the pictures of the experiments, and pages of the checkout's root."""

from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
PICTURES = "experiments/pictures"


def on_files(files: Files, config: MkDocsConfig) -> None:
    """Add the pictures, and CONTRIBUTING.md, CHANGELOG.md and SECURITY.md as pages."""
    for picture in sorted((ROOT / PICTURES).iterdir()):
        files.append(File.generated(config, f"pictures/{picture.name}", abs_src_path=str(picture)))
    for name in ("CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"):
        files.append(File.generated(config, name.lower(), abs_src_path=str(ROOT / name)))


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replace the pictures' paths in the checkout by their paths in the site."""
    return markdown.replace(f"../{PICTURES}/", "pictures/")
