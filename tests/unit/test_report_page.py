"""The page of a report: complete, self-contained, safe, and readable on a phone."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import subprocess
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import pytest
import report_values as values

from toolchain.measurement import Comparison, Noise, Preparation
from toolchain.report import Pictures, Report, make_report
from toolchain.report.html import render_html
from toolchain.report.lineage import Link
from toolchain.report.write import write_report
from toolchain.values import Interval, Verification

EVIL = "<script>alert(1)</script>"
PHONE_PIXELS = 390
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
SECTIONS = (
    "answer", "files", "speed", "training", "mistakes", "photos", "calibration", "layers", "data",
    "again",
)  # fmt: skip
# Accuracy, loss, confusion, speed, reliability, layers.
DRAWINGS = 6
VOID = {"meta", "br", "img", "hr", "link", "input", "wbr"}


class Page(HTMLParser):
    """Ids, tags, attributes and visible text; notes tags that are not closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.misnested: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        self.ids += [value or "" for name, value in attrs if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.misnested.append(tag)

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def rendered(report: Report) -> str:
    return render_html(report, values.pictures(report))


@pytest.fixture(scope="module")
def html() -> str:
    return rendered(values.report())


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return Page(html)


def test_every_section_is_there_the_answer_first(page: Page) -> None:
    assert [one for one in page.ids if one in SECTIONS] == list(SECTIONS)


def test_it_is_well_formed_and_every_id_is_used_once(page: Page) -> None:
    assert page.misnested == []
    assert page.open == []
    assert len(page.ids) == len(set(page.ids))


def test_every_reference_of_a_drawing_points_at_something(html: str, page: Page) -> None:
    used = re.findall(r'href="#([^"]+)"', html) + re.findall(r"url\(#([^)]+)\)", html)
    assert used
    assert set(used) <= set(page.ids)


def test_the_answer_names_the_files_and_the_verdict(page: Page) -> None:
    text = page.text()
    assert "All 4 files passed every gate on 360 test images." in text
    assert "ship this .tflite digits.int8-qat.tflite" in text
    assert "ship this .onnx digits.int8-qat.onnx" in text
    assert "1.5× faster, 2.7× smaller, 0.3 points less accuracy" in text


def test_the_numbers_of_every_file_are_there(page: Page) -> None:
    text = page.text()
    for row in values.BENCHMARK.measurements:
        assert row.file.removeprefix("digits.") in text
        assert row.latency is not None
        p50, p90, p99 = row.latency.p50_ms, row.latency.p90_ms, row.latency.p99_ms
        spread = f"{p50.low:.3f} to {p50.high:.3f}"
        assert f"{p50.value:.3f} {spread} {p90.value:.3f} {p99.value:.3f}" in text
    assert "99.4 %" in text
    assert "96.3 to 99.3" in text


def test_lineage_machine_versions_and_command_are_there(page: Page) -> None:
    report, text = values.report(), page.text()
    assert report.command in text
    assert all(link.sha256 in text and link.made_from in text for link in report.lineage)
    assert "Example CPU @ 2.0 GHz" in text
    assert "onnxruntime 1.31.1" in text
    assert "train.learning_rate 0.001" in text
    assert "8/broken.png : the image cannot be decoded" in text


def test_the_drawings_show_phases_labels_and_counts(page: Page) -> None:
    assert page.tags.count("svg") == DRAWINGS
    text = page.text()
    for word in ("fine-tune", "QAT", "validation", "tflite int8-qat", "called", "confidence, %"):
        assert word in text


def test_what_was_left_out_of_the_data_is_listed_with_its_reason(page: Page) -> None:
    assert "8/broken.png : the image cannot be decoded: truncated" in page.text()
    assert "Left out: 1 why photos the image cannot be decoded" in page.text()


def test_drawings_take_their_colours_from_the_page(html: str) -> None:
    drawn = "".join(re.findall(r"<svg.*?</svg>", html, flags=re.DOTALL))
    assert "var(--blue)" in drawn
    # Whatever kept a colour of its own would vanish on one of the two backgrounds.
    assert re.findall(r"#[0-9a-f]{6}\b", drawn) == []


def test_nothing_is_fetched_and_nothing_runs(html: str, page: Page) -> None:
    assert not {"script", "link", "iframe", "object", "embed", "base", "form"} & set(page.tags)
    for name, value in page.attributes:
        assert not name.startswith("on"), name
        if name in ("src", "href", "xlink:href", "srcset", "action", "data"):
            assert value.startswith(("#", "data:image/jpeg;base64,")), (name, value)
    assert "@import" not in html
    assert not re.search(r"url\((?!#)", html)


def test_it_is_light_and_dark_and_fits_a_phone_and_paper(html: str) -> None:
    assert "prefers-color-scheme: dark" in html
    assert "width=device-width" in html
    assert "@media print" in html


def evil_report(name: str = EVIL, *classes: str) -> Report:
    classes = (*(classes or (name,)), *values.DIGITS[len(classes) or 1 :])
    verification = dataclasses.replace(values.VERIFICATION, classes=classes)
    return values.report(
        verification,
        name=name,
        notes=(name,),
        command=name,
        lineage=(Link(name, name, name),),
        benchmark=dataclasses.replace(values.BENCHMARK, command=name, machine={name: name}),
    )


@pytest.mark.parametrize("name", [EVIL, '"><img src=x onerror=alert(1)>', "{{ 7*7 }}", "</svg><i>"])
def test_names_are_text_and_never_markup(name: str) -> None:
    html = rendered(evil_report(name))
    page = Page(html)
    assert not {"script", "i"} & set(page.tags)
    assert {value[:5] for name, value in page.attributes if name == "src"} == {"data:"}
    assert not [attribute for attribute, _ in page.attributes if attribute.startswith("on")]
    assert name in unescape(html)
    assert page.misnested == []


def test_any_class_name_can_be_drawn() -> None:
    names = ["a$b$", "\\frac{1", "猫", "x" * 300, "two\nlines", "#010203"]
    html = rendered(evil_report(" ".join(names), *names))
    drawings = re.findall(r"<svg.*?</svg>", html, flags=re.DOTALL)
    assert len(drawings) == DRAWINGS
    drawn = Page("".join(drawings)).text()
    for name in names:
        assert " ".join(name.split())[:17] in drawn


def test_a_run_without_int8_and_without_benchmark() -> None:
    report = values.report(values.VERIFICATION, None)
    report = dataclasses.replace(report, quantization=(), best_quantization=None)
    text = Page(rendered(report)).text()
    assert "make benchmark" in text
    assert "QAT" not in text.replace("int8-qat", "")


def test_missed_gates_are_named_and_the_verdict_is_not_green() -> None:
    why = "agreement 0.912 is below 0.99"
    files = (
        values.verified("digits.fp32.tflite"),
        values.verified("digits.int8-qat.tflite", 9, (why,)),
    )
    html = rendered(values.report(Verification(values.DIGITS, files, passed=False)))
    assert "1 of 2 files missed a gate on 360 test images" in html
    assert 'class="verdict bad"' in html
    assert why in Page(html).text()


def test_a_file_that_crashed_says_so_instead_of_numbers() -> None:
    rows = (values.measured("digits.fp32.onnx", failure="crashed: signal 11 SIGSEGV"),)
    html = rendered(
        values.report(benchmark=dataclasses.replace(values.BENCHMARK, measurements=rows))
    )
    assert "crashed: signal 11 SIGSEGV" in Page(html).text()


def test_mistakes_flips_and_heat_maps_are_pictures_with_their_words(page: Page) -> None:
    report, text = values.report(), page.text()
    pictures = values.pictures(report)
    sources = [value for name, value in page.attributes if name == "src"]
    assert len(report.gallery.worst) == 8
    for photo in report.gallery.worst:
        assert f"is {photo.true} , called {photo.called} {photo.confidence:.0%}"[:-1] in text
        assert pictures.photos[photo.row] in sources
    (flip,) = report.gallery.flips.flips
    assert f"lost : is {flip.photo.true} , float {flip.photo.called}" in text
    assert "1 of 360 test photos otherwise" in text
    assert "by -0.28 points (95 % interval -1.56 to +0.80, McNemar p = 1)" in text
    assert "the photos do not tell the two apart" in text
    for photo in report.gallery.looked:
        assert pictures.heat[photo.row] in sources
    assert "block_6_expand_relu" in text


def test_the_worst_layers_are_drawn_the_worst_first(page: Page) -> None:
    layers = values.report().layers
    assert [one.layer for one in layers[:2]] == ["block_6", "block_13"]
    names = {one.layer for one in layers}
    drawn = [word.strip() for word in page.words if word.strip() in names]
    # The axis is written from its lower end.
    assert drawn[::-1] == [one.layer for one in layers[:15]]
    assert "15 worst of 20 layers" in page.text()


def test_what_mediapipes_resize_changes_is_told(page: Page) -> None:
    assert "On 200 test photos a byte of the input then differs by 6.2 of 255" in page.text()
    assert "99.5 % keep their class, accuracy 98.5 % with our resize and 98.0 %" in page.text()
    bare = make_report(dataclasses.replace(values.run_values(), client_resize=None))
    assert "MediaPipe" not in Page(rendered(bare)).text()


def test_what_a_run_lacks_is_said_and_not_drawn() -> None:
    bare = dataclasses.replace(values.run_values(), answers=None, heatmaps=None, sensitivity=None)
    report = make_report(bare)
    text = Page(render_html(report, Pictures())).text()
    assert "Quantize kept no errors of single layers" in text
    assert text.count("Verify kept no answers on single photos of this run") == 2
    assert report.to_json()["gallery"] is None
    without_heat = make_report(dataclasses.replace(values.run_values(), heatmaps=None))
    assert "Verify kept no heat maps" in Page(rendered(without_heat)).text()


def test_noise_comparisons_and_preparation_are_told() -> None:
    benchmark = dataclasses.replace(
        values.BENCHMARK,
        noise=Noise("noisy", ("others kept 0.7 processors busy",), 0.1, 0.1, 0.0, 0.7, (1.0, 1.2)),
        comparisons=(
            Comparison(1, 0, Interval(0.674, 0.66, 0.69), "faster"),
            Comparison(3, 2, Interval(0.98, 0.94, 1.03), "inconclusive"),
        ),
        preparation=(
            Preparation("64 JPEG", 48, Interval(0.4, 0.39, 0.41), Interval(0.1, 0.1, 0.1)),
        ),
    )
    text = Page(rendered(values.report(benchmark=benchmark))).text()
    assert "The machine was noisy while the files took turns: others kept 0.7" in text
    assert "The machine was busy while the files were timed" in text
    assert "1.48× faster (1.45 to 1.52)" in text
    assert "inconclusive (ratio 0.94 to 1.03)" in text
    assert "right together in 96 of 100 sessions" in text
    assert "Against digits.fp32.onnx: speed not told apart, 2.7× smaller" in text
    assert "(64 JPEG) takes 0.400 ms, resizing it to 48 pixels 0.100 ms" in text


def test_batches_have_a_table_of_their_own(page: Page) -> None:
    row = dataclasses.replace(values.BENCHMARK.measurements[0], batch=32)
    rows = (*values.BENCHMARK.measurements, row)
    text = Page(
        rendered(values.report(benchmark=dataclasses.replace(values.BENCHMARK, measurements=rows)))
    ).text()
    assert "Many at a time" in text
    assert "fp32.tflite 32 2,111 2,068 to 2,153 litert, cpu, 1 thread" in text
    assert "Many at a time" not in page.text()


def test_a_hundred_classes_are_listed_and_not_drawn() -> None:
    classes = tuple(f"species {at}" for at in range(100))
    file = dataclasses.replace(values.FILES[1], confusion=values.confusion(100, images=5, wrong=30))
    report = values.report(Verification(classes, (file,), passed=True), None)
    page = Page(rendered(report))
    assert "100 classes are too many to draw" in page.text()
    assert "species 99" in page.text()
    assert page.tags.count("svg") == 4


def test_the_json_is_plain_and_complete(tmp_path: Path) -> None:
    nan = dataclasses.replace(values.history("train", 1, 0.5)[0], loss=float("nan"))
    report = values.report(training=(nan,), best_training=0)
    write_report(report, values.pictures(report), tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        "report.html",
        "report.json",
        "report.md",
    }
    data = json.loads((tmp_path / "report.json").read_text(), parse_constant=pytest.fail)
    assert data["schema"] == 2
    assert data["training"][0]["loss"] is None
    assert data["choices"][0]["file"] == "digits.int8-qat.tflite"
    assert data["benchmark"]["measurements"][0]["latency"]["p50_ms"]["value"] == 0.46
    assert data["verification"]["files"][1]["confusion"] == [
        list(r) for r in values.FILES[1].confusion
    ]
    assert data["lineage"] == [dataclasses.asdict(link) for link in report.lineage]


def test_the_same_report_is_the_same_page(html: str) -> None:
    assert rendered(values.report()) == html


def measured_width(html: str, folder: Path) -> tuple[int, int]:
    """(inner width, scroll width) of the page in a frame as wide as a phone, told by chromium."""
    wrapper, page = folder / "phone.html", json.dumps(html).replace("<", "\\u003c")
    # A frame, because chromium's own window has a least width that is more than a phone's.
    wrapper.write_text(
        f"""<!doctype html><body><iframe id=f style="width:{PHONE_PIXELS}px;height:800px;border:0">
        </iframe><script>
        const frame = document.getElementById("f");
        frame.onload = () => {{
          const root = frame.contentDocument.documentElement;
          if (frame.contentDocument.querySelector("main"))
            document.title = frame.contentWindow.innerWidth + " " + root.scrollWidth;
        }};
        frame.srcdoc = {page};
        </script>""",
        encoding="utf-8",
    )
    done = subprocess.run(
        [
            CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
            "--disable-background-networking", f"--user-data-dir={folder / 'profile'}",
            "--virtual-time-budget=5000", "--dump-dom", wrapper.as_uri(),
        ],
        capture_output=True, timeout=120, check=True, text=True,
    )  # fmt: skip
    found = re.search(r"<title>(\d+) (\d+)</title>", done.stdout)
    assert found, done.stdout[:500] + done.stderr[-500:]
    return int(found[1]), int(found[2])


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
@pytest.mark.parametrize("name", ["digits", "a-very-long-name-without-an-end" * 8])
def test_a_phone_needs_no_sideways_scroll(name: str, tmp_path: Path) -> None:
    inner, scroll = measured_width(rendered(evil_report(name)), tmp_path)
    assert inner == PHONE_PIXELS
    assert scroll <= PHONE_PIXELS


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
def test_a_large_matrix_scrolls_in_its_own_box(tmp_path: Path) -> None:
    classes = tuple(f"species number {at}" for at in range(30))
    file = dataclasses.replace(values.FILES[1], confusion=values.confusion(30))
    report = values.report(Verification(classes, (file,), passed=True))
    assert measured_width(rendered(report), tmp_path)[1] <= PHONE_PIXELS


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
def test_the_width_test_sees_a_page_that_is_too_wide(html: str, tmp_path: Path) -> None:
    wide = html.replace("<main>", '<main><div style="width:900px">wide</div>')
    assert measured_width(wide, tmp_path)[1] > PHONE_PIXELS


def test_what_phones_said_is_shown_everywhere_and_chooses_nothing(tmp_path: Path) -> None:
    made = make_report(dataclasses.replace(values.run_values(), phones=(values.PHONE,)))
    assert made.choices == values.report().choices
    write_report(made, values.pictures(made), tmp_path)
    words = Page((tmp_path / "report.html").read_text()).text()
    assert "On a phone: Example <9> (android 14)" in words
    assert "0.870" in words
    assert "the log ends before this model was timed" in words
    text = (tmp_path / "report.md").read_text()
    assert "On a phone, Example &lt;9&gt; (android 14):" in text
    assert "litert, cpu, 4 threads" in text
    data = json.loads((tmp_path / "report.json").read_text())
    assert data["phones"][0]["machine"]["phone"] == "Example <9>"
    assert data["phones"][0]["measurements"][0]["latency"]["p50_ms"]["value"] == 0.87


def test_int8_onnx_files_are_said_to_run_alike_everywhere(html: str) -> None:
    told = "compute the same integers on every processor"
    assert told in html
    files = tuple(one for one in values.VERIFICATION.files if one.format == "tflite")
    alone = dataclasses.replace(values.VERIFICATION, files=files)
    assert told not in render_html(values.report(alone, None), Pictures())
