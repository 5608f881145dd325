"""`toolchain data check` as a user types it: exit codes, JSON, page, list, hostile input."""

from __future__ import annotations

import errno
import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from command_line import in_process, toolchain
from photo_files import class_folders, photo, write_folder, write_zip
from test_audit_findings import benchmark, good
from test_data_containers import EVIL

from toolchain.cli.app import main

MALFORMED = 300
KINDS = (("JPEG", "jpg"), ("PNG", "png"), ("GIF", "gif"), ("WEBP", "webp"), ("BMP", "bmp"))
MAX_MEMORY_MIB = 1024
# VmHWM, since ru_maxrss would count what pytest itself held when it started the child.
CHILD = """
import re, runpy, sys
from pathlib import Path
sys.argv = ["toolchain", *sys.argv[1:]]
try:
    runpy.run_module("toolchain", run_name="__main__")
finally:
    peak = re.search(r"VmHWM:\\s*(\\d+)", Path("/proc/self/status").read_text())[1]
    sys.stderr.write(f"peak {peak}\\n")
"""


def run(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return in_process("data", "check", *arguments, cwd=cwd)


def test_good_photos_exit_with_0_and_say_so(tmp_path):
    done = toolchain("data", "check", write_folder(tmp_path, good(60)))
    assert done.returncode == 0, done.stderr
    assert "60 are good" in done.stderr
    assert "2 classes: a 30, b 30" in done.stderr
    assert "nothing found" in done.stderr
    assert done.stdout == ""


def test_an_error_exits_with_2_and_is_named(tmp_path):
    files = good(60) | {"a/cut.jpg": good(1)["a/0.jpg"][:700], "b/none.jpg": b""}
    done = run(write_folder(tmp_path, files))
    assert done.returncode == 2
    assert "a/cut.jpg" in done.stderr
    assert "truncated" in done.stderr
    assert "b/none.jpg" in done.stderr


def test_json_has_the_schema_that_programs_rely_on(tmp_path):
    files = good(60) | {"a/none.jpg": b""}
    done = run(write_folder(tmp_path, files), "--json", "--no-near")
    data = json.loads(done.stdout)
    assert done.returncode == 2
    assert set(data) == {
        "schema", "path", "layout", "images", "decoded", "bytes", "near", "seconds", "passed",
        "notes", "splits", "kinds", "findings",
    }  # fmt: skip
    assert (data["schema"], data["images"], data["decoded"]) == (1, 61, 60)
    assert data["passed"] is False
    assert data["near"] is False
    assert data["kinds"]["empty"]["count"] == 1
    assert data["kinds"]["near-duplicate"]["count"] == 0
    assert data["findings"] == [
        {
            "kind": "empty",
            "severity": "error",
            "names": ["a/none.jpg"],
            "detail": "",
            "exclude": ["a/none.jpg"],
        }
    ]
    assert sum(sum(counted.values()) for counted in data["splits"].values()) == 60


class Page(HTMLParser):
    """Tags, attributes and text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href", "srcset")]

    def handle_data(self, data):
        self.words.append(data)


def test_the_page_stands_alone_and_shows_pictures(tmp_path):
    files = good(60) | {"a/copy.jpg": good(1)["a/0.jpg"], "a/none.jpg": b""}
    page = tmp_path / "page.html"
    done = run(write_folder(tmp_path / "p", files), "--html", page)
    assert done.returncode == 2
    text = page.read_text(encoding="utf-8")
    parsed = Page(text)
    assert parsed.tags.count("img") == 2
    assert all(link.startswith(("data:image/jpeg;base64,", "#")) for link in parsed.links)
    assert "script" not in parsed.tags
    assert not re.search(r"https?:|url\(", text)
    assert "a/none.jpg" in " ".join(parsed.words)
    assert len(text) < 60_000


def test_a_name_of_markup_stays_text(tmp_path):
    evil = "<img src=x onerror=alert(1)>.jpg"
    files = good(40) | {f"a/{evil}": b"", "<b>/1.png": photo(1), "<b>/2.png": photo(2)}
    page = tmp_path / "page.html"
    run(write_folder(tmp_path / "p", files), "--html", page)
    parsed = Page(page.read_text(encoding="utf-8"))
    assert f"a/{evil}" in " ".join(parsed.words)
    assert "img" not in parsed.tags
    assert "b" not in parsed.tags


def test_odd_names_are_listed_and_excluded(tmp_path):
    """Not UTF-8, a comment's mark, an escape sequence: told harmlessly, left out exactly."""
    names = [b"a/\xff.jpg".decode("utf-8", "surrogateescape"), "a/#1.jpg", "a/\x1b[31m.jpg"]
    files = good(60) | dict.fromkeys(names, b"")
    folder = write_folder(tmp_path / "p", files)
    listed = tmp_path / "exclude.txt"
    page = tmp_path / "page.html"
    done = run(folder, "--write-exclude", listed, "--html", page, "--json")
    assert done.returncode == 2, done.stderr
    assert "\x1b" not in done.stderr
    assert json.loads(done.stdout)["kinds"]["empty"]["count"] == 3
    recipe = tmp_path / "r.toml"
    recipe.write_text(f'[data]\npath = "{folder}"\nexclude = "{listed}"\n')
    again = run("--recipe", recipe)
    assert again.returncode == 0, again.stderr


def test_the_list_says_why(tmp_path):
    files = good(60) | {"a/none.jpg": b"", "a/copy.jpg": good(1)["a/0.jpg"]}
    listed = tmp_path / "exclude.txt"
    run(write_folder(tmp_path / "p", files), "--write-exclude", listed)
    assert listed.read_text() == "# empty\na/none.jpg\n# duplicate\na/copy.jpg\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "received both or neither"),
        (("photos", "--recipe", "digits"), "received both or neither"),
        (("nowhere",), "found none"),
        (("photos", "--html", "no/such/page.html"), "in a folder that is there"),
        (("photos", "--write-exclude", "photos"), "in a folder that is there"),
        (("photos", "--set", "data.seeed=1"), "did you mean data.seed"),
    ],
)
def test_a_wrong_command_is_told_before_any_work(arguments, words, tmp_path):
    write_folder(tmp_path / "photos", class_folders())
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert words in done.stderr
    assert len(done.stderr.splitlines()) <= 3


@pytest.mark.parametrize("command", ["check --html", "check --write-exclude", "preview --out"])
@pytest.mark.parametrize(("place", "code"), [("a pipe", 2), ("a full disk", 4)])
def test_a_file_that_cannot_be_written_is_told_before_any_work(
    command, place, code, tmp_path, monkeypatch
):
    def touch(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    photos = write_folder(tmp_path / "photos", class_folders())
    out = tmp_path / "out.x"
    if place == "a pipe":
        os.mkfifo(out)
    else:
        monkeypatch.setattr(Path, "touch", touch)
    monkeypatch.chdir(tmp_path)
    name, option = command.split()
    data = [photos] if name == "check" else ["--data", photos]
    done = in_process("data", name, *data, option, out)
    assert done.returncode == code
    assert len(done.stderr.splitlines()) <= 3
    assert sorted(tmp_path.iterdir()) == sorted([photos, *([out] if place == "a pipe" else [])])


def test_what_was_found_is_told_where_the_page_cannot_be_written_after_all(tmp_path, monkeypatch):
    def fsync(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    photos = write_folder(tmp_path / "photos", good(40))
    monkeypatch.setattr(os, "fsync", fsync)
    done = run(photos, "--no-near", "--html", tmp_path / "page.html")
    assert done.returncode == 4
    assert "40 are good" in done.stderr
    assert "No space left" in done.stderr


def test_names_that_no_list_can_hold_are_told_and_not_counted(tmp_path):
    photos = write_folder(tmp_path / "p", good(40) | {"a/none.jpg": b"", "a/two\nlines.jpg": b""})
    listed = tmp_path / "exclude.txt"
    done = run(photos, "--no-near", "--write-exclude", listed)
    assert done.returncode == 2
    assert f"1 names in {listed}" in done.stderr
    assert "1 more cannot be listed" in done.stderr
    assert "rename them, such as 'a/two\\nlines.jpg'" in done.stderr
    assert listed.read_text() == "# empty\na/none.jpg\n"


@pytest.mark.parametrize("make", EVIL, ids=lambda make: make.__name__)
def test_an_evil_archive_is_refused_and_nothing_is_written(make, tmp_path, monkeypatch, capsys):
    folder = tmp_path / "deep" / "er"
    folder.mkdir(parents=True)
    path = make(folder)
    before = sorted(tmp_path.rglob("*"))
    monkeypatch.chdir(folder)
    outputs = ["--html", str(tmp_path / "p.html"), "--write-exclude", str(tmp_path / "e")]
    monkeypatch.setattr(sys, "argv", ["toolchain", "data", "check", str(path), *outputs])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert len(said.splitlines()) <= 3
    assert sorted(tmp_path.rglob("*")) == before


def malformed(seed: int) -> tuple[str, bytes]:
    """A damaged image: bytes changed, cut, doubled, moved, or another format's header."""
    rng = np.random.default_rng(seed)
    kind, ending = KINDS[seed % 5]
    data = bytearray(benchmark.encoded(benchmark.drawn(seed), kind))
    way = seed // 5 % 5
    if way == 0:
        del data[int(rng.integers(1, len(data))) :]
    elif way == 1:
        for at in rng.integers(0, len(data), 40):
            data[at] = int(rng.integers(0, 256))
    elif way == 2:
        data[: min(64, len(data))] = rng.bytes(64)
    elif way == 3:
        # Sizes stand in the first bytes after the signature: they claim something else now.
        for at in rng.integers(4, 40, 6):
            data[at] = int(rng.choice([0, 1, 127, 255]))
    else:
        start = int(rng.integers(0, len(data)))
        data[start:start] = rng.bytes(int(rng.integers(1, 5000)))
    return f"{'ab'[seed % 2]}/{seed}.{ending}", bytes(data)


def test_malformed_images_end_in_a_list_not_in_a_traceback(tmp_path):
    files = dict(malformed(seed) for seed in range(MALFORMED))
    # The largest that are still decoded, and beyond: memory must not follow what they claim.
    files["a/bomb.png"] = benchmark.png(60000, 60000, 8, 6, bytes(1000))
    files["b/large.png"] = benchmark.png(7000, 7000, 8, 6, bytes(7000 * (7000 * 4 + 1)))
    files["a/large.png"] = benchmark.png(7000, 7000, 8, 2, bytes(7000 * (7000 * 3 + 1)))
    folder = write_folder(tmp_path / "p", files)
    page = tmp_path / "page.html"
    done = subprocess.run(
        [sys.executable, "-c", CHILD, "data", "check", folder, "--json", "--html", page],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    data = json.loads(done.stdout)
    broken = {name for f in data["findings"] for name in f["exclude"] if f["severity"] == "error"}
    assert data["images"] == MALFORMED + 3
    assert data["decoded"] + len(broken - two_labels(data)) == data["images"]
    assert len(broken) > MALFORMED / 3
    peak = int(re.search(r"peak (\d+)", done.stderr).group(1)) / 1024
    assert peak < MAX_MEMORY_MIB


def two_labels(data):
    return {n for f in data["findings"] if f["kind"] == "two-labels" for n in f["names"]}


def test_an_archive_is_checked_where_it_lies(tmp_path):
    path = write_zip(tmp_path / "photos.zip", good(60))
    before = sorted(tmp_path.rglob("*"))
    done = run(path, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert sorted(tmp_path.rglob("*")) == before
