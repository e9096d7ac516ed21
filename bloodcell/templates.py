"""Pages that are made of a template beside the code: HTML that escapes what it is given, and Markdown."""

import re
from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

MARKDOWN = re.compile(r"([\\`*_\[\]<>|#])")


def render(package: str, template: str, values: Mapping[str, Any]) -> str:
    """Return a page.

    Parameters
    ----------
    package
        Where the template is.
    template
        Its file: ``….html.jinja``, in which all values are escaped, or ``….md.jinja``, in which the filter ``plain``
        does that.
    values
        What it is filled with; one that is missing is an error.
    """
    environment = Environment(
        loader=PackageLoader(package, "."),
        autoescape=template.endswith(".html.jinja"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["plain"] = lambda value: MARKDOWN.sub(r"\\\1", " ".join(str(value).split()))
    return environment.get_template(template).render(**values)
