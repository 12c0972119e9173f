"""The environments in which templates of pages and of cards are rendered.

Whatever comes from documents, models or people is escaped in a page; in a card, by its filters.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import jinja2

from pipelines.text import clean_text, language_of


@functools.cache
def page_template(package: str, name: str, **filters: Callable[..., object]) -> jinja2.Template:
    """Return a template of `package`, with filters of its own; it may include what all pages share."""
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader([jinja2.PackageLoader(package), jinja2.PackageLoader("pipelines.pages")]),
        autoescape=True,  # by name it would be off: the files end in .j2
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "clean": clean_text,
        "cut": cut,
        "day": lambda moment: moment.replace("T", " ").replace("+00:00", " UTC"),
        "language": language_of,
        "number": lambda value: f"{value:,}",
        "percent": lambda share: f"{share:.1%}" if 0 < share < 0.1 else f"{share:.0%}",
        "size": lambda share: f"{100 * share:.2f}%",
        "spaced": spaced,
        "value": lambda value: f"{value:.3g}" if value < 1000 else f"{value:,.0f}",
        **filters,
    }
    return environment.get_template(name)


@functools.cache
def card_template(package: str, name: str, **filters: Callable[..., object]) -> jinja2.Template:
    """Return a template of `package` for Markdown; its filters have to clean what is not ours."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(package),
        autoescape=False,  # the result is not HTML
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= filters
    return environment.get_template(name)


def cut(text: str, most: int) -> str:
    """Return at most `most` characters of a text, and say so where there are more."""
    return text if len(text) <= most else f"{text[:most].rstrip()}…"


def spaced(name: str) -> str:
    """Return a name as words."""
    return name.replace("_", " ")
