"""Every error that the toolchain raises on purpose, and the exit code it ends with.

ToolchainError
├── InputError        2   what the user gave is wrong
│   ├── RecipeError       a recipe, all its mistakes at once
│   ├── DataError         a folder, archive or split of images
│   ├── ImageError        one image
│   └── ModelError        a model, weights or artifact file
├── GateError         3   everything ran, and a promised bound does not hold
├── MachineError      4   disk, memory, a missing extra, provider or download
└── StoppedError    130   Ctrl-C while a stage of a run was at work

What the system refuses, wherever it is met, ends with 2 where a path is at fault and with 4 where
the machine is. Anything else that escapes is our own bug and ends with 1; Ctrl-C elsewhere ends
with 130 too.
"""

from __future__ import annotations

import re
import unicodedata
from enum import IntEnum
from typing import Final

# Ordinary blanks and line breaks; a space of another kind may be part of a name.
_BLANKS: Final = re.compile(r"[ \t\n\v\f\r]+")


class ExitCode(IntEnum):
    """Exit codes of the `toolchain` command."""

    DONE = 0
    BUG = 1
    INPUT = 2
    GATE = 3
    MACHINE = 4
    INTERRUPTED = 130


class ToolchainError(Exception):
    """Something the user can act on, told in at most three lines.

    Attributes:
      what: what was expected and what was received, one sentence.
      where: the file, key or tensor it was met at; empty when there is none.
      remedy: what to do about it; empty when `what` says it already.
    """

    exit_code = ExitCode.BUG
    opening = "error"

    def __init__(self, what: str, where: str = "", remedy: str = "") -> None:
        self.what = what
        self.where = where
        self.remedy = remedy
        super().__init__(what)

    def lines(self) -> list[str]:
        """The message as it is printed: what, where, what to do."""
        head, *rest = _one_line(self.what), _one_line(self.where), _one_line(self.remedy)
        return [f"{self.opening}: {head}", *(f"  {line}" for line in rest if line)]

    def __str__(self) -> str:
        return "\n".join(self.lines())


def is_printable(text: str) -> bool:
    """Whether a text is shown as it is: `str.isprintable`, and spaces of every kind.

    Names of files hold such spaces: macOS writes one that does not break, Japanese has a wide one.
    """
    return text.isprintable() or all(map(_is_shown, text))


def printable(text: str) -> str:
    """Text whose control characters, which would drive the terminal, are replaced."""
    if text.isprintable():
        return text
    return "".join(c if _is_shown(c) else "\N{REPLACEMENT CHARACTER}" for c in text)


def _is_shown(character: str) -> bool:
    return character.isprintable() or unicodedata.category(character) == "Zs"


def reason(error: Exception) -> str:
    """What is wrong, without the path, which the system's own text has in it, told beside it."""
    return (error.strerror if isinstance(error, OSError) else "") or str(error)


def _one_line(text: str) -> str:
    # A file's name or a tensor's can hold escape sequences; printed, they would drive the terminal.
    return printable(_BLANKS.sub(" ", text).strip(" "))


class InputError(ToolchainError):
    """What the user gave cannot be used."""

    exit_code = ExitCode.INPUT


class RecipeError(InputError):
    """The recipe has mistakes; all of them are listed, one a line."""

    def __init__(self, mistakes: list[str], where: str) -> None:
        self.mistakes = mistakes
        super().__init__("; ".join(mistakes), where)

    def lines(self) -> list[str]:
        """One line a mistake, each naming the recipe."""
        return [f"error: {_one_line(f'{self.where}: {mistake}')}" for mistake in self.mistakes]


class DataError(InputError):
    """The images cannot become a dataset."""


class ImageError(InputError):
    """One image cannot be decoded within the limits."""


class ModelError(InputError):
    """A model, weights or artifact file cannot be used."""


class GateError(ToolchainError):
    """A bound that the recipe promises does not hold."""

    exit_code = ExitCode.GATE


class MachineError(ToolchainError):
    """This machine lacks something: disk, memory, an extra, a provider, a download."""

    exit_code = ExitCode.MACHINE


class StoppedError(ToolchainError):
    """The user stopped a stage; what it has finished so far is kept."""

    exit_code = ExitCode.INTERRUPTED
    opening = "interrupted"
