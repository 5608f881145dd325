"""`toolchain run` of several recipes: in order, past a missed gate, and compared at the end."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import typer
from click.testing import Result
from report_values import run_values
from typer.testing import CliRunner

from toolchain.cli import series, stage_commands
from toolchain.cli.options import at_home, find_recipe, find_recipes
from toolchain.errors import GateError, InputError
from toolchain.models import models_folder, shipped_recipes
from toolchain.recipe import Recipe
from toolchain.report.comparison import ComparedRuns, compare_runs
from toolchain.run import Run

FAMILY = "cats-vs-dogs-vgg16/five"


@pytest.fixture
def family(tmp_path: Path) -> Path:
    """Three recipes that say little, in an order that is not that of their names in the file."""
    folder = tmp_path / "family"
    folder.mkdir()
    for file, name in (("2-b.toml", "b"), ("1-c.toml", "c"), ("3-a.toml", "a")):
        (folder / file).write_text(f'name = "{name}"\n[data]\nsource = "digits"\n')
    return folder


@dataclass
class Calls:
    """`toolchain run` with a chain that does nothing but, for some, miss a gate."""

    runs: Path
    missing: tuple[str, ...] = ()
    ran: list[str] = field(default_factory=list)
    compared: list[list[str]] = field(default_factory=list)

    def chain(self, recipe: Recipe, run: Run, until: str, *, force: bool) -> None:
        assert (until, run.folder) == ("report", self.runs / recipe.name)
        self.ran.append(recipe.name)
        if recipe.name in self.missing:
            raise GateError(f"{recipe.name} is too bad")

    def compare(self, runs: Sequence[Run], folder: Path) -> ComparedRuns:
        assert folder == self.runs
        self.compared.append([run.name for run in runs])
        return compare_runs([run_values(), run_values()], "toolchain run")

    def __call__(self, *arguments: object) -> Result:
        app = typer.Typer()
        app.command()(stage_commands.run)
        return CliRunner().invoke(app, [*map(str, arguments), "--runs", str(self.runs)])


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Calls:
    calls = Calls(tmp_path / "runs")
    monkeypatch.setattr(series, "run_chain", calls.chain)
    monkeypatch.setattr(series, "compare_finished", calls.compare)
    return calls


def test_a_folder_of_recipes_is_run_in_order_and_compared(family, call) -> None:
    done = call(family, "--json")
    assert done.exception is None
    assert call.ran == ["c", "b", "a"]
    assert call.compared == [["c", "b", "a"]]
    assert len(json.loads(done.stdout)["runs"]) == 2


@pytest.mark.parametrize(("missing", "compared"), [("b", [["a", "c"]]), ("bc", [])])
def test_a_missed_gate_stops_no_other_and_is_the_end(missing, compared, family, call) -> None:
    call.missing = tuple(missing)
    done = call(family / "3-a.toml", family / "2-b.toml", family / "1-c.toml", "--json")
    assert isinstance(done.exception, GateError)
    assert bool(done.stdout) == bool(compared), "what got there is told all the same"
    assert done.exception.what == "b is too bad"
    assert call.ran == ["a", "b", "c"]
    assert call.compared == compared


def test_two_recipes_of_one_name_would_share_a_run(family, call) -> None:
    (family / "4-a.toml").write_text('name = "a"\n[data]\nsource = "digits"\n')
    done = call(family)
    assert isinstance(done.exception, InputError)
    assert "two that are called a" in done.exception.what


@pytest.mark.parametrize("more", [("--data", "x"), ("--recipe", "x")])
def test_recipes_and_another_way_to_say_one(more, family, call) -> None:
    done = call(family, *more)
    assert isinstance(done.exception, InputError)
    assert f"recipes or {more[0]}, received both" in done.exception.what


def test_the_shipped_family_is_found_by_its_name(monkeypatch, tmp_path) -> None:
    monkeypatch.chdir(tmp_path)
    recipes = find_recipes([FAMILY], ["train.seed=7"])
    assert [recipe.name for recipe in recipes] == [
        "cats-vs-dogs-1-basic-cnn",
        "cats-vs-dogs-2-regularised-cnn",
        "cats-vs-dogs-3-features",
        "cats-vs-dogs-4-frozen-augmented",
        "cats-vs-dogs-5-fine-tuned",
    ]
    assert {recipe.train.seed for recipe in recipes} == {7}
    assert len({str(recipe.section("data")) for recipe in recipes}) == 1


def test_a_command_of_one_recipe_takes_no_folder(family) -> None:
    with pytest.raises(InputError, match="one recipe, received a folder of 3") as caught:
        find_recipe(str(family), "", None)
    assert str(family / "1-c.toml") in caught.value.remedy


def test_a_folder_of_one_recipe_is_that_recipe(family) -> None:
    for extra in ("2-b.toml", "3-a.toml"):
        (family / extra).unlink()
    assert find_recipe(str(family), "", None).name == "c"


def test_every_shipped_recipe_has_a_run_and_a_card_of_its_own() -> None:
    recipes = find_recipes(list(shipped_recipes()), None)
    assert len({recipe.name for recipe in recipes}) == len(recipes)
    for name in shipped_recipes():
        assert name in (models_folder() / name.split("/")[0] / "README.md").read_text()


def test_a_recipe_beside_photos_is_refused_and_not_passed_over(family: Path) -> None:
    with pytest.raises(InputError, match="--recipe or --data, received both") as caught:
        find_recipe(str(family / "2-b.toml"), "photos", None)
    assert "--set data.path" in caught.value.remedy


def test_no_recipe_named_is_that_of_the_digits() -> None:
    assert find_recipe("", "", None).name == "digits"


def test_a_folder_without_recipes_hides_none_that_comes_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits" / "train").mkdir(parents=True)
    assert find_recipe("digits", "", None).data.source == "digits"
    (tmp_path / "digits" / "recipe.toml").write_text('[data]\npath = "mine"\n')
    assert find_recipe("digits", "", None).data.path == "mine"


def test_a_path_at_home_is_read_by_the_command(
    call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "one.toml").write_text('[data]\nsource = "digits"\n')
    assert find_recipe("~/one.toml", "", None).name == "one"
    assert at_home(Path("~/my runs")) == tmp_path / "my runs"
    call.runs = tmp_path / "runs"
    app = typer.Typer()
    app.command()(stage_commands.run)
    done = CliRunner().invoke(app, ["digits", "mnist-vgg16", "--runs=~/runs"])
    assert done.exit_code == 0, done.exception
    assert call.ran == ["digits", "mnist-vgg16"]
