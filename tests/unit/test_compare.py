"""`toolchain compare`: several finished runs in one table, one picture and one JSON."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import report_values as values
from command_line import in_process
from finished_run import export_again, finished_run
from test_report_page import CHROMIUM, PHONE_PIXELS, Page, measured_width

from toolchain.cli.compare import compare_finished
from toolchain.errors import ExitCode, InputError
from toolchain.report import RunValues
from toolchain.report.comparison import compare_runs
from toolchain.report.comparison_page import (
    comparison_markdown,
    render_comparison,
    verdict,
    write_comparison,
)
from toolchain.run import Run
from toolchain.values import Interval, Verification

SECTIONS = ("answer", "table", "speed", "mistakes", "settings", "again")


def made(name: str, wrong: int = 9, classes: tuple[str, ...] = values.DIGITS) -> RunValues:
    """The values of a run with so many mistakes in every file."""
    files = tuple(
        dataclasses.replace(values.verified(file.file, wrong), file=file.file)
        for file in values.FILES
    )
    run = values.run_values(Verification(classes, files, passed=True))
    return dataclasses.replace(run, recipe=dataclasses.replace(run.recipe, name=name))


def with_setting(run: RunValues, **changes: object) -> RunValues:
    train = dataclasses.replace(run.recipe.train, **changes)
    return dataclasses.replace(run, recipe=dataclasses.replace(run.recipe, train=train))


@pytest.fixture(scope="module")
def three() -> list[RunValues]:
    return [with_setting(made("few", 60), epochs=3), made("some", 9), made("same", 9)]


def test_the_most_accurate_is_named_and_who_cannot_be_told_from_it(three) -> None:
    compared = compare_runs(three, "toolchain compare")
    assert compared.best == 1
    assert compared.same_photos
    few, same = compared.differences
    assert (few.run, few.images, few.verdict) == ("few", 360, "worse")
    assert few.p_value < 0.001
    assert (same.run, same.difference.value, same.verdict) == ("same", 0.0, "inconclusive")
    text = Page(render_comparison(compared)).text()
    assert "some is the most accurate: 97.5 % on 360 test photos." in text
    assert "The photos in common do not tell some from same." in text
    assert "less accurate than" not in text
    assert "p = 1: inconclusive" in text


def test_the_page_has_every_section_and_every_figure(three) -> None:
    compared = compare_runs(three, "toolchain compare few some same")
    html = render_comparison(compared)
    page = Page(html)
    assert [one for one in page.ids if one in SECTIONS] == list(SECTIONS)
    assert page.misnested == []
    assert len(page.ids) == len(set(page.ids))
    # Accuracy, latency, and a confusion matrix a run.
    assert page.tags.count("svg") == 2 + 3
    text = page.text()
    for run in compared.runs:
        for share in (run.precision, run.recall, run.f1):
            assert f"{100 * share:.1f} %" in text
    assert "0.310" in text
    assert "34 s" in text
    assert "train.epochs 3 20 20" in text
    assert "toolchain compare few some same" in text
    assert not {"script", "link", "img", "iframe"} & set(page.tags)


def test_runs_of_other_data_are_compared_and_it_is_said() -> None:
    other = tuple(f"letter {at}" for at in range(10))
    compared = compare_runs([made("digits", 9), made("letters", 5, other)], "c")
    assert not compared.same_photos
    (difference,) = compared.differences
    assert (difference.images, difference.difference) == (0, None)
    text = Page(render_comparison(compared)).text()
    assert "The runs do not have the same test photos" in text
    assert "No two runs have the same test photos and classes" in text
    assert "is the most accurate" not in text
    assert "Not known is the difference between letters and digits." in text
    assert "The runs do not have the same classes." in text
    assert "no test photos in common with letters" in comparison_markdown(compared)


def test_the_same_photos_at_another_size_are_known_by_their_names() -> None:
    large = made("large", 5)
    dataset = large.dataset
    resized = dataclasses.replace(dataset, size=96, sha256=tuple(f"r{x}" for x in dataset.sha256))
    compared = compare_runs([made("small"), dataclasses.replace(large, dataset=resized)], "c")
    assert compared.same_photos
    assert compared.differences[0].images == 360
    assert compared.runs[1].network == "mobilenet_v2 0.35, 96 px"


def of_photos(run: RunValues, tag: str, first: int) -> RunValues:
    """Other photos of these names up to the `first`, the same ones from there on."""
    hashes = run.dataset.sha256
    other = tuple(f"{tag}{x}" for x in hashes[:first]) + tuple(hashes[first:])
    return dataclasses.replace(run, dataset=dataclasses.replace(run.dataset, sha256=other))


def test_a_run_is_the_most_accurate_only_of_those_with_its_photos() -> None:
    """The third has easier photos; half of the fourth's are the others', and it is right there."""
    easy = of_photos(made("easy", 0), "e", 10**6)
    apart = of_photos(made("apart", 50), "a", 880)
    compared = compare_runs([made("few", 60), made("some", 40), easy, apart], "c")
    assert not compared.same_photos
    assert compared.best == 1
    assert [one.same_photos for one in compared.differences] == [True, False, False]
    text = verdict(compared)
    assert text.startswith("some is the most accurate of the runs with its photos (few): 88.9 %")
    assert "Not known is the difference between some and easy." in text
    assert "The photos in common do not tell some from" in text


def test_a_run_that_is_better_on_the_photos_in_common_is_named() -> None:
    """Its own photos are harder, so that it is less accurate on all of them."""
    compared = compare_runs([made("some", 40), of_photos(made("better", 40), "b", 880)], "c")
    (found,) = compared.differences
    better = dataclasses.replace(found, difference=Interval(0.1, 0.05, 0.15))
    text = verdict(dataclasses.replace(compared, differences=(better,)))
    assert text == (
        "No two runs have the same test photos and classes: none is called most accurate. "
        "On the photos in common more accurate than some: better."
    )


def test_the_same_photos_with_one_class_more_are_other_data() -> None:
    more = made("more", 5)
    dataset = dataclasses.replace(more.dataset, classes=(*values.DIGITS, "none"))
    compared = compare_runs([made("ten"), dataclasses.replace(more, dataset=dataset)], "c")
    assert not compared.same_photos
    assert compared.differences[0].images == 360


def with_data(run: RunValues, **changes: object) -> RunValues:
    data = dataclasses.replace(run.recipe.data, **changes)
    return dataclasses.replace(run, recipe=dataclasses.replace(run.recipe, data=data))


def cropped(run: RunValues) -> RunValues:
    """The middle of the same photos at the same size: other pixels."""
    dataset = dataclasses.replace(run.dataset, sha256=tuple(f"c{x}" for x in run.dataset.sha256))
    shown = dataclasses.replace(run.recipe.input, crop=0.875)
    recipe = dataclasses.replace(run.recipe, input=shown)
    return dataclasses.replace(run, dataset=dataset, recipe=recipe)


def test_the_same_photos_in_another_crop_are_known_by_their_names() -> None:
    compared = compare_runs([made("whole"), cropped(made("middle", 5))], "c")
    assert compared.same_photos
    assert compared.differences[0].images == 360


def test_a_place_is_the_same_however_a_recipe_spells_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "photos").mkdir()
    monkeypatch.chdir(tmp_path)
    run = with_data(made("a"), source="auto", path="photos")
    for path in ("./photos/", str(tmp_path / "photos")):
        other = cropped(with_data(made("b", 5), source="folders", path=path))
        assert compare_runs([run, other], "c").same_photos
    elsewhere = cropped(with_data(made("b", 5), source="auto", path="others"))
    assert not compare_runs([run, elsewhere], "c").same_photos


def test_a_cnn_is_named_by_its_blocks(three) -> None:
    run = made("basic", 5)
    model = dataclasses.replace(run.recipe.model, backbone="cnn", blocks=(16, 64))
    basic = dataclasses.replace(run, recipe=dataclasses.replace(run.recipe, model=model))
    compared = compare_runs([basic, three[0]], "c")
    assert compared.runs[0].network == "cnn 16-64, 48 px"


def test_runs_without_answers_or_timings_are_compared_as_far_as_they_go() -> None:
    bare = dataclasses.replace(made("bare"), answers=None, heatmaps=None, benchmark=None)
    compared = compare_runs([bare, made("whole", 5)], "c")
    assert compared.runs[0].p50_ms is None
    assert compared.differences[0].images == 0
    assert "Fewer than two of the runs were timed" in Page(render_comparison(compared)).text()


@pytest.mark.parametrize(
    ("machine", "threads", "told"),
    [
        ({"processor": "Old CPU", "logical cores": "2"}, 1, "Old CPU, 2 cores; cpu, 1 thread"),
        (values.BENCHMARK.machine, 8, "Example CPU @ 2.0 GHz, unknown number of cores; cpu, 8"),
        ({}, 1, "unknown machine"),
    ],
)
def test_latencies_of_another_machine_or_setup_do_not_compare(machine, threads, told) -> None:
    rows = tuple(dataclasses.replace(row, threads=threads) for row in values.BENCHMARK.measurements)
    benchmark = dataclasses.replace(values.BENCHMARK, machine=machine, measurements=rows)
    other = dataclasses.replace(made("b", 5), benchmark=benchmark)
    compared = compare_runs([made("a"), other], "c")
    assert not compared.same_timing
    page = Page(render_comparison(compared))
    assert f"0.310 ({told}" in page.text()
    assert "their latencies do not compare" in page.text()
    assert "Accuracy against latency" in page.text()
    assert page.tags.count("svg") == 1 + 2


def test_names_are_text_and_the_json_is_plain(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>"
    compared = compare_runs([made(evil), made("b", 5)], evil)
    write_comparison(compared, tmp_path)
    assert "script" not in Page((tmp_path / "comparison.html").read_text()).tags
    data = json.loads((tmp_path / "comparison.json").read_text(), parse_constant=pytest.fail)
    assert data["schema"] == 2
    assert [run["name"] for run in data["runs"]] == [evil, "b"]
    assert "<script>" not in (tmp_path / "comparison.md").read_text().split("Again with")[0]


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
def test_a_phone_needs_no_sideways_scroll(tmp_path: Path) -> None:
    runs = [made("a-very-long-name-without-an-end" * 4), made("b", 5), made("c", 7), made("d", 3)]
    html = render_comparison(compare_runs(runs, "toolchain compare " + "x" * 300))
    inner, scroll = measured_width(html, tmp_path)
    assert inner == PHONE_PIXELS
    assert scroll <= PHONE_PIXELS


def test_the_command_reads_run_folders(tmp_path: Path) -> None:
    finished_run(tmp_path / "runs", "digits", made("digits", 9))
    elsewhere = finished_run(tmp_path / "elsewhere", "other", made("other", 5))
    done = in_process("compare", "digits", elsewhere.folder, "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    data = json.loads(done.stdout)
    assert [run["name"] for run in data["runs"]] == ["digits", "other"]
    assert data["best"] == 1
    assert "other is the most accurate" in done.stderr
    for ending in ("html", "md", "json"):
        assert (tmp_path / "runs" / f"comparison.{ending}").is_file()
    (tmp_path / "file").touch()
    kept = in_process("compare", "digits", elsewhere.folder, "--out", "file/out", cwd=tmp_path)
    assert kept.returncode == ExitCode.MACHINE
    assert "cannot write: Not a directory" in kept.stderr


def test_a_run_that_was_changed_after_its_report_is_refused(tmp_path: Path) -> None:
    """Exported again, and verify missed its gate: the old accuracy is not of these files."""
    run = finished_run(tmp_path)
    export_again(run)
    with pytest.raises(InputError, match="newer than its report") as caught:
        compare_finished([run], tmp_path)
    assert caught.value.remedy.startswith("run: toolchain report --recipe ")
    assert not (tmp_path / "comparison.html").exists()


def test_classes_without_photos_and_answers_are_in_no_mean() -> None:
    """Two of five classes have photos, and one is answered that has none."""
    matrix = ((9, 0, 1, 0, 0), (0, 10, 0, 0, 0), (0,) * 5, (0,) * 5, (0,) * 5)
    run = made("a", classes=tuple("abcde"))
    files = tuple(dataclasses.replace(file, confusion=matrix) for file in run.verification.files)
    verification = dataclasses.replace(run.verification, files=files)
    run = dataclasses.replace(run, verification=verification, answers=None)
    found = compare_runs([run, run], "c").runs[0]
    assert found.precision == pytest.approx(2 / 3)
    assert found.recall == pytest.approx(1.9 / 3)
    assert found.f1 == pytest.approx((18 / 19 + 1) / 3)


def test_a_copy_is_called_by_its_folder(tmp_path: Path) -> None:
    """`mv runs/digits runs/digits-before`, and trained again: both recipes are called digits."""
    before = finished_run(tmp_path, "digits", made("digits", 60))
    before.folder.rename(tmp_path / "digits-before")
    after = finished_run(tmp_path, "digits", made("digits", 5))
    compared = compare_finished([Run(tmp_path, "digits-before"), after], tmp_path / "out")
    assert [run.name for run in compared.runs] == ["digits-before", "digits"]
    assert compared.best == 1
    text = Page((tmp_path / "out" / "comparison.html").read_text()).text()
    assert "digits is the most accurate: 98.6 %" in text


@pytest.mark.parametrize(
    ("names", "text"),
    [
        (["digits"], "two or more"),
        (["digits", "digits"], "two or more"),
        (["digits", "nix"], "nix"),
    ],
)
def test_fewer_than_two_runs_or_an_unknown_one_are_wrong_input(names, text, tmp_path: Path) -> None:
    (tmp_path / "runs" / "digits" / "report").mkdir(parents=True)
    done = in_process("compare", *names, cwd=tmp_path)
    assert done.returncode == 2
    assert text in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unfinished_run_says_what_to_do(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / "runs" / name / "data").mkdir(parents=True)
    done = in_process("compare", "a", "b", cwd=tmp_path)
    assert done.returncode == 2
    assert "make report" in done.stderr
