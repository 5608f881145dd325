"""The `toolchain` command: registers every subcommand and turns errors into exit codes."""

from __future__ import annotations

import errno
import os
import sys
import traceback
from pathlib import Path
from typing import Annotated, Final

import typer

from toolchain.cli import data, stage_commands
from toolchain.cli.benchmark import benchmark
from toolchain.cli.bundle import bundle
from toolchain.cli.compare import compare
from toolchain.cli.doctor import doctor
from toolchain.cli.init import init
from toolchain.cli.inspect import inspect_model
from toolchain.cli.keys import keys
from toolchain.cli.predict import predict
from toolchain.cli.tune import tune
from toolchain.cli.verify import verify
from toolchain.errors import ExitCode, InputError, MachineError, ToolchainError, printable

app = typer.Typer(
    name="toolchain",
    help="From a folder of photos to a classifier on a phone and on a server.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    # Drawing help with rich costs 0.2 s of imports; plain text reads as well.
    rich_markup_mode=None,
    epilog="A first run that needs no photos: toolchain run",
)

# What the system says of a path that was given, wherever it is first looked at, and of itself.
_OF_A_PATH: Final = (errno.ENAMETOOLONG, errno.EACCES, errno.EPERM, errno.ELOOP)
_OF_THE_MACHINE: Final = (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EROFS,
    errno.EIO,
    errno.EMFILE,
    errno.ENFILE,
    errno.ENOMEM,
)


@app.callback()
def _globals(
    debug: Annotated[bool, typer.Option("--debug", help="Show a traceback on errors.")] = False,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    # Typer needs the parameters declared to accept them; `main` reads --debug from argv, because
    # an error is reported after the context is gone.
    if version:
        from toolchain import __version__

        typer.echo(__version__)
        raise typer.Exit


stage_commands.register(app)
app.add_typer(data.app)
app.command("init")(init)
app.command("keys")(keys)
app.command("benchmark")(benchmark)
app.command("bundle")(bundle)
app.command("verify")(verify)
app.command("predict")(predict)
app.command("inspect")(inspect_model)
app.command("compare")(compare)
app.command("tune")(tune)
app.command("doctor")(doctor)


def main() -> None:
    """Run the command line; exits with an `ExitCode`."""
    debug = "--debug" in sys.argv
    try:
        app(standalone_mode=True)
    except ToolchainError as error:
        _fail(error, list(error.lines()), error.exit_code, debug)
    except SystemExit as ended:
        # All that Typer leaves of Ctrl-C.
        if ended.code != ExitCode.INTERRUPTED:
            raise
        _fail(ended, ["interrupted"], ExitCode.INTERRUPTED, debug)
    except MemoryError as error:
        lines = ["error: out of memory", "  give smaller batches: --set train.batch_size=8"]
        _fail(error, lines, ExitCode.MACHINE, debug)
    except OSError as error:
        told = _of_the_system(error)
        if told is None:
            _fail(error, _bug(error), ExitCode.BUG, debug)
        else:
            _fail(error, told.lines(), told.exit_code, debug)
    except Exception as error:
        _fail(error, _bug(error), ExitCode.BUG, debug)


def _fail(error: BaseException, lines: list[str], code: int, debug: bool) -> None:
    if debug:
        traceback.print_exception(error)
    sys.stderr.write("\n".join(lines) + "\n")
    if code == ExitCode.INTERRUPTED:
        # Taking TensorFlow apart takes two seconds, and nothing is left to be done.
        sys.stderr.flush()
        os._exit(int(code))
    sys.exit(int(code))


def _of_the_system(error: OSError) -> ToolchainError | None:
    """What is no mistake of ours: a path that cannot be opened, a disk that is full."""
    where = "" if error.filename is None else str(error.filename)
    if error.errno in _OF_A_PATH:
        remedy = "check the path, and that the folders above it may be entered"
        return InputError(f"the path cannot be used: {error.strerror}", where, remedy)
    if error.errno in _OF_THE_MACHINE:
        return MachineError(f"this machine cannot go on: {error.strerror}", where)
    return None


def _bug(error: Exception) -> list[str]:
    frame = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{Path(frame.filename).name}:{frame.lineno}"
    text = printable(" ".join(str(error).split()))[:200]
    return [
        f"error: this is a mistake in the toolchain: {type(error).__name__}: {text}",
        f"  at {place}",
        "  please report it with the output of the same command with --debug in front",
    ]
