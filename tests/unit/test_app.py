"""How the command line ends: what the system refuses, Ctrl-C, and what is a mistake of ours."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import NoReturn

import pytest
import typer
from command_line import in_process

from toolchain.cli import app
from toolchain.errors import ExitCode

LONG = "a" * 300


def fail_with(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    def echo(*_: object, **__: object) -> NoReturn:
        raise error

    monkeypatch.setattr(typer, "echo", echo)


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", LONG),
        ("train", "--recipe", LONG),
        ("compare", LONG, "b"),
        ("benchmark", f"{LONG}.onnx"),
        ("predict", f"{LONG}.onnx", LONG),
    ],
)
def test_a_path_that_no_system_takes_is_wrong_input(
    arguments: tuple[str, ...], tmp_path: Path
) -> None:
    done = in_process(*arguments, cwd=tmp_path)
    assert done.returncode == ExitCode.INPUT
    first, where, remedy = done.stderr.splitlines()
    assert first == "error: the path cannot be used: File name too long"
    assert LONG in where
    assert "check the path" in remedy


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (errno.EACCES, ExitCode.INPUT),
        (errno.ENOSPC, ExitCode.MACHINE),
        (errno.EMFILE, ExitCode.MACHINE),
        (errno.EBADF, ExitCode.BUG),
    ],
)
def test_what_the_system_refuses_has_its_code(
    number: int, code: ExitCode, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_with(OSError(number, os.strerror(number), "place"), monkeypatch)
    done = in_process("keys")
    assert done.returncode == code
    assert os.strerror(number) in done.stderr
    assert "place" in done.stderr
    assert ("mistake in the toolchain" in done.stderr) == (code == ExitCode.BUG)


def test_ctrl_c_is_told_and_ends_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    fail_with(KeyboardInterrupt(), monkeypatch)
    monkeypatch.setattr(app.os, "_exit", sys.exit)
    done = in_process("keys")
    assert (done.returncode, done.stderr) == (ExitCode.INTERRUPTED, "interrupted\n")


def test_a_mistake_of_ours_cannot_drive_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    fail_with(ValueError("a \x1b[31mname"), monkeypatch)
    done = in_process("keys")
    assert done.returncode == ExitCode.BUG
    assert "\x1b" not in done.stderr
