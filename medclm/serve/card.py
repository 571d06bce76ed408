"""The model card page: what is served, from what it was made, and what it is not for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from medclm.serve import schema


def card_html(models: dict[str, dict[str, Any]], limits: dict[str, Any]) -> str:
    """A page of its own, without scripts. Values are escaped.

    Args:
        models: ``medclm.json`` of each model, by its name in the API.
        limits: bounds of a request, by name.
    """
    import jinja2

    source = (Path(__file__).parent / "card.html.jinja").read_text()
    template = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(source)
    return template.render(models=models, limits=limits, disclaimer=schema.DISCLAIMER)
