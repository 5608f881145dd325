"""The run folder: a stage is there whole or not at all, and every change of a byte is noticed."""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from toolchain.errors import ExitCode, InputError, MachineError, ModelError
from toolchain.files import sha256_file, sha256_json, try_writing, write_text, writing
from toolchain.run import MANIFEST, Run, typed_command

KILLS = 12
KILL_SEED = 20_251


@pytest.fixture
def run(tmp_path):
    return Run(tmp_path, "digits")


def publish(run, stage="train", key="k1", **files):
    with run.publish(stage, key) as folder:
        for name, text in (files or {"a.txt": "one"}).items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)


def strays(run):
    return [path.name for path in run.folder.iterdir() if path.name.startswith(".")]


def test_a_published_stage_holds_its_files_and_a_manifest(run):
    publish(run, **{"a.txt": "one", "deep/b.txt": "two"})
    manifest = run.manifest("train")
    assert set(manifest.files) == {"a.txt", "deep/b.txt"}
    assert manifest.files["a.txt"].sha256 == sha256_file(run.stage("train") / "a.txt")
    assert (manifest.stage, manifest.key, manifest.files["a.txt"].bytes) == ("train", "k1", 3)
    assert strays(run) == []


def test_publishing_again_replaces_the_whole_folder(run):
    publish(run, **{"a.txt": "one", "b.txt": "two"})
    publish(run, key="k2", **{"a.txt": "three"})
    assert sorted(path.name for path in run.stage("train").iterdir()) == ["a.txt", MANIFEST]
    assert run.manifest("train").key == "k2"


def test_a_manifest_tells_what_its_stage_was_made_from(run, monkeypatch):
    monkeypatch.setattr("sys.argv", ["/bin/toolchain", "verify", "--data", "my photos"])
    with run.publish("verify", "k1", {"export": "e1"}) as folder:
        (folder / "a.txt").write_text("one")
    manifest = run.manifest("verify")
    assert manifest.made_from == {"export": "e1"}
    assert manifest.command == "toolchain verify --data 'my photos'"


def test_a_manifest_of_an_earlier_version_is_read(run):
    publish(run)
    path = run.stage("train") / MANIFEST
    data = json.loads(path.read_text())
    del data["made_from"], data["command"]
    path.write_text(json.dumps(data))
    assert run.manifest("train").made_from == {}
    assert run.is_current("train", "k1")


def test_a_folder_cannot_be_seen_before_it_is_complete(run):
    with run.publish("train", "k1") as folder:
        (folder / "a.txt").write_text("one")
        assert not run.stage("train").exists()
        assert run.manifest("train") is None


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_an_exception_inside_leaves_the_old_folder(run, error):
    publish(run, **{"a.txt": "old"})
    with pytest.raises(error), run.publish("train", "k2") as folder:
        (folder / "a.txt").write_text("new")
        raise error
    assert (run.stage("train") / "a.txt").read_text() == "old"
    assert run.is_current("train", "k1")
    assert strays(run) == []


def test_a_stage_is_current_until_something_changes(run):
    assert not run.is_current("train", "k1")
    publish(run)
    assert run.is_current("train", "k1")
    assert not run.is_current("train", "k2")


@pytest.mark.parametrize("change", ["longer", "same size", "removed"])
def test_a_changed_file_makes_the_stage_stale(run, change):
    publish(run)
    path = run.stage("train") / "a.txt"
    if change == "removed":
        path.unlink()
    else:
        path.write_text("one!" if change == "longer" else "two")
    assert not run.is_current("train", "k1")


def test_a_copied_run_is_current_and_a_damaged_copy_is_not(run, tmp_path):
    """`cp -r` and archives without times give every file the time of the copy."""
    publish(run)
    shutil.copytree(run.folder, tmp_path / "elsewhere" / run.name, copy_function=shutil.copyfile)
    copy = Run(tmp_path / "elsewhere", run.name)
    path = copy.stage("train") / "a.txt"
    os.utime(path, ns=(1, 1))
    assert copy.is_current("train", "k1")
    path.write_text("".join(reversed(path.read_text())))
    os.utime(path, ns=(1, 1))
    assert not copy.is_current("train", "k1")


@pytest.mark.parametrize(
    "text",
    ["", "[]", "3", "null", "{", '{"files": 3}', '{"files": {"a": {}}}', "[" * 50_000, "\udcff"],
)
def test_a_manifest_that_cannot_be_read_is_no_manifest(run, text):
    publish(run)
    (run.stage("train") / MANIFEST).write_bytes(text.encode(errors="surrogateescape"))
    assert run.manifest("train") is None
    assert not run.is_current("train", "k1")


@pytest.mark.parametrize(
    ("key", "value"), [("sha256", 5), ("bytes", "12"), ("made_from", [1]), ("seconds", "long")]
)
def test_a_manifest_of_other_types_is_no_manifest(run, key, value):
    publish(run)
    path = run.stage("train") / MANIFEST
    manifest = json.loads(path.read_text())
    (manifest if key in manifest else manifest["files"]["a.txt"])[key] = value
    path.write_text(json.dumps(manifest))
    with pytest.raises(ModelError, match="found none"):
        run.require("train", "a.txt")


def test_a_manifest_of_another_version_is_no_manifest(run):
    publish(run)
    path = run.stage("train") / MANIFEST
    path.write_text(path.read_text().replace('"seconds"', '"minutes"'))
    assert run.manifest("train") is None


def test_require_gives_the_file(run):
    publish(run)
    assert run.require("train", "a.txt").read_text() == "one"


def test_require_notices_every_flipped_bit(run):
    publish(run, **{"a.txt": "0123456789"})
    path = run.stage("train") / "a.txt"
    whole, times = path.read_bytes(), path.stat()
    for bit in range(len(whole) * 8):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
        with pytest.raises(ModelError, match="expected sha256"):
            run.require("train", "a.txt")


def test_require_tells_which_stage_makes_a_missing_file(run):
    with pytest.raises(ModelError) as caught:
        run.require("train", "a.txt")
    assert "make train" in str(caught.value)
    publish(run)
    with pytest.raises(ModelError, match=r"expected b\.txt"):
        run.require("train", "b.txt")


def test_require_says_when_a_published_file_is_gone(run):
    publish(run)
    (run.stage("train") / "a.txt").unlink()
    with pytest.raises(ModelError, match=r"a\.txt"):
        run.require("train", "a.txt")


def test_the_digest_tells_content_not_time(run):
    publish(run)
    first = run.manifest("train").digest()
    publish(run)
    assert run.manifest("train").digest() == first
    publish(run, **{"a.txt": "two"})
    assert run.manifest("train").digest() != first


def test_hash_of_plain_data_does_not_depend_on_order():
    assert sha256_json({"a": 1, "b": [2]}) == sha256_json({"b": [2], "a": 1})
    assert sha256_json({"a": 1}) != sha256_json({"a": 2})


def test_the_lock_sweeps_what_a_killed_stage_left(run):
    publish(run)
    (run.folder / ".train.tmp-123" / "deep").mkdir(parents=True)
    (run.folder / ".train.tmp-123" / "deep" / "half").write_text("half")
    (run.folder / ".note.json.tmp-123").write_text("half")
    with run.lock():
        assert strays(run) == [".lock"]
    assert run.is_current("train", "k1")


def test_the_lock_restores_a_folder_killed_between_the_two_renames(run):
    publish(run)
    run.stage("train").rename(run.folder / ".train.old-123")
    with run.lock():
        assert run.is_current("train", "k1")
        assert strays(run) == [".lock"]


def test_the_lock_drops_the_old_folder_when_the_new_one_is_there(run):
    publish(run, key="old")
    run.stage("train").rename(run.folder / ".train.old-123")
    publish(run, key="new")
    with run.lock():
        assert run.is_current("train", "new")
        assert strays(run) == [".lock"]


@pytest.mark.parametrize(
    "own",
    [
        {"Main.kt": "fun main()"},
        {MANIFEST: '{"name": "a web app", "icons": []}', "index.html": "<p>"},
        {MANIFEST: '{"stage": "verify"}'},
        {MANIFEST: "not ours"},
    ],
    ids=["app", "web app", "other stage", "unreadable"],
)
def test_a_folder_that_no_stage_made_is_not_replaced(run, own):
    folder = run.stage("train")
    folder.mkdir(parents=True)
    for name, text in own.items():
        (folder / name).write_text(text)
    with pytest.raises(InputError, match="found another"), run.publish("train", "k1"):
        pytest.fail("the stage began to work")
    assert {path.name: path.read_text() for path in folder.iterdir()} == own


def test_a_file_where_the_stage_should_be_is_not_replaced(run):
    run.folder.mkdir(parents=True)
    run.stage("train").write_text("mine")
    with pytest.raises(InputError, match="found another"):
        publish(run)
    assert run.stage("train").read_text() == "mine"


def test_an_empty_folder_is_taken(run):
    run.stage("train").mkdir(parents=True)
    publish(run)
    assert run.is_current("train", "k1")


@pytest.mark.parametrize(
    ("number", "error"), [(errno.EWOULDBLOCK, InputError), (errno.ENOLCK, MachineError)]
)
def test_a_disk_without_locks_is_no_second_process(run, number, error, monkeypatch):
    def flock(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("toolchain.run.fcntl.flock", flock)
    with pytest.raises(error) as caught, run.lock():
        pytest.fail("not locked")
    assert ("another process" in caught.value.what) == (error is InputError)


def test_a_stray_that_cannot_be_removed_is_told(run, monkeypatch):
    def unlink(*_, **__):
        raise OSError(errno.EACCES, os.strerror(errno.EACCES))

    run.folder.mkdir(parents=True)
    (run.folder / ".x.json.tmp-7").touch()
    monkeypatch.setattr(Path, "unlink", unlink)
    with pytest.raises(MachineError, match="cannot write"), run.lock():
        pytest.fail("it was swept")


def test_a_command_of_bytes_that_are_no_utf8_can_be_written(run, monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "argv", ["toolchain", "run", "--runs", "r\udcff"])
    write_text(tmp_path / "page", typed_command())
    assert (tmp_path / "page").read_text() == r"toolchain run --runs 'r\udcff'"


def test_a_stage_behind_a_link_is_replaced_without_a_trace(run, tmp_path):
    publish(run)
    elsewhere = tmp_path / "elsewhere"
    run.stage("train").rename(elsewhere)
    run.stage("train").symlink_to(elsewhere)
    publish(run, key="k2")
    assert run.manifest("train").key == "k2"
    assert strays(run) == []
    assert (elsewhere / MANIFEST).is_file()
    (run.folder / ".train.tmp-7").symlink_to(elsewhere)
    with run.lock():
        assert strays(run) == [".lock"]
    assert (elsewhere / MANIFEST).is_file()


def test_the_sweep_leaves_what_only_looks_like_a_stray(run):
    publish(run)
    kept = [".keep.tmp-old", ".notes.old-draft", ".mine.old-7"]
    for name in kept:
        (run.folder / name).mkdir()
        (run.folder / name / "text").write_text("mine")
    with run.lock():
        assert sorted(strays(run)) == sorted([".lock", *kept])


def child(code, *arguments):
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_the_lock_refuses_a_second_process(run):
    holder = child(
        """
        import sys
        from pathlib import Path
        from toolchain.run import Run
        with Run(Path(sys.argv[1]), "digits").lock():
            print("held", flush=True)
            sys.stdin.read()
        """,
        run.folder.parent,
    )
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(InputError, match="another process"), run.lock():
            pytest.fail("two processes hold one run folder")
    finally:
        holder.kill()
        holder.wait()
    with run.lock():
        assert run.folder.is_dir()


def test_kill_at_any_moment_leaves_the_old_or_the_new_folder(run):
    """SIGKILL during a loop of publishes: afterwards one complete generation is there."""
    moments = random.Random(KILL_SEED)
    for kill in range(KILLS):
        writer = child(
            """
            import sys
            from pathlib import Path
            from toolchain.run import Run
            run = Run(Path(sys.argv[1]), "digits")
            with run.lock():
                print("ready", flush=True)
                for generation in range(10_000):
                    with run.publish("train", f"{sys.argv[2]}-{generation}") as folder:
                        for name in ("a", "b", "c"):
                            (folder / name).write_text(f"{sys.argv[2]}-{generation}" * 500)
            """,
            run.folder.parent,
            kill,
        )
        assert writer.stdout.readline() == "ready\n"
        time.sleep(moments.uniform(0.01, 0.12))
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        with run.lock():
            assert strays(run) == [".lock"]
        manifest = run.manifest("train")
        assert manifest is not None, f"kill {kill} left no complete folder"
        assert run.is_current("train", manifest.key)
        for name in ("a", "b", "c"):
            assert run.require("train", name).read_text() == manifest.key * 500


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EACCES])
@pytest.mark.parametrize("operation", ["fsync", "replace", "mkdir", "rename"])
def test_a_full_or_broken_disk_ends_with_4_and_keeps_the_old_folder(
    run, monkeypatch, code, operation
):
    publish(run, **{"a.txt": "old"})

    def fail(*_args, **_kwargs):
        raise OSError(code, os.strerror(code))

    owner = Path if operation in ("replace", "mkdir", "rename") else os
    with monkeypatch.context() as broken:
        broken.setattr(owner, operation, fail)
        with pytest.raises(MachineError) as caught, run.publish("train", "k2") as folder:
            (folder / "a.txt").write_text("new")
    assert caught.value.exit_code == ExitCode.MACHINE
    assert ("MiB free" in str(caught.value)) == (code in (errno.ENOSPC, errno.EDQUOT))
    assert len(str(caught.value).splitlines()) <= 3
    assert run.is_current("train", "k1")
    assert (run.stage("train") / "a.txt").read_text() == "old"
    assert strays(run) == []


def test_a_disk_that_fills_at_any_write_keeps_the_old_folder(run, monkeypatch):
    """The n-th fsync fails, for every n until the publish succeeds."""
    publish(run, **{"a.txt": "old", "b.txt": "old"})
    real, failures = os.fsync, 0
    for allowed in range(50):
        left = iter(range(allowed))

        def limited(descriptor, left=left):
            if next(left, None) is None:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            real(descriptor)

        with monkeypatch.context() as broken:
            broken.setattr(os, "fsync", limited)
            try:
                publish(run, key=f"new{allowed}", **{"a.txt": "new", "b.txt": "new"})
                break
            except MachineError:
                failures += 1
        manifest = run.manifest("train")
        assert run.is_current("train", manifest.key)
        texts = {run.require("train", name).read_text() for name in ("a.txt", "b.txt")}
        assert texts in ({"old"}, {"new"})
    assert failures >= 3
    assert run.is_current("train", f"new{failures}")


def test_a_rename_that_fails_half_way_puts_the_old_folder_back(run, monkeypatch):
    publish(run, **{"a.txt": "old"})
    real = Path.rename

    def rename(self, target):
        if ".tmp-" in self.name:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(self, target)

    with monkeypatch.context() as broken:
        broken.setattr(Path, "rename", rename)
        with pytest.raises(MachineError):
            publish(run, key="k2", **{"a.txt": "new"})
    assert run.is_current("train", "k1")
    assert strays(run) == []


def test_other_system_errors_are_not_called_a_full_disk(tmp_path):
    with pytest.raises(FileNotFoundError), writing(tmp_path):
        (tmp_path / "none").read_bytes()


def test_write_text_replaces_or_leaves_alone(tmp_path, monkeypatch):
    path = tmp_path / "value.json"
    write_text(path, "old")
    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full")))
        with pytest.raises(MachineError):
            write_text(path, "new")
    assert path.read_text() == "old"
    write_text(path, "new")
    assert [item.name for item in tmp_path.iterdir()] == ["value.json"]
    assert path.read_text() == "new"


def test_a_place_is_tried_without_a_trace(tmp_path):
    path = tmp_path / "value.json"
    try_writing(path)
    assert list(tmp_path.iterdir()) == []
    path.write_text("old")
    try_writing(path)
    assert [item.read_text() for item in tmp_path.iterdir()] == ["old"]


@pytest.mark.parametrize("write", [lambda path: write_text(path, "page"), try_writing])
@pytest.mark.parametrize("place", ["no folder", "a folder"])
def test_a_file_that_cannot_be_there_is_told_with_what_to_do(place, write, tmp_path):
    """As of `toolchain data check --html /proc/x.html`, which said it was a mistake of ours."""
    path = tmp_path / "gone" / "page.html" if place == "no folder" else tmp_path / "page.html"
    if place == "a folder":
        (path / "page.html").mkdir(parents=True)
    with pytest.raises(MachineError, match="cannot write") as caught:
        write(path)
    assert "MiB free" not in caught.value.what
    assert caught.value.remedy.startswith("give another place")
    assert not list(tmp_path.rglob(".*"))


@pytest.mark.parametrize("write", [lambda path: write_text(path, "page"), try_writing])
@pytest.mark.parametrize("through", ["itself", "a link"])
def test_what_is_no_file_is_refused_and_stays(through, write, tmp_path):
    """As of `--html /dev/null`, which root made a file for the whole system."""
    os.mkfifo(pipe := tmp_path / "pipe")
    path = pipe
    if through == "a link":
        (path := tmp_path / "page.html").symlink_to(pipe)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(InputError, match="expected a file, received a device or a pipe"):
        write(path)
    assert pipe.is_fifo()
    assert path.is_symlink() == (through == "a link")
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("there", [True, False])
def test_a_link_is_followed_and_stays(there, tmp_path):
    (folder := tmp_path / "elsewhere").mkdir()
    if there:
        (folder / "page.html").write_text("old")
    (link := tmp_path / "link.html").symlink_to(Path("elsewhere", "page.html"))
    try_writing(link)
    assert (folder / "page.html").exists() == there
    write_text(link, "new")
    assert link.is_symlink()
    assert (folder / "page.html").read_text() == "new"
    assert len(list(tmp_path.rglob("*"))) == 3


def test_a_full_disk_is_told_with_the_room_that_is_left(tmp_path):
    said = pytest.raises(MachineError, match=r"No space left on device \(\d+ MiB free\)")
    with said as caught, writing(tmp_path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert caught.value.remedy.startswith("free some space there")


def test_a_file_that_a_stage_misses_is_not_taken_for_one_that_it_writes(run):
    with pytest.raises(FileNotFoundError), run.publish("train", "k1") as folder:
        (folder / "weights").read_bytes()
