"""How the command line ends: what the system refuses, Ctrl-C, and what is a mistake of ours."""

from __future__ import annotations

import errno
import os
import shlex
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest
import typer
from command_line import in_process

from toolchain.cli import app, data
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


@pytest.mark.parametrize(
    "arguments", [("verify", "--contract", "nosuch"), ("benchmark", "--against", "nosuch")]
)
def test_a_file_that_is_missing_is_named_once(arguments: tuple[str, ...], tmp_path: Path) -> None:
    done = in_process(*arguments, cwd=tmp_path)
    assert done.returncode == ExitCode.INPUT
    assert done.stderr.count("nosuch") == 1


def test_links_that_lead_in_a_circle_are_no_place_for_results(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "one.toml").write_text('[data]\npath = "photos"\n')
    done = in_process("train", "--recipe", "one.toml", "--runs", "loop", cwd=tmp_path)
    assert done.returncode == ExitCode.MACHINE
    assert "cannot write" in done.stderr


def test_a_log_is_kept_in_one_run(tmp_path: Path) -> None:
    done = in_process("benchmark", "--import", "log.txt", "one", "two", cwd=tmp_path)
    assert done.returncode == ExitCode.INPUT
    assert "one RUN" in done.stderr


def test_a_bundle_of_a_run_and_a_recipe_is_refused(tmp_path: Path) -> None:
    done = in_process("bundle", "run", "--for", "web", "--recipe", "digits", cwd=tmp_path)
    assert done.returncode == ExitCode.INPUT
    assert "received more than one" in done.stderr
    assert not any(tmp_path.iterdir())


def commands(group: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, command in getattr(group, "commands", {}).items():
        yield (*words, name), command
        yield from commands(command, (*words, name))


def test_every_command_has_an_example_that_can_be_typed() -> None:
    root = typer.main.get_command(app.app)
    known = dict(commands(root))
    assert ("data", "check") in known
    for words, command in known.items():
        examples = [
            line.removeprefix("Example: ")
            for line in command.help.splitlines()
            if line.startswith("Example: ")
        ]
        assert examples, words
        for example in examples:
            _, *typed = shlex.split(example)
            named = max(
                (one for one in known if tuple(typed[: len(one)]) == one), key=len, default=()
            )
            assert named[: len(words)] == words, example
            known[named].make_context("toolchain", typed[len(named) :])


def test_what_a_recipe_is_to_say_is_toml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr("toolchain.terminal.say", told.append)
    nothing = SimpleNamespace(findings=(), exclude=lambda: [])
    data._write_exclude(nothing, tmp_path / 'so "called".txt')
    setting = told[0].partition("[data] ")[2]
    assert tomllib.loads(setting)["exclude"] == str(tmp_path / 'so "called".txt')
