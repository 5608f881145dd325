"""service.py: through FastAPI's test client, and once for real over loopback."""

from __future__ import annotations

import concurrent.futures
import importlib.util
import io
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from conftest import Unpacked, free_port, our_answers
from PIL import Image

pytest.importorskip("fastapi")
pytest.importorskip("httpx")
testclient = pytest.importorskip("fastapi.testclient")

LABELS = ["red", "green", "blue"]
TOLERANCE = 1e-6
SECONDS_TO_START = 60


@pytest.fixture(scope="module")
def server(unpacked) -> Unpacked:
    return unpacked("server")


@pytest.fixture(scope="module")
def service(server: Unpacked):
    """service.py of the bundle as a module; it imports the script beside it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(server.folder))
        patch.delitem(sys.modules, "infer_onnx", raising=False)
        spec = importlib.util.spec_from_file_location("service", server.folder / "service.py")
        module = importlib.util.module_from_spec(spec)
        patch.setitem(sys.modules, "service", module)
        spec.loader.exec_module(module)
        yield module


@pytest.fixture
def client(service):
    with testclient.TestClient(service.app) as client:
        yield client


def small(service, **limits: object):
    """The service with other limits."""
    return testclient.TestClient(service.create_app(limits=service.Limits(**limits)))


def send(client, data: bytes, name: str = "photo.jpg", **query: object):
    return client.post("/classify", files={"photo": (name, data)}, params=query)


def jpeg(size: tuple[int, int] = (40, 30), colour: str = "red") -> bytes:
    data = io.BytesIO()
    Image.new("RGB", size, colour).save(data, "JPEG")
    return data.getvalue()


def test_health_tells_what_is_served(client, server) -> None:
    answer = client.get("/health")
    assert answer.status_code == 200
    assert answer.json() == {"status": "ok", "model": "tiny.int8-qat.onnx", "labels": LABELS}


def test_every_photo_is_classified_as_by_our_runner(client, server, photos) -> None:
    ours = our_answers(server.folder / "tiny.int8-qat.onnx", photos)
    for path, row in zip(ours.paths, ours.probabilities, strict=True):
        answer = send(client, path.read_bytes(), path.name)
        assert answer.status_code == 200, answer.text
        top = answer.json()["top"]
        assert [entry["label"] for entry in top] == [LABELS[at] for at in np.argsort(-row)]
        given = [entry["probability"] for entry in top]
        np.testing.assert_allclose(given, np.sort(row)[::-1], atol=TOLERANCE)


def test_top_limits_the_classes(client) -> None:
    assert len(send(client, jpeg(), top=1).json()["top"]) == 1
    assert send(client, jpeg(), top=0).status_code == 422


def test_a_body_that_declares_too_much_is_refused(service) -> None:
    with small(service, upload_bytes=1000) as client:
        assert send(client, bytes(2000)).status_code == 413


def test_a_body_just_below_the_limit_is_taken(service) -> None:
    photo = jpeg() + bytes(9000)  # what follows a JPEG's end is not read
    with small(service, upload_bytes=10_000) as client:
        answer = send(client, photo)
    assert int(answer.request.headers["Content-Length"]) > 9000
    assert answer.status_code == 200, answer.text


def test_a_body_that_grows_too_long_is_refused_while_it_arrives(service) -> None:
    sent = []

    def endless():
        yield b'--edge\r\nContent-Disposition: form-data; name="photo"; filename="a"\r\n\r\n'
        for _ in range(1000):
            sent.append(1)
            yield bytes(1000)

    with small(service, upload_bytes=10_000) as client:
        kind = {"Content-Type": "multipart/form-data; boundary=edge"}
        answer = client.post("/classify", content=endless(), headers=kind)
    assert answer.status_code == 413
    assert "10,000 bytes" in answer.json()["detail"]


@pytest.mark.parametrize("data", [b"", b"no photo", b"<svg/>", b"%PDF-1.7", bytes(5000)])
def test_what_is_no_photo_is_refused(client, data: bytes) -> None:
    answer = send(client, data)
    assert answer.status_code == 415
    assert "JPEG" in answer.json()["detail"]


def test_a_photo_that_was_cut_off_is_refused(client) -> None:
    whole = jpeg((400, 300))
    assert send(client, whole[: len(whole) // 2]).status_code == 422


def test_a_photo_with_too_many_pixels_is_refused_before_it_is_decoded(service) -> None:
    with small(service, pixels=1000) as client:
        assert send(client, jpeg((40, 30))).status_code == 413
        assert send(client, jpeg((30, 30))).status_code == 200


def test_no_photo_at_all_is_a_mistake_of_the_client(client) -> None:
    assert client.post("/classify").status_code == 422
    assert client.get("/classify").status_code == 405


def test_photos_that_come_together_share_a_call_and_get_their_own_answers(
    service, monkeypatch
) -> None:
    calls = []
    real = service.Classifier.classify

    def watched(self, pixels):
        calls.append(len(pixels))
        return real(self, pixels)

    monkeypatch.setattr(service.Classifier, "classify", watched)
    colours = LABELS * 8
    pool = concurrent.futures.ThreadPoolExecutor(len(colours))
    with small(service, wait_seconds=0.5, batch=8) as client, pool:
        answers = list(pool.map(lambda c: send(client, jpeg(colour=c), top=1), colours))
    got = [answer.json()["top"][0]["label"] for answer in answers]
    assert got == colours
    assert sum(calls) == len(colours)
    assert len(calls) < len(colours)
    assert max(calls) <= 8


def test_more_photos_than_may_wait_are_told_to_come_again(service, monkeypatch) -> None:
    real = service.Classifier.classify

    def slow(self, pixels):
        time.sleep(0.3)
        return real(self, pixels)

    monkeypatch.setattr(service.Classifier, "classify", slow)
    pool = concurrent.futures.ThreadPoolExecutor(12)
    with small(service, batch=1, waiting=1, decoders=16) as client, pool:
        answers = list(pool.map(lambda _: send(client, jpeg()), range(12)))
    codes = {answer.status_code for answer in answers}
    assert codes == {200, 503}
    refused = next(answer for answer in answers if answer.status_code == 503)
    assert refused.headers["Retry-After"] == "1"


def test_a_model_that_fails_is_told_and_the_service_goes_on(service, monkeypatch) -> None:
    app = service.create_app()
    with testclient.TestClient(app, raise_server_exceptions=False) as client:
        with monkeypatch.context() as patch:
            patch.setattr(service.np, "stack", lambda _: np.zeros((1, 2, 2, 3), np.uint8))
            assert send(client, jpeg()).status_code == 500
        assert send(client, jpeg()).status_code == 200


def test_it_runs_under_uvicorn(server: Unpacked, photos: Path) -> None:
    """The command of the README, at a free port of this machine."""
    pytest.importorskip("uvicorn")
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "service:app", "--port", str(port)]
    process = subprocess.Popen(command, cwd=server.folder, stderr=subprocess.PIPE, text=True)
    try:
        for line in process.stderr:
            if "Uvicorn running" in line:
                break
        else:
            pytest.fail("uvicorn ended before it listened")
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=10) as answer:
            assert answer.status == 200
        body = b'--edge\r\nContent-Disposition: form-data; name="photo"; filename="a.jpg"\r\n\r\n'
        body += (photos / "turned.jpg").read_bytes() + b"\r\n--edge--\r\n"
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/classify?top=1",
            body,
            {"Content-Type": "multipart/form-data; boundary=edge"},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert b'"label":"red"' in answer.read()
    finally:
        process.terminate()
        process.wait(10)
        process.stderr.close()
