"""The page of a web bundle in headless Chromium, served by its own serve.py over loopback."""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from browser import Browser, browsing, find_browser
from conftest import Unpacked, our_answers
from page_client import answers_of, says, serving

MODELS = ("tiny.int8-qat.tflite", "tiny.fp32.onnx")
LABELS = ("red", "green", "blue")
LEAST_AGREEMENT = 0.98
TOLERANCE = {
    # Probabilities of the same pixels: sums in another order; whole steps of an integer file.
    "tiny.fp32.onnx": 1e-5,
    "tiny.int8-qat.tflite": 1.5 / 256,
}
# Of one photo in the page's words, "97.3 %".
WORDS = 0.2
SECONDS = 60

pytestmark = pytest.mark.skipif(find_browser() is None, reason="no Chromium is installed")


@pytest.fixture(scope="module")
def web(unpacked, photos: Path) -> Unpacked:
    """The unpacked bundle, with photos in it that the page's own code can fetch."""
    bundle = unpacked("web")
    (bundle.folder / "photos").symlink_to(photos)
    return bundle


@pytest.fixture(scope="module")
def url(web: Unpacked) -> Iterator[str]:
    """Where the bundle's serve.py serves it: a free port of this machine."""
    with serving(web.folder) as address:
        yield address


@pytest.fixture(scope="module")
def page(url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """The page, with its first model open."""
    with browsing(tmp_path_factory.mktemp("profile")) as browser:
        browser.open(url)
        browser.wait(says("is open"), SECONDS)
        yield browser


def text_of(page: Browser, element: str) -> str:
    return str(page.evaluate(f"document.getElementById({json.dumps(element)}).textContent"))


def choose(page: Browser, model: str) -> None:
    page.evaluate(
        f"""(() => {{
            const list = document.getElementById("model");
            list.value = {json.dumps(model)};
            list.dispatchEvent(new Event("change"));
        }})()"""
    )
    page.wait(says(f"{model} is open"), SECONDS)


def shown(page: Browser) -> list[tuple[str, float]]:
    """(label, per cent) of the classes on the screen."""
    rows = page.evaluate(
        "[...document.querySelectorAll('#answers li')].map((row) => row.innerText.split('\\n'))"
    )
    return [(label, float(share.strip("<> %"))) for label, share in rows]


def test_both_runtimes_can_be_chosen_and_threads_be_had(page: Browser) -> None:
    options = page.evaluate("[...document.getElementById('model').options].map((o) => o.text)")
    assert options == ["int8-qat, LiteRT.js", "fp32, onnxruntime-web"]
    assert page.evaluate("crossOriginIsolated") is True


@pytest.mark.parametrize("model", MODELS)
def test_photos_get_the_class_that_our_runner_gives_them(
    model: str, page: Browser, web: Unpacked, photos: Path
) -> None:
    ours = our_answers(web.folder / model, photos)
    assert len(ours.paths) >= 50
    found = answers_of(page, model, ours, photos)
    same = found.argmax(axis=1) == ours.probabilities.argmax(axis=1)
    assert same.mean() >= LEAST_AGREEMENT
    # Where the browser decodes to the same pixels, the answers are the same.
    exact = [at for at, path in enumerate(ours.paths) if path.suffix in (".png", ".gif", ".webp")]
    exact = [at for at in exact if ours.paths[at].stem not in ("clear", "grey-16-bit")]
    assert len(exact) >= 3
    np.testing.assert_allclose(found[exact], ours.probabilities[exact], atol=TOLERANCE[model])


@pytest.mark.parametrize("model", MODELS)
def test_a_chosen_photo_is_shown_with_its_classes_and_times(
    model: str, page: Browser, web: Unpacked, photos: Path
) -> None:
    choose(page, model)
    page.give_file("#file", photos / "turned.jpg")
    page.wait(says("turned.jpg, 60 × 90"), SECONDS)
    ours = our_answers(web.folder / model, photos)
    row = ours.probabilities[ours.paths.index(photos / "turned.jpg")]
    labels, shares = zip(*shown(page), strict=True)
    assert labels[0] == LABELS[int(row.argmax())] == "red"
    assert shares[0] == pytest.approx(100 * row.max(), abs=100 * TOLERANCE[model] + WORDS + 1)
    assert page.evaluate("document.getElementById('stage').dataset.shows") == "photo"
    assert page.evaluate("document.getElementById('photo').naturalHeight") == 90
    assert re.fullmatch(r"[\d.]+ ms", text_of(page, "run"))


def test_a_button_gives_the_median_of_50_runs(page: Browser, photos: Path) -> None:
    choose(page, MODELS[0])
    page.give_file("#file", photos / "grey.png")
    page.wait(says("grey.png"), SECONDS)
    page.evaluate("document.getElementById('measure').click()")
    page.wait(says("median of 50 runs; the slowest took"), SECONDS)
    median = float(text_of(page, "median").removesuffix(" ms"))
    slowest = float(re.search(r"took ([\d.]+) ms", text_of(page, "status"))[1])
    assert 0 <= median <= slowest


def test_a_dropped_photo_is_classified(page: Browser) -> None:
    page.evaluate(
        """(async () => {
            const blob = await (await fetch("/photos/photo-00.jpg")).blob();
            const dropped = new DataTransfer();
            dropped.items.add(new File([blob], "dropped.jpg", { type: "image/jpeg" }));
            const event = new DragEvent("drop", { dataTransfer: dropped, cancelable: true });
            document.getElementById("stage").dispatchEvent(event);
        })()"""
    )
    page.wait(says("dropped.jpg"), SECONDS)
    assert shown(page)[0][0] == "red"


def test_what_is_no_photo_is_said_and_the_page_goes_on(page: Browser, photos: Path) -> None:
    page.give_file("#file", photos / "notes.txt")
    page.wait(says("notes.txt is no photo that this browser reads"), SECONDS)
    assert page.evaluate("document.getElementById('status').classList.contains('wrong')")
    page.give_file("#file", photos / "grey.png")
    page.wait(says("grey.png"), SECONDS)


def test_the_camera_is_watched_until_it_is_stopped(page: Browser) -> None:
    page.evaluate("document.getElementById('camera').click()")
    page.wait(says("the camera is on"), SECONDS)
    page.wait("document.querySelectorAll('#answers li').length === 3", SECONDS)
    assert page.evaluate("document.getElementById('video').srcObject.active")
    # The browser's test camera shows green.
    page.wait(
        "document.querySelector('#answers li span').textContent === 'green'",
        SECONDS,
    )
    page.evaluate("document.getElementById('camera').click()")
    page.wait("!document.getElementById('video').srcObject.active", SECONDS)
    assert text_of(page, "camera") == "Camera"


def test_nothing_was_asked_of_another_place(page: Browser, url: str) -> None:
    """Runs last: every request of the tests above, runtimes and models included."""
    local = (url, "blob:", "data:")
    assert {each for each in page.requested() if not each.startswith(local)} == set()
    refused = page.evaluate("fetch('http://127.0.0.1:9/').then(() => 'sent', () => 'refused')")
    assert refused == "refused"


class TestServer:
    def test_files_have_the_types_and_headers_that_browsers_ask_for(self, url: str) -> None:
        for name, kind in {
            "": "text/html",
            "app.js": "text/javascript",
            "vendor/onnxruntime-web/ort-wasm-simd-threaded.mjs": "text/javascript",
            "vendor/litertjs/wasm/litert_wasm_internal.wasm": "application/wasm",
            MODELS[1]: "application/octet-stream",
        }.items():
            with urllib.request.urlopen(url + name, timeout=10) as answer:
                assert answer.headers.get_content_type() == kind, name
                assert answer.headers["Cross-Origin-Opener-Policy"] == "same-origin"
                assert answer.headers["Cross-Origin-Embedder-Policy"] == "require-corp"

    @pytest.mark.parametrize("path", ["vendor/", "%2e%2e/tiny-web.zip", "%2e%2e/%2e%2e/etc/passwd"])
    def test_folders_and_what_lies_above_are_not_served(self, path: str, url: str) -> None:
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(url + path, timeout=10)
        assert refused.value.code == 404
