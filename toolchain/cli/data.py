"""`toolchain data`: build the dataset of a recipe, check photos, preview what training will see."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from toolchain.cli.answer import print_json
from toolchain.cli.options import (
    DataOption,
    JsonOption,
    RecipeOption,
    RunsOption,
    SetOption,
    find_recipe,
    open_run,
)
from toolchain.cli.stage_commands import stage_command
from toolchain.errors import ExitCode, InputError

if TYPE_CHECKING:
    from toolchain.data.audit import Audit
    from toolchain.recipe import Recipe

_FIRST_NAMES = 3
_FIRST_CLASSES = 12

app = typer.Typer(
    name="data",
    help="Build a dataset, check photos, preview what training will see.\n\n"
    "Example: toolchain data check ~/photos",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.command(
    "build",
    help="Find, decode and split the photos.\n\nExample: toolchain data build --data ~/photos",
)(stage_command("data"))


@app.command()
def check(
    photos: Annotated[
        Path | None, typer.Argument(help="A folder, archive, table or .npz of labelled photos.")
    ] = None,
    recipe: Annotated[
        str, typer.Option("--recipe", "-r", help="A recipe whose photos to check instead.")
    ] = "",
    overrides: SetOption = None,
    near: Annotated[
        bool, typer.Option("--near/--no-near", help="Look for near-duplicates too.")
    ] = True,
    as_json: JsonOption = False,
    html: Annotated[
        Path | None, typer.Option("--html", help="Write one page with thumbnails here.")
    ] = None,
    exclude: Annotated[
        Path | None,
        typer.Option("--write-exclude", help="Write a list here that [data] exclude accepts."),
    ] = None,
) -> None:
    """Read every photo and name what is wrong; exits with 2 when something is an error.

    Example: toolchain data check ~/photos --html check.html --write-exclude exclude.txt
    """
    chosen = _chosen(photos, recipe, overrides)
    for path in filter(None, (html, exclude)):
        _try_output(path)
    from toolchain.data.audit import audit

    result = audit(chosen, near=near)
    # First of all: what was found is not lost where a file cannot be written after all.
    if as_json:
        print_json(result.to_json(), indent=1)
    else:
        _show(result)
    if html is not None:
        _write_page(result, chosen, html)
    if exclude is not None:
        _write_exclude(result, exclude)
    if not result.passed:
        raise typer.Exit(int(ExitCode.INPUT))


def _chosen(photos: Path | None, recipe: str, overrides: list[str] | None) -> Recipe:
    if (photos is None) == (not recipe):
        raise InputError(
            "expected photos or a recipe, received both or neither",
            remedy="for example: toolchain data check ~/photos",
        )
    if photos is None:
        return find_recipe(recipe, "", overrides)
    from toolchain.cli.draft import probe_recipe

    return probe_recipe(photos, overrides)


def _try_output(path: Path) -> None:
    """Before the work, which can take an hour, see to it that what comes of it can be written."""
    from toolchain.files import try_writing, writing

    with writing(path):
        if not path.absolute().parent.is_dir() or path.is_dir():
            raise InputError("expected a file in a folder that is there", str(path))
    try_writing(path)


def _write_page(result: Audit, recipe: Recipe, path: Path) -> None:
    from toolchain.data.audit.audit import audited_source
    from toolchain.data.audit.page import render_page
    from toolchain.files import write_text
    from toolchain.terminal import say

    write_text(path, render_page(result, audited_source(recipe)))
    say(f"page: {path}")


def _write_exclude(result: Audit, path: Path) -> None:
    from toolchain.data.exclude import fits_a_line, names_text
    from toolchain.files import write_bytes
    from toolchain.recipe.write import toml_value
    from toolchain.terminal import say

    reasons = {
        name: finding.kind.slug for finding in result.findings for name in finding.exclude[::-1]
    }
    excluded = result.exclude()
    broken = [name for name in excluded if not fits_a_line(name)]
    write_bytes(path, names_text((name, reasons[name]) for name in excluded))
    count = len(excluded) - len(broken)
    say(f"{count:,} names in {path}; in the recipe: [data] exclude = {toml_value(str(path))}")
    if broken:
        say(
            f"  {len(broken):,} more cannot be listed, as a line ends within the name; rename "
            f"them, such as {broken[0]!r}"
        )


def _show(result: Audit) -> None:
    from toolchain.terminal import say, table

    say(
        f"{result.images:,} images of layout {result.layout}, {result.bytes / 1e6:,.1f} MB, "
        f"in {result.seconds:.1f} s; {result.decoded:,} are good"
    )
    say(f"  {_classes(result)}")
    for note in result.notes:
        say(f"  {note}")
    counts = result.counts()
    if not counts:
        say("nothing found")
        return
    rows = [
        (kind.slug, str(kind.severity), kind.meaning, f"{count:,}")
        for kind, count in counts.items()
    ]
    table("found", ("kind", "severity", "meaning", "count"), rows, texts=3)
    for kind, count in counts.items():
        say(f"{kind.slug}:")
        for finding in result.of(kind)[:_FIRST_NAMES]:
            names = ", ".join(finding.names[:_FIRST_NAMES])
            more = len(finding.names) - _FIRST_NAMES
            rest = f" and {more:,} more" if more > 0 else ""
            detail = f" ({finding.detail})" if finding.detail else ""
            say(f"  {names}{rest}{detail}")
        if count > _FIRST_NAMES:
            say(f"  and {count - _FIRST_NAMES:,} more; --json lists all, --html shows them")


def _classes(result: Audit) -> str:
    """The first classes and how many images training gets: a wrong layout shows there first."""
    counts: Counter[str] = Counter()
    for split in result.splits.values():
        counts.update(split)
    shown = ", ".join(f"{name} {count:,}" for name, count in list(counts.items())[:_FIRST_CLASSES])
    more = f" and {len(counts) - _FIRST_CLASSES:,} more" * (len(counts) > _FIRST_CLASSES)
    return f"{len(counts):,} classes: {shown}{more}"


@app.command()
def preview(
    recipe: RecipeOption = "",
    data: DataOption = "",
    runs: RunsOption = Path("runs"),
    overrides: SetOption = None,
    out: Annotated[Path, typer.Option("--out", help="The PNG to write.")] = Path("preview.png"),
    count: Annotated[int, typer.Option("--count", min=1, max=64, help="Photos to show.")] = 8,
) -> None:
    """Draw photos beside the augmented versions that training will see.

    Example: toolchain data preview --recipe digits --set augment.rotation=10 --out preview.png
    """
    from toolchain.cli import stages
    from toolchain.cli.chain import run_chain
    from toolchain.terminal import say

    chosen = find_recipe(recipe, data, overrides)
    _try_output(out)
    run = open_run(chosen, runs)
    run_chain(chosen, run, "data")
    stages.preview(chosen, run, out, count)
    say(f"preview: {out}")
