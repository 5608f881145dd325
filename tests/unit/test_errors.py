"""Errors: at most three lines, each telling one thing, and an exit code that a script can read."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolchain import errors
from toolchain.errors import ExitCode, RecipeError, ToolchainError, is_printable, printable

KINDS = {
    errors.InputError: ExitCode.INPUT,
    errors.DataError: ExitCode.INPUT,
    errors.ImageError: ExitCode.INPUT,
    errors.ModelError: ExitCode.INPUT,
    errors.GateError: ExitCode.GATE,
    errors.MachineError: ExitCode.MACHINE,
}


@pytest.mark.parametrize("kind", KINDS)
def test_exit_code(kind):
    assert kind("what").exit_code == KINDS[kind]


def test_recipe_errors_are_wrong_input():
    assert RecipeError(["a: wrong"], "r.toml").exit_code == ExitCode.INPUT


def test_what_where_and_remedy_are_a_line_each():
    text = str(ToolchainError("expected 2, received 3", "a/b.toml", "write 2"))
    assert text.splitlines() == ["error: expected 2, received 3", "  a/b.toml", "  write 2"]


def test_empty_parts_leave_no_empty_lines():
    assert str(ToolchainError("no", "", "do this")) == "error: no\n  do this"


@given(st.text(), st.text(), st.text())
def test_never_more_than_three_lines_nor_control_characters(what, where, remedy):
    text = str(ToolchainError(what, where, remedy))
    assert len(text.splitlines()) <= 3
    assert all(unicodedata.category(c)[0] != "C" for c in text.replace("\n", ""))


def test_spaces_in_names_are_shown_as_they_are():
    name = "9.41.00\u202fAM \u5199\u771f\u3000\u732b\u00a0.png"
    assert str(ToolchainError("bad\t image", name)).splitlines() == [
        "error: bad image",
        f"  {name}",
    ]
    assert is_printable(name)
    assert printable(f"{name}\u2028\x1b") == f"{name}\ufffd\ufffd"
    assert not is_printable("a\u2029b")


def test_a_file_name_cannot_drive_the_terminal():
    assert "\x1b" not in str(ToolchainError("bad image", "\x1b]0;owned\x07.jpg"))


@given(st.lists(st.text(), min_size=1, max_size=4))
def test_a_recipe_error_has_one_line_a_mistake(mistakes):
    lines = str(RecipeError(mistakes, "r.toml")).splitlines()
    assert len(lines) == len(mistakes)
    assert all(line.startswith("error: r.toml:") for line in lines)
