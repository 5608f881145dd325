"""The terminal: messages reach stderr, answers stdout, and native noise only the log."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

from toolchain.terminal import _so_far


def python(code, *arguments):
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )


NOISY = """
import os, sys
from pathlib import Path
from toolchain.terminal import native_log, say
with native_log(Path(sys.argv[1])):
    os.write(1, b"native out\\n")
    os.write(2, b"native err\\n")
    os.system("echo from a child")
    print("python out")
    print("python err", file=sys.stderr)
    say("for the person")
os.write(1, b"after out\\n")
os.write(2, b"after err\\n")
"""


def test_native_output_goes_to_the_log_and_messages_to_the_person(tmp_path):
    log = tmp_path / "train.log"
    done = python(NOISY, log)
    assert done.stdout == "after out\n"
    assert done.stderr.splitlines() == ["for the person", "after err"]
    for line in ("native out", "native err", "from a child", "python out", "python err"):
        assert line in log.read_text().splitlines()


def test_the_log_is_appended_to(tmp_path):
    log = tmp_path / "train.log"
    python(NOISY, log)
    python(NOISY, log)
    assert log.read_text().count("native err") == 2


def test_descriptors_come_back_after_an_exception(tmp_path):
    code = """
    import os, sys
    from pathlib import Path
    from toolchain.terminal import native_log
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    from toolchain.terminal import console
    console()
    try:
        with native_log(Path(sys.argv[1])):
            raise RuntimeError
    except RuntimeError:
        pass
    after = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 1
    os.write(2, b"seen\\n")
    print(after - before)
    """
    done = python(code, tmp_path / "x.log")
    assert done.stderr == "seen\n"
    assert done.stdout.strip() == "1"  # the console's own duplicate of stderr


def test_say_shows_brackets_as_they_are():
    done = python("from toolchain.terminal import say; say('[data] expects [bold]path[/bold]')")
    assert done.stderr == "[data] expects [bold]path[/bold]\n"
    assert done.stdout == ""


def test_say_lets_no_foreign_text_drive_the_terminal():
    done = python(r"from toolchain.terminal import say; say('a\x1b[31mb\r\nc\u202f:x:')")
    assert done.stderr.replace("\N{REPLACEMENT CHARACTER}", "?") == "a?[31mb??c\u202f:x:\n"


def test_table_shows_cells_of_foreign_files_as_they_are():
    code = r"""
    from toolchain.terminal import table
    table("Files", ["name", "bytes"], [["[red]a[/red]\x1b[2J", "1"]])
    """
    done = python(code)
    assert "[red]a[/red]" in done.stderr
    assert "\x1b[2J" not in done.stderr
    assert done.stdout == ""


def test_track_gives_every_item_and_says_nothing_into_a_file():
    done = python("from toolchain.terminal import track; print(list(track(range(5), 'count')))")
    assert done.stdout == "[0, 1, 2, 3, 4]\n"
    assert done.stderr.strip() == ""


IN_LINES = """
import time
from toolchain import terminal
terminal._A_LINE_EVERY_S = 0.09
def slowly():
    for item in range(6):
        yield item
        time.sleep(0.1)
assert list(terminal.track(slowly(), "counting", total=6)) == [0, 1, 2, 3, 4, 5]
assert list(terminal.track(slowly(), "counting")) == [0, 1, 2, 3, 4, 5]
assert list(terminal.track(range(6), "quick")) == [0, 1, 2, 3, 4, 5]
"""


def test_a_log_file_is_told_now_and_then_how_far_it_is():
    lines = python(IN_LINES).stderr.splitlines()
    assert [line.split(",")[0] for line in lines[:5]] == [
        f"counting: {share}%" for share in (17, 33, 50, 67, 83)
    ]
    assert lines[5:] == [f"counting: {count}" for count in range(1, 6)]


@pytest.mark.parametrize(
    ("done", "seconds", "rest"), [(1, 1, "9 s"), (5, 60, "60 s"), (1, 600, "90 min")]
)
def test_what_is_left_takes_as_long_as_what_is_done(done, seconds, rest):
    assert _so_far(done, 10, seconds) == f"{done / 10:.0%}, about {rest} left"
