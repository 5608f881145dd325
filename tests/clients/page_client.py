"""The page of a web bundle as a client: served by its own serve.py, asked by its own functions."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from browser import Browser
from conftest import Answers


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[str]:
    """The bundle in `folder` at a free port of this machine; gives its address."""
    spec = importlib.util.spec_from_file_location("serve", folder / "serve.py")
    serve = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(serve)
    serve.Handler.log_message = lambda *_: None
    with serve.make_server(folder, "127.0.0.1", 0) as server:
        # A page that is closed while a file is on its way is no news.
        server.handle_error = lambda *_: None
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()


def says(text: str) -> str:
    return f"document.getElementById('status').textContent.includes({json.dumps(text)})"


def answers_of(page: Browser, model: str, ours: Answers, photos: Path) -> np.ndarray:
    """Probabilities [n, classes] of the photos of `ours`, by the functions that the page calls."""
    names = [path.relative_to(photos).as_posix() for path in ours.paths]
    rows = page.evaluate(
        f"""(async () => {{
            const {{ decode, resize, toProbabilities, toTensor }} = await import("/photo.js");
            const {{ open }} = await import("/runtimes.js");
            const {{ files }} = await (await fetch("/contract.json")).json();
            const contract = files[{json.dumps(model)}].contract;
            const opened = await open({json.dumps(model)}, contract, 1);
            const rows = [];
            for (const name of {json.dumps(names)}) {{
                const image = await decode(await (await fetch("/photos/" + name)).blob());
                const tensor = toTensor(resize(image, contract.preprocessing), contract);
                rows.push(toProbabilities(await opened.run(tensor), contract));
            }}
            opened.close();
            return rows;
        }})()"""
    )
    return np.asarray(rows)
