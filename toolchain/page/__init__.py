"""Page: what every HTML page of ours shares: one base template, one style, everything escaped.

A page is one file: nothing is fetched and no script runs; it follows the reader's light or dark.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import jinja2


def environment(room: str) -> jinja2.Environment:
    """Templates of a room's package, such as "toolchain.report"; they extend base.html.j2."""
    import jinja2

    return jinja2.Environment(
        loader=jinja2.ChoiceLoader(
            [jinja2.PackageLoader(room, "."), jinja2.PackageLoader("toolchain.page", ".")]
        ),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
