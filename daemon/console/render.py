"""Pages out of templates; whatever stands in them is escaped."""

from typing import Any

from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined

from daemon import __version__
from daemon.console import words
from daemon.console.desk import Desk
from daemon.console.gate import FORM_TOKEN, Visitor

_pages = Environment(
    loader=PackageLoader("daemon.console"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_pages.filters |= {
    "local": words.local,
    "iso": words.iso,
    "size": words.size,
    "duration": words.duration,
}
_pages.globals |= {
    "STATES": words.STATES,
    "ROLES": words.ROLES,
    "DELIVERIES": words.DELIVERIES,
    "SIDES": words.SIDES,
    "FORM_TOKEN": FORM_TOKEN,
    "version": __version__,
}


def page(name: str, desk: Desk, visitor: Visitor | None, **values: Any) -> HTMLResponse:
    """Return a page of the template `name`."""
    status = values.pop("status", 200)
    text = _pages.get_template(name).render(
        ae_title=desk.config.node.ae_title,
        demonstration=any(each.demonstration for each in desk.bundles.every),
        visitor=visitor,
        person=visitor.asker.person if visitor else None,
        **values,
    )
    return HTMLResponse(text, status)
