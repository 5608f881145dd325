"""What the check finds: every planted fault by its kind and name, and nothing else."""

from __future__ import annotations

import importlib.util
import io
import sys
import tarfile
import time
from pathlib import Path

import numpy as np
import pytest
from photo_files import forbid, photo, write_folder
from PIL import Image

from toolchain.data.audit import Audit, Kind, Severity, audit
from toolchain.data.audit.near import MAX_BITS, MIN_CORRELATION, near_groups, reduced
from toolchain.data.stage import build_dataset
from toolchain.errors import DataError
from toolchain.recipe import parse_recipe

LIMITS = {
    "recall of exact copies": 1.0,
    "recall of changed copies": 0.95,
    "flagged images that are right": 0.99,
    "false alarms on CIFAR-10": 0.01,
    "seconds of processor time for 60,000 images": 60.0,
    "growth of the search's time from 20,000 to 80,000 images": 4.0 * 1.5,
}


def load_benchmark():
    path = Path(__file__).parents[2] / "benchmarks" / "audit.py"
    spec = importlib.util.spec_from_file_location("audit_benchmark", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


benchmark = load_benchmark()


def check(path: Path, near: bool = True, **data: object) -> Audit:
    return audit(parse_recipe({"data": {"path": str(path), **data}}, name="x"), near=near)


def found(result: Audit) -> dict[str, list[tuple[str, ...]]]:
    return {kind.slug: [f.names for f in result.of(kind)] for kind in result.counts()}


def good(count: int, start: int = 0) -> dict[str, bytes]:
    return {
        f"{'ab'[n % 2]}/{n}.jpg": benchmark.encoded(benchmark.drawn(start + n))
        for n in range(count)
    }


@pytest.fixture(scope="module")
def fault_rows():
    return benchmark.faults_table()


@pytest.mark.parametrize("slug", sorted({kind.slug for kind, _, _ in benchmark.faults()}))
def test_each_kind_of_fault_is_named(slug, fault_rows):
    row = next(row for row in fault_rows if row.what == slug)
    assert row.found == row.planted > 0


def test_a_photo_that_cannot_be_read_is_a_finding(tmp_path, monkeypatch):
    folder = write_folder(tmp_path, good(40))
    forbid(monkeypatch, "a/2.jpg")
    result = check(folder, near=False)
    assert found(result) == {"unreadable": [("a/2.jpg",)]}
    assert result.findings[0].detail == "Permission denied"
    assert result.exclude() == ["a/2.jpg"]
    assert (result.images, result.decoded) == (40, 39)


def test_good_photos_have_no_findings(tmp_path):
    result = check(write_folder(tmp_path, good(60)))
    assert found(result) == {}
    assert result.passed
    assert (result.images, result.decoded) == (60, 60)


def test_copies_are_found_and_nothing_else(capsys):
    rows, precision = benchmark.copies_table(benchmark.photos_from(None, 400))
    with capsys.disabled():
        sys.stdout.write(f"\n{benchmark.markdown([*rows, precision])}\n")
    shares = {row.what: row.found / row.planted for row in rows}
    assert shares.pop("exact") == LIMITS["recall of exact copies"]
    assert min(shares.values()) >= LIMITS["recall of changed copies"]
    assert precision.found / precision.planted >= LIMITS["flagged images that are right"]


def test_the_same_pixels_under_two_labels_are_an_error_that_names_both(tmp_path):
    files = good(40)
    # Another file, the same picture.
    picture = Image.open(io.BytesIO(files["a/0.jpg"]))
    files["b/same.png"] = benchmark.encoded(picture, "PNG")
    result = check(write_folder(tmp_path, files))
    assert found(result) == {"two-labels": [("a/0.jpg", "b/same.png")]}
    assert not result.passed
    assert result.exclude() == ["a/0.jpg", "b/same.png"]


def test_copies_in_given_splits_keep_the_one_for_testing(tmp_path):
    files = {
        f"{split}/{name}": data
        for place, split in enumerate(("train", "val", "test"))
        for name, data in good(12, start=100 * place).items()
    }
    files["train/a/copy.jpg"] = files["test/a/0.jpg"]
    near = benchmark.CHANGES["resized -15%"](benchmark.drawn(200 + 2))
    files["train/a/smaller.jpg"] = near
    result = check(write_folder(tmp_path, files))
    assert found(result) == {
        "split-duplicate": [("test/a/0.jpg", "train/a/copy.jpg")],
        "near-split-duplicate": [("test/a/2.jpg", "train/a/smaller.jpg")],
    }
    assert result.passed
    assert result.exclude() == ["train/a/copy.jpg", "train/a/smaller.jpg"]


def test_a_near_copy_in_another_split_is_found_behind_an_exact_one(tmp_path):
    """The data stage keeps the copy in val/: what is like it in train/ would leak."""
    files = {
        f"{split}/{name}": data
        for place, split in enumerate(("train", "val", "test"))
        for name, data in good(12, start=100 * place).items()
    }
    files["val/a/copy.jpg"] = files["train/a/0.jpg"]
    files["train/a/smaller.jpg"] = benchmark.CHANGES["resized -15%"](benchmark.drawn(0))
    result = check(write_folder(tmp_path, files))
    assert found(result) == {
        "split-duplicate": [("val/a/copy.jpg", "train/a/0.jpg")],
        "near-split-duplicate": [("val/a/copy.jpg", "train/a/smaller.jpg")],
    }
    assert result.exclude() == ["train/a/0.jpg", "train/a/smaller.jpg"]


def test_near_copies_under_two_labels_are_told_and_left_to_a_person(tmp_path):
    files = good(40) | {"b/other.jpg": benchmark.CHANGES["JPEG 60"](benchmark.drawn(0))}
    result = check(write_folder(tmp_path, files), validation=0.01, test=0.01)
    assert found(result)["near-two-labels"] == [("a/0.jpg", "b/other.jpg")]


def test_without_near_only_the_same_pixels_count(tmp_path):
    files = good(40) | {"a/near.jpg": benchmark.CHANGES["JPEG 60"](benchmark.drawn(0))}
    result = check(write_folder(tmp_path, files), near=False)
    assert found(result) == {}
    assert not result.near


def test_classes_too_small_and_too_large_are_named(tmp_path):
    files = good(80) | {"rare/1.jpg": photo(1), "huge/0.jpg": photo(2)}
    files |= {f"huge/{n}.jpg": benchmark.encoded(benchmark.drawn(500 + n)) for n in range(200)}
    result = check(write_folder(tmp_path, files), near=False)
    assert [f.names for f in result.of(Kind.IMBALANCE)] == [("huge",), ("rare",)]
    small = result.of(Kind.SMALL_CLASS) + result.of(Kind.UNTRAINED_CLASS)
    assert [f.names for f in small] == [("rare",)]


def test_a_class_of_broken_images_and_empty_splits_are_errors(tmp_path):
    files = {"a/1.jpg": photo(1), "a/2.jpg": photo(2), "b/1.jpg": b"", "b/2.jpg": b""}
    result = check(write_folder(tmp_path, files))
    kinds = found(result)
    assert kinds["untrained-class"] == [("b",)]
    assert kinds["empty"] == [("b/1.jpg",), ("b/2.jpg",)]
    assert "empty-split" in kinds


def test_a_listed_image_that_is_not_there_is_named(tmp_path):
    files = good(40)
    lines = [f"{name},{name[0]}" for name in files]
    files["labels.csv"] = "\n".join(["path,label", *lines, "a/gone.jpg,a"]).encode()
    result = check(write_folder(tmp_path, files), near=False)
    assert found(result) == {"missing": [("a/gone.jpg",)]}


def test_the_split_is_the_one_that_training_gets(tmp_path):
    recipe = parse_recipe(
        {"data": {"path": str(write_folder(tmp_path / "photos", good(80)))}}, name="x"
    )
    out = tmp_path / "out"
    out.mkdir()
    dataset = build_dataset(recipe, out)
    result = audit(recipe)
    for split, counted in result.splits.items():
        assert sum(counted.values()) == dataset.splits.count(split)


def test_a_class_whose_copies_for_testing_are_kept_has_nothing_to_train_on(tmp_path):
    files = {
        f"{split}/{name}": data
        for place, split in enumerate(("train", "val", "test"))
        for name, data in good(12, start=100 * place).items()
    }
    files |= {name.replace("train", "test"): d for name, d in files.items() if "train/a" in name}
    path = write_folder(tmp_path / "photos", files)
    result = check(path, near=False)
    assert found(result)["untrained-class"] == [("a",)]
    assert (result.splits["train"], result.splits["test"]) == ({"a": 0, "b": 6}, {"a": 6, "b": 6})
    (tmp_path / "out").mkdir()
    with pytest.raises(DataError, match="class 'a' has no training photos"):
        build_dataset(parse_recipe({"data": {"path": str(path)}}, name="x"), tmp_path / "out")


def test_the_limit_counts_as_in_training(tmp_path):
    path = write_folder(tmp_path, good(60))
    result = check(path, near=False, limit={"train": 10, "test": 4})
    assert [sum(result.splits[split].values()) for split in ("train", "test")] == [10, 4]


def test_what_the_list_leaves_out_is_gone_and_training_runs(tmp_path):
    files = good(60)
    files |= {"a/cut.jpg": files["a/0.jpg"][:500], "a/copy.jpg": files["a/2.jpg"]}
    files |= {"b/lie.jpg": files["a/4.jpg"], "b/1s.jpg": benchmark.CHANGES["JPEG 75"](
        benchmark.drawn(1)
    )}  # fmt: skip
    path = write_folder(tmp_path / "photos", files)
    recipe = parse_recipe({"data": {"path": str(path)}}, name="x")
    (tmp_path / "out").mkdir()
    with pytest.raises(DataError):
        build_dataset(recipe, tmp_path / "out")
    names = audit(recipe).exclude()
    (tmp_path / "exclude.txt").write_text("\n".join(names))
    data = {"path": str(path), "exclude": str(tmp_path / "exclude.txt")}
    cleaned = parse_recipe({"data": data}, name="x")
    after = audit(cleaned)
    assert after.passed
    assert {kind.severity for kind in after.counts()} <= {Severity.NOTE}
    (tmp_path / "again").mkdir()
    dataset = build_dataset(cleaned, tmp_path / "again")
    assert len(dataset.names) == after.decoded
    assert {name for name, _ in dataset.skipped} == set(names)


def test_every_kind_has_a_name_of_its_own_and_a_sentence():
    assert len({kind.slug for kind in Kind}) == len(Kind)
    assert all(kind.meaning.endswith(".") and "\n" not in kind.meaning for kind in Kind)


def test_kinds_are_listed_with_the_worst_first():
    order = [list(Severity).index(kind.severity) for kind in Kind]
    assert order == sorted(order)


def pairs_by_hand(looks, thumbs, bits, correlation):
    """All pairs, compared one by one."""
    for i in range(len(looks)):
        for j in range(i + 1, len(looks)):
            apart = int(looks[i] ^ looks[j]).bit_count()
            alike = np.corrcoef(thumbs[i].astype(float), thumbs[j].astype(float))[0, 1]
            if apart <= bits and alike >= correlation:
                yield i, j


def test_the_search_misses_no_pair_that_comparing_all_finds():
    rng = np.random.default_rng(5)
    looks = rng.integers(0, 2**64, 120, dtype=np.uint64)
    thumbs = rng.integers(0, 256, (120, 256), dtype=np.uint8)
    for copy in range(60, 120):
        flips = rng.choice(64, copy % 7, replace=False)
        looks[copy] = looks[copy - 60] ^ np.uint64(sum(1 << int(bit) for bit in flips))
        thumbs[copy] = thumbs[copy - 60] // 2 if copy % 3 else rng.integers(0, 256, 256)
    groups = near_groups(looks, thumbs)
    pairs = {group.members for group in groups}
    assert pairs == set(pairs_by_hand(looks, thumbs, MAX_BITS, MIN_CORRELATION))
    assert len(pairs) > 20


def test_hundreds_of_images_alike_are_one_group():
    rng = np.random.default_rng(6)
    thumb = rng.integers(0, 256, 256, dtype=np.uint8)
    thumbs = np.stack([thumb] * 500)
    groups = near_groups(np.full(500, 77, np.uint64), thumbs)
    assert [len(group.members) for group in groups] == [500]


def test_the_search_takes_time_in_proportion():
    rng = np.random.default_rng(7)
    looks = rng.integers(0, 2**64, 80_000, dtype=np.uint64)
    thumbs = rng.integers(0, 256, (80_000, 256), dtype=np.uint8)
    seconds = {}
    for count in (20_000, 80_000):
        runs = []
        for _ in range(3):
            started = time.process_time()
            near_groups(looks[:count], thumbs[:count])
            runs.append(time.process_time() - started)
        seconds[count] = min(runs)
    growth = LIMITS["growth of the search's time from 20,000 to 80,000 images"]
    assert seconds[80_000] <= growth * seconds[20_000]


@pytest.mark.parametrize("size", [(255, 20_000), (20_000, 255), (90, 30_000), (1, 60_000)])
def test_a_long_and_narrow_image_is_looked_at_small(size):
    """Looked at whole, one of the 50 million pixels that are allowed took 1.4 GB."""
    across, down = reduced(Image.new("RGB", size)).size
    assert max(across, down) <= 2048
    assert min(across, down) == min(*size, 255)


@pytest.mark.parametrize(("size", "by"), [((640, 480), 3), ((4000, 1500), 11), ((200, 900), 1)])
def test_photos_are_averaged_alike_in_both_directions(size, by):
    image = Image.effect_noise(size, 60).convert("RGB")
    assert np.array_equal(np.asarray(reduced(image)), np.asarray(image.reduce(by)))


def test_images_of_one_colour_are_no_copies_of_each_other():
    assert near_groups(np.zeros(9, np.uint64), np.full((9, 256), 40, np.uint8)) == []


@pytest.mark.real
def test_false_alarms_on_cifar10(toolchain_data, tmp_path):
    """What is found there is right: 4 pairs of the same photo, brighter or cropped by a pixel."""
    with tarfile.open(toolchain_data / "datasets" / "cifar10.tar.xz") as archive:
        members = [m for m in archive if m.isfile() and "/test/" in m.name]
        files = {m.name.split("/test/")[1]: archive.extractfile(m).read() for m in members}
    result = check(write_folder(tmp_path, files), near=True)
    assert result.images == len(files) == 10_000
    flagged = {name for group in benchmark.together(result, benchmark.NEAR) for name in group}
    assert len(flagged) / len(files) <= LIMITS["false alarms on CIFAR-10"]


@pytest.mark.real
@pytest.mark.slow
def test_sixty_thousand_images_take_a_minute_of_one_processor(toolchain_data):
    """Processor time of all threads, so that a busy machine decides nothing."""
    started = time.process_time()
    result = check(toolchain_data / "datasets" / "cifar10.tar.xz", near=False)
    seconds = time.process_time() - started
    assert result.images == result.decoded == 60_000
    assert seconds <= LIMITS["seconds of processor time for 60,000 images"]
