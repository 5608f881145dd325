"""`toolchain doctor`: is everything here that a run needs, and what to do about what is not."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from toolchain.cli.answer import print_json
from toolchain.errors import MachineError

if TYPE_CHECKING:
    from toolchain.cli.checks import Check


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print the checks as JSON.")] = False,
) -> None:
    """Check this machine: packages, runtimes, GPU, disk, data, weights.

    Ends with 0 when everything that is required works, with 4 when something is broken.

    Example: toolchain doctor --json
    """
    from toolchain.cli.checks import all_checks

    checks = all_checks()
    if as_json:
        rows = [dataclasses.asdict(check) for check in checks]
        print_json({"ok": not _broken(checks), "checks": rows}, indent=1)
    else:
        _print(checks)
    if broken := _broken(checks):
        raise MachineError(
            f"broken: {', '.join(check.name for check in broken)}",
            "; ".join(check.found for check in broken),
            "; ".join(dict.fromkeys(check.remedy for check in broken if check.remedy)),
        )


def _broken(checks: Sequence[Check]) -> list[Check]:
    return [check for check in checks if check.state == "broken"]


def _print(checks: Sequence[Check]) -> None:
    from toolchain import terminal

    width = max(len(check.name) for check in checks)
    for check in checks:
        terminal.say(f"{check.state:<7} {check.name:<{width}}  {check.found}")
        if check.remedy:
            terminal.say(f"{'':<7} {'':<{width}}  -> {check.remedy}")
    if not _broken(checks):
        terminal.say("Everything that is required works.")
