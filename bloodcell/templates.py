"""Rendering of templates in the package: escaped HTML, and Markdown."""

import re
from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

MARKDOWN = re.compile(r"([\\`*_\[\]<>|#~$&])")


def render(package: str, template: str, values: Mapping[str, Any]) -> str:
    """Render a template.

    Parameters
    ----------
    package
        The package with the template.
    template
        Its file: ``….html.jinja``, which escapes all values, or ``….md.jinja``, in which the filter ``plain`` does.
    values
        The values by name; a missing one is an error.
    """
    environment = Environment(
        loader=PackageLoader(package, "."),
        autoescape=template.endswith(".html.jinja"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["plain"] = escape_markdown
    return environment.get_template(template).render(**values)


def escape_markdown(value: Any) -> str:
    """Return a value as text that Markdown shows as it is, in one line."""
    return MARKDOWN.sub(r"\\\1", " ".join(str(value).split()))
