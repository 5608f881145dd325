"""A small HTTP service: send a photo, get its classes; photos that come together share a batch.

    pip install -r requirements.txt
    uvicorn service:app --port 8000
    curl -F photo=@photo.jpg http://127.0.0.1:8000/classify

It listens to this machine only unless uvicorn is given --host, and knows no users: put it behind
a proxy that does. One process holds one model; for more cores start it with --workers.
"""

from __future__ import annotations

import asyncio
import io
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import numpy as np
from fastapi import FastAPI, HTTPException, Query, UploadFile
from infer_onnx import Classifier, to_pixels
from PIL import Image

FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "GIF")


@dataclass(frozen=True)
class Limits:
    """What one request may cost, and how requests are gathered.

    Attributes:
      upload_bytes: of a request's body.
      pixels: width times height of a photo; decoded, each takes 3 bytes.
      batch: photos in one call of the model.
      wait_seconds: how long the first photo of a batch waits for others.
      waiting: photos that may wait for the model; further requests are refused with 503.
      decoders: photos decoded at the same time.
    """

    upload_bytes: int = 10 * 1024 * 1024
    pixels: int = 50_000_000
    batch: int = 8
    wait_seconds: float = 0.005
    waiting: int = 64
    decoders: int = field(default_factory=lambda: os.cpu_count() or 1)


class Batcher:
    """Gathers photos for a few milliseconds and classifies them in one call."""

    def __init__(self, classify: Callable[[np.ndarray], np.ndarray], limits: Limits) -> None:
        self._classify, self._limits = classify, limits
        self._queue: asyncio.Queue = asyncio.Queue(limits.waiting)

    async def classify(self, pixels: np.ndarray) -> np.ndarray:
        """One photo, uint8 [size, size, 3] -> probabilities [classes]."""
        answer = asyncio.get_running_loop().create_future()
        try:
            self._queue.put_nowait((pixels, answer))
        except asyncio.QueueFull:
            raise HTTPException(503, "too many photos are waiting", {"Retry-After": "1"}) from None
        return await answer

    async def run(self) -> None:
        """Answer photos until cancelled."""
        while True:
            photos, answers = zip(*await self._gather(), strict=True)
            try:
                rows = list(await asyncio.to_thread(self._classify, np.stack(photos)))
            except Exception as error:
                rows = [error] * len(answers)
            for answer, row in zip(answers, rows, strict=True):
                if answer.done():  # cancelled: its client has gone
                    continue
                if isinstance(row, Exception):
                    answer.set_exception(row)
                else:
                    answer.set_result(row)

    async def _gather(self) -> list:
        batch = [await self._queue.get()]

        async def fill() -> None:
            while len(batch) < self._limits.batch:
                batch.append(await self._queue.get())

        with suppress(asyncio.TimeoutError):  # in Python 3.10 not yet the built-in one
            await asyncio.wait_for(fill(), self._limits.wait_seconds)
        return batch


class LimitUpload:
    """Refuses a body that is longer than allowed, by what it declares and while it arrives."""

    def __init__(self, app: Callable[..., Awaitable[None]], most: int) -> None:
        self._app, self._most = app, most

    async def __call__(self, scope: dict, receive: Callable, send: Callable) -> None:
        """Pass the request on; reading its body raises 413 once it is too long."""
        length = dict(scope.get("headers", ())).get(b"content-length", b"0")
        declared, received = int(length) if length.isdigit() else 0, 0

        async def receive_some() -> dict:
            nonlocal received
            if max(declared, received) <= self._most:
                message = await receive()
                received += len(message.get("body", b""))
            if max(declared, received) > self._most:
                raise HTTPException(413, f"expected at most {self._most:,} bytes")
            return message

        await self._app(scope, receive_some, send)


def decode(data: bytes, how: dict, most_pixels: int) -> np.ndarray:
    """The bytes of a photo as uint8 [size, size, 3]; what cannot be decoded is refused."""
    try:
        photo = Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise HTTPException(413, "the photo has too many pixels") from error
    except Exception as error:
        raise HTTPException(415, f"expected a photo: {', '.join(FORMATS)}") from error
    if photo.width * photo.height > most_pixels:
        raise HTTPException(413, f"expected at most {most_pixels:,} pixels")
    try:
        return to_pixels(photo, how)
    except Exception as error:
        raise HTTPException(422, "the photo is damaged or cut off") from error


def create_app(model: Path | None = None, limits: Limits = Limits()) -> FastAPI:
    """The service; `model` is the .onnx file, by default $MODEL or the one beside this file."""
    path = model or Path(os.environ.get("MODEL") or min(Path(__file__).parent.glob("*.onnx")))
    classifier = Classifier(path)
    labels = classifier.contract["labels"]

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        # Made here, because queues and semaphores belong to the event loop that they run in.
        app.state.batcher = Batcher(classifier.classify, limits)
        app.state.decoders = asyncio.Semaphore(limits.decoders)
        worker = asyncio.create_task(app.state.batcher.run())
        yield
        worker.cancel()

    app = FastAPI(title=classifier.contract["name"], lifespan=lifespan)
    app.add_middleware(LimitUpload, most=limits.upload_bytes)

    @app.get("/health")
    async def health() -> dict:
        """Whether the service is up, and what it serves."""
        return {"status": "ok", "model": path.name, "labels": labels}

    @app.post("/classify")
    async def classify(photo: UploadFile, top: Annotated[int, Query(ge=1)] = 5) -> dict:
        """The most probable classes of a photo, best first."""
        async with app.state.decoders:
            data = await photo.read()
            pixels = await asyncio.to_thread(
                decode, data, classifier.contract["preprocessing"], limits.pixels
            )
        row = await app.state.batcher.classify(pixels)
        best = np.argsort(-row, kind="stable")[:top]
        return {"top": [{"label": labels[at], "probability": float(row[at])} for at in best]}

    return app


app = create_app()
