"""`toolchain bundle`: what is chosen and said, what lies in folder and zip, and what is refused."""

from __future__ import annotations

import ast
import dataclasses
import hashlib
import json
import shutil
import zipfile
from pathlib import Path

import pytest
from command_line import in_process
from conftest import unzip

from toolchain import bundle as toolchain_bundle
from toolchain.bundle import KINDS, Offer
from toolchain.bundle.card import render_card
from toolchain.bundle.kinds import choose
from toolchain.cli.bundle import For, bundle, read_offer
from toolchain.contract import read_contract_file
from toolchain.errors import InputError
from toolchain.recipe import load_recipe
from toolchain.run import MANIFEST, Run
from toolchain.values import Interval

CARRIED = {"README.md", "contract.json", "labels.txt", "recipe.toml"}


@pytest.fixture(scope="module")
def offer(tiny_run: Run) -> Offer:
    return read_offer(tiny_run, tiny_run.manifest("export"))


def chosen(kind: str, offer: Offer, precision: str = "") -> list[str]:
    return [choice.model.path.name for choice in choose(KINDS[kind], offer, precision)]


@pytest.mark.parametrize(
    ("kind", "files"),
    [
        ("android", ["tiny.int8-qat.tflite"]),
        ("ios", ["tiny.int8-qat.tflite"]),
        ("web", ["tiny.int8-qat.tflite", "tiny.fp32.onnx"]),
        ("server", ["tiny.int8-qat.onnx", "tiny.int8-qat.tflite"]),
    ],
)
def test_each_kind_gets_the_files_that_suit_it(kind: str, files: list[str], offer) -> None:
    assert chosen(kind, offer) == files


def test_a_server_gets_float_where_nobody_proved_int8(offer: Offer) -> None:
    unproven = dataclasses.replace(offer, verified={})
    assert chosen("server", unproven)[0] == "tiny.fp32.onnx"


def test_a_file_that_missed_a_gate_is_not_taken(offer: Offer) -> None:
    name = "tiny.int8-qat.tflite"
    missed = dataclasses.replace(offer.verified[name], failures=("agreement",))
    worse = dataclasses.replace(offer, verified=offer.verified | {name: missed})
    assert chosen("android", worse) == ["tiny.fp32.tflite"]


def test_what_nobody_wishes_is_taken_where_there_is_nothing_else(offer: Offer) -> None:
    whole = next(m for m in offer.exported if m.path.name == "tiny.fp32.tflite")
    light = dataclasses.replace(whole, contract=dataclasses.replace(whole.contract, precision="w8"))
    (choice,) = choose(KINDS["ios"], dataclasses.replace(offer, exported=(light,)))
    assert choice.reason == "no better .tflite is there"
    both = dataclasses.replace(offer, exported=(light, whole))
    assert choose(KINDS["ios"], both)[0].model.contract.precision == "fp32"


def test_of_twins_the_one_for_any_batch_is_taken(offer: Offer) -> None:
    whole = next(m for m in offer.exported if m.path.name == "tiny.int8-qat.onnx")
    spec = dataclasses.replace(whole.contract.input, shape=(1, *whole.contract.input.shape[1:]))
    single = dataclasses.replace(
        whole,
        path=whole.path.with_name("tiny.int8-qat.b1.onnx"),
        contract=dataclasses.replace(whole.contract, input=spec),
    )
    twins = dataclasses.replace(offer, exported=(single, *offer.exported))
    assert chosen("server", twins)[0] == "tiny.int8-qat.onnx"


def test_a_precision_that_is_asked_for_is_taken_or_refused(offer: Offer) -> None:
    assert chosen("server", offer, "fp32") == ["tiny.fp32.onnx", "tiny.fp32.tflite"]
    with pytest.raises(InputError, match=r"fp16 \.tflite file for ios, found tiny\.fp32"):
        chosen("ios", offer, "fp16")


@pytest.mark.parametrize("kind", ["android", "ios", "server"])
def test_the_zip_holds_the_models_and_what_explains_them(kind: str, unpacked, tiny_run) -> None:
    bundle = unpacked(kind)
    names = {path.name for path in bundle.folder.iterdir()}
    assert names >= CARRIED | set(bundle.answer["models"])
    assert (bundle.folder / "goldens" / "goldens.json").is_file()
    entries = read_contract_file(bundle.folder)
    assert set(entries) == set(bundle.answer["models"])
    for name, entry in entries.items():
        data = (bundle.folder / name).read_bytes()
        assert hashlib.sha256(data).hexdigest() == entry.sha256
        assert data == (tiny_run.stage("export") / name).read_bytes()
    published = Path(bundle.answer["folder"])
    inside = {path.relative_to(published): path for path in published.rglob("*") if path.is_file()}
    for name, path in inside.items():
        assert (bundle.folder / name).read_bytes() == path.read_bytes()


def test_the_receiver_can_replay_the_golden_vectors(unpacked) -> None:
    bundle = unpacked("server")
    result = in_process("verify", "--contract", bundle.folder, "--json")
    assert result.returncode == 0, result.stderr
    assert {row["file"] for row in json.loads(result.stdout)} == set(bundle.answer["models"])


def test_no_code_has_a_placeholder_left(unpacked) -> None:
    for kind in ("android", "ios", "server"):
        for path in unpacked(kind).folder.rglob("*"):
            if path.is_file():
                assert b"__MODEL_FILE__" not in path.read_bytes(), path


TEMPLATES = Path(toolchain_bundle.__file__).parent / "templates"
# What the standard library has since 3.11 and such scripts are likely to use.
SINCE_3_11 = {"timeout", "timeout_at", "TaskGroup", "Runner", "UTC", "tomllib", "ExceptionGroup"}
SINCE_3_11 |= {"Self", "StrEnum", "batched", "file_digest", "chdir", "override"}


@pytest.mark.parametrize("path", sorted(TEMPLATES.rglob("*.py")), ids=lambda path: path.name)
def test_scripts_run_with_the_python_that_the_bundle_asks_for(path: Path) -> None:
    tree = ast.parse(path.read_text(), feature_version=(3, 10))
    used = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    imported = (node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom))
    used |= {alias.name for node in imported for alias in node.names}
    assert not used & SINCE_3_11
    assert "Python 3.10 or newer" in (TEMPLATES / "server" / "requirements.txt").read_text()


def test_the_same_run_gives_the_same_bytes(tiny_run: Run, unpacked, tmp_path: Path) -> None:
    first = Path(unpacked("server").answer["archive"]).read_bytes()
    again = in_process(
        "bundle", tiny_run.folder, "--for", "server", "--out", tmp_path / "b", "--json"
    )
    assert again.returncode == 0, again.stderr
    archive = Path(json.loads(again.stdout)["archive"])
    assert archive.parent == tmp_path / "b" / "server"
    assert archive.read_bytes() == first


def test_scripts_can_be_run_and_no_entry_has_a_date(unpacked) -> None:
    with zipfile.ZipFile(unpacked("server").answer["archive"]) as archive:
        entries = archive.infolist()
    assert [entry.filename for entry in entries] == sorted(entry.filename for entry in entries)
    assert {entry.date_time for entry in entries} == {(1980, 1, 1, 0, 0, 0)}
    modes = {Path(e.filename).suffix: e.external_attr >> 16 for e in entries}
    assert (modes[".py"], modes[".md"]) == (0o100755, 0o100644)


def test_what_was_chosen_and_why_is_said(tiny_run: Run, tmp_path: Path) -> None:
    done = in_process("bundle", tiny_run.folder, "--for", "server", "--out", tmp_path / "b")
    assert "tiny.int8-qat.onnx: 8-bit integers" in done.stderr
    assert "not verified" not in done.stderr


def test_evidence_about_other_files_is_left_out(tiny_run: Run, tmp_path: Path) -> None:
    """Exported again and not verified again: the old accuracy must not be told of the new files."""
    run = Run(tmp_path, "tiny")
    for stage in ("export", "verify"):
        manifest = tiny_run.manifest(stage)
        made_from = {"export": "another"} if stage == "verify" else {}
        with run.publish(stage, manifest.key, made_from) as folder:
            copy_into(folder, tiny_run.stage(stage))
    done = in_process("bundle", run.folder, "--for", "server", "--json")
    assert done.returncode == 0, done.stderr
    assert "tiny.fp32.onnx" in json.loads(done.stdout)["models"]
    assert "not verified: run make verify" in done.stderr
    unzip(Path(json.loads(done.stdout)["archive"]), tmp_path / "unpacked")
    card = (tmp_path / "unpacked" / "tiny-server" / "README.md").read_text()
    assert "Not known: `make verify` has not run on these files." in card
    assert "97.5" not in card


def copy_into(folder: Path, stage: Path) -> None:
    shutil.copytree(stage, folder, dirs_exist_ok=True)
    (folder / MANIFEST).unlink()


def test_a_run_without_an_export_is_refused(tmp_path: Path) -> None:
    done = in_process("bundle", tmp_path / "nothing", "--for", "ios")
    assert done.returncode == 2
    assert "stage export has not run" in done.stderr


def test_a_mistyped_run_leaves_no_folder_behind(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="stage export has not run"):
        bundle(For.IOS, tmp_path / "typo", out=tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_bundles_do_not_go_into_the_run_itself(tiny_run: Run) -> None:
    before = sorted(tiny_run.folder.iterdir())
    with pytest.raises(InputError, match="another folder for the bundles"):
        bundle(For.IOS, tiny_run.folder, out=tiny_run.folder / "export" / "..")
    assert sorted(tiny_run.folder.iterdir()) == before


def test_a_changed_model_is_refused_and_the_old_bundle_stays(tiny_run, tmp_path: Path) -> None:
    run = Run(tmp_path, "tiny")
    with run.publish("export", "e") as folder:
        copy_into(folder, tiny_run.stage("export"))
    assert in_process("bundle", run.folder, "--for", "ios").returncode == 0
    before = sorted(path.name for path in (run.folder / "bundle" / "ios").iterdir())
    model = run.stage("export") / "tiny.int8-qat.tflite"
    model.write_bytes(model.read_bytes()[:-1] + b"x")
    done = in_process("bundle", run.folder, "--for", "ios")
    assert done.returncode == 2
    assert "expected sha256" in done.stderr
    place = run.folder / "bundle"
    assert sorted(path.name for path in (place / "ios").iterdir()) == before
    assert sorted(path.name for path in place.iterdir()) == [".lock", "ios"]


class TestCard:
    def test_it_tells_accuracy_with_interval_speed_data_and_origin(self, unpacked) -> None:
        card = (unpacked("server").folder / "README.md").read_text()
        assert "| `tiny.int8-qat.onnx` | 400 | 97.50 % | 95.5 to 98.6 % | 99.50 % |" in card
        assert "onnxruntime, cpu, 1 thread | 0.250 | 0.500 | 0.750 | 4,000 |" in card
        assert "Measured on A processor" in card
        assert "| red | 5 | 2 | 3 |" in card
        assert "embedded backbone, trained on CIFAR-10: Apache-2.0" in card
        assert "toolchain run --recipe recipe.toml" in card
        assert "red, green, blue" in card

    def test_its_recipe_is_read_and_has_the_hash_that_a_contract_would_name(self, unpacked):
        recipe = load_recipe(unpacked("server").folder / "recipe.toml")
        assert (recipe.name, recipe.data.source) == ("tiny", "digits")

    def test_a_label_cannot_become_markup(self, offer: Offer) -> None:
        evil = "<b>cat</b> | [dog](x) `"
        contract = dataclasses.replace(offer.exported[0].contract, labels=(evil, "b", "c"))
        model = dataclasses.replace(offer.exported[0], contract=contract)
        choices = choose(KINDS["server"], dataclasses.replace(offer, exported=(model,)), "fp32")
        card = render_card(KINDS["server"], choices, offer)
        assert "<b>" not in card
        assert "&lt;b&gt;cat&lt;/b&gt; \\| \\[dog\\](x) \\`" in card

    def test_it_never_rounds_up_to_all(self, offer: Offer) -> None:
        name = "tiny.int8-qat.onnx"
        nearly = dataclasses.replace(
            offer.verified[name], accuracy=Interval(0.99999, 0.99, 1.0), agreement=0.99999
        )
        better = dataclasses.replace(offer, verified={name: nearly})
        card = render_card(KINDS["server"], choose(KINDS["server"], better), better)
        assert "> 99.99 %" in card
        assert "100.00 %" not in card
