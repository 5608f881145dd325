"""The chain: which stages there are, what each depends on, and running what is not current.

A stage's key hashes its part of the recipe and what came out of the stages it reads, so a changed
key of the recipe re-runs what depends on it, and only that. A stage that ran again and made the
same leaves the following ones as they are.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from toolchain import __version__
from toolchain.cli import benchmarking, onnx_forms, stages
from toolchain.contract import SCHEMA
from toolchain.data.source import fingerprint
from toolchain.errors import InputError, StoppedError
from toolchain.files import sha256_json
from toolchain.photos import PHOTOS_FILE
from toolchain.recipe import Recipe
from toolchain.run import Run, typed_words
from toolchain.terminal import say
from toolchain.training.pretrained import weights_fingerprint
from toolchain.unfinished import Unfinished, code_sha256

_SHOWN_DIFFERENCES: Final = 6
# Not to be said again for the stage that follows.
_OF_ONE_STAGE: Final = ("--force", "--tune-onnx")


@dataclass(frozen=True, slots=True)
class Stage:
    """One link of the chain.

    Attributes:
      name: of the command and of the folder in the run.
      sections: the parts of the recipe it reads.
      reads: the stages whose files it reads.
      work: does it; gets the recipe, the run and the empty folder to fill.
      summary: prints what came out, when it ran or was current.
      external: what else it depends on, in a few words: files of the user, keys of other sections.
      goes_on: whether it can be stopped and go on; its work gets an `Unfinished` too.
    """

    name: str
    sections: tuple[str, ...]
    reads: tuple[str, ...]
    work: Callable[..., None]
    summary: Callable[[Run], None]
    external: Callable[[Recipe], str] | None = None
    goes_on: bool = False


STAGES: Final = {
    stage.name: stage
    for stage in (
        Stage(
            "data",
            ("data",),
            (),
            stages.data,
            stages.show_data,
            # A table of another form is not read: it is made again, from the cache of pixels.
            lambda recipe: f"{PHOTOS_FILE} {fingerprint(recipe)}",
        ),
        Stage(
            "train",
            ("input", "model", "augment", "train", "fine_tune", "compress"),
            ("data",),
            stages.train,
            stages.show_train,
            weights_fingerprint,
            goes_on=True,
        ),
        Stage(
            "quantize",
            ("quantize",),
            ("data", "train"),
            stages.quantize,
            stages.show_quantize,
            stages.trains_int8,
            goes_on=True,
        ),
        Stage(
            "export",
            ("export",),
            ("data", "train", "quantize", "onnx-forms"),
            stages.export,
            stages.show_export,
            # Files of an older contract are not read: they are made again.
            lambda _: f"contract schema {SCHEMA}",
        ),
        Stage("verify", ("verify",), ("data", "export"), stages.verify, stages.show_verify),
        Stage(
            "benchmark",
            ("benchmark",),
            ("export", "verify"),
            benchmarking.measure_run,
            benchmarking.show_run,
        ),
        Stage(
            "report",
            (),
            ("data", "train", "quantize", "export", "verify", "benchmark", "phones"),
            stages.report,
            stages.show_report,
        ),
    )
}

# Not of every chain: `toolchain quantize --tune-onnx` runs it.
TUNE_ONNX: Final = Stage(
    "onnx-forms",
    ("export", "verify", "benchmark"),
    ("data", "train", "quantize"),
    onnx_forms.search,
    onnx_forms.show,
)
# These stages are read where there is something to read.
_OPTIONAL: Final = frozenset({"phones", TUNE_ONNX.name})


def needed(until: str, recipe: Recipe) -> list[Stage]:
    """The stages up to `until`, in order; quantize is left out when no int8 file is asked for.

    Raises:
      InputError: forms of an int8 file are asked for, and the recipe asks for no such file.
    """
    if until == TUNE_ONNX.name:
        if not recipe.int8_precisions():
            received = ", ".join(recipe.export.precisions)
            raise InputError(
                f"expected an int8 precision for --tune-onnx to tune, received {received}",
                "export.precisions",
                'add "int8-qat" or "int8-ptq"',
            )
        return [*needed("quantize", recipe), TUNE_ONNX]
    names = list(STAGES)
    chosen = names[: names.index(until) + 1]
    if until != "quantize" and not recipe.int8_precisions():
        chosen = [name for name in chosen if name != "quantize"]
    return [STAGES[name] for name in chosen]


def upstream_of(stage: Stage, recipe: Recipe, run: Run) -> dict[str, str]:
    """Stage -> digest of what came out of the stages that this one reads.

    Raises:
      InputError: one of them has not been published.
    """
    upstream = {}
    for name in stage.reads:
        manifest = run.manifest(name)
        if name == "quantize" and not recipe.int8_precisions():
            continue
        if name in _OPTIONAL and manifest is None:
            continue
        if manifest is None:
            raise InputError(f"stage {name} has not run", str(run.folder), f"run: make {name}")
        upstream[name] = manifest.digest()
    return upstream


def depends_on(stage: Stage, recipe: Recipe, upstream: Mapping[str, str]) -> dict[str, Any]:
    """All that the stage depends on, as plain data; its hash is the stage's key."""
    return {
        "stage": stage.name,
        "toolchain": __version__,
        "name": recipe.name,
        "recipe": {name: recipe.section(name) for name in stage.sections},
        # All of [input] that the photos of the data stage depend on.
        "frame": [recipe.input.size, recipe.input.crop] if stage.name == "data" else None,
        "external": stage.external(recipe) if stage.external else None,
        "upstream": dict(upstream),
    }


def run_chain(recipe: Recipe, run: Run, until: str, *, force: bool = False) -> None:
    """Run every stage up to `until` that is not current; `force` re-runs `until` itself.

    Raises:
      ToolchainError: from the stages.
    """
    with run.lock():
        for stage in needed(until, recipe):
            upstream = upstream_of(stage, recipe, run)
            # Once: what a stage depends on may be a look at every photo in a folder.
            depends = depends_on(stage, recipe, upstream)
            key, kept = sha256_json(depends), _kept(stage, run, depends)
            if run.is_current(stage.name, key) and not (force and stage.name == until):
                say(f"{stage.name}: up to date")
                kept.remove()
                continue
            say(f"{stage.name}:")
            started = time.monotonic()
            settings = sha256_json({**depends, "external": None})
            published = run.publish(stage.name, key, upstream, settings)
            with _interruptible(stage, run, kept), published as out:
                stage.work(recipe, run, out, *([kept] if stage.goes_on else []))
            kept.remove_all()
            stage.summary(run)
            say(f"{stage.name}: done in {time.monotonic() - started:.1f} s")


def _kept(stage: Stage, run: Run, depends: Mapping[str, Any]) -> Unfinished:
    """What a stopped try of the stage left; its numbers hold for the same code and TensorFlow."""
    if not stage.goes_on:
        return Unfinished(run.folder, stage.name, depends)
    from toolchain.benchmark.machine import versions

    code = {
        "code": code_sha256("training", "quantization", "images"),
        "tensorflow": versions(("tensorflow",)).get("tensorflow", ""),
    }
    return Unfinished(run.folder, stage.name, {**depends, **code})


@contextlib.contextmanager
def _interruptible(stage: Stage, run: Run, kept: Unfinished) -> Iterator[None]:
    """Tells of a try with other settings; Ctrl-C becomes an error that says how to go on.

    Raises:
      StoppedError: instead of KeyboardInterrupt.
    """
    if found := kept.differences():
        more = f" and {len(found) - _SHOWN_DIFFERENCES} more" * (len(found) > _SHOWN_DIFFERENCES)
        say(f"{stage.name}: a stopped try is not gone on with, because it differs:")
        say(f"  {'; '.join(found[:_SHOWN_DIFFERENCES])}{more}")
        say("  with its settings it would go on; it is kept until this stage is finished")
    try:
        yield
    except KeyboardInterrupt as error:
        if kept.reached:
            what, remedy = kept.reached + " is kept", "the same command goes on from there"
        else:
            what = f"stage {stage.name} was not finished"
            remedy = "the same command begins this stage again; those before it are kept"
        raise StoppedError(what, str(run.folder), remedy) from error


def say_next(until: str, recipe: Recipe) -> None:
    """Which command follows the one that was typed."""
    done = [stage.name for stage in needed(until, recipe)]
    left = [stage.name for stage in needed("report", recipe) if stage.name not in done]
    if left:
        say(f"next: {_following(left[0])}")


def _following(stage: str) -> str:
    """The typed command for another stage, to paste: its options, or what make was given."""
    if "MAKELEVEL" in os.environ:
        # "k -- RECIPE=models/digits/recipe.toml": make quotes the variables as a shell would.
        given = f" {os.environ.get('MAKEFLAGS', '')}".partition(" -- ")[2]
        return f"make {stage} {given}".rstrip()
    typed = [word for word in typed_words() if word not in _OF_ONE_STAGE]
    command = next(at for at, word in enumerate(typed) if at and not word.startswith("-"))
    return shlex.join([*typed[:command], stage, *typed[command + 1 :]])


def describe(run: Run, until: str) -> dict[str, Any]:
    """What a program would want to know after a command: folder, files and hashes."""
    manifest = run.manifest(until)
    files = {} if manifest is None else manifest.files
    return {
        "run": str(run.folder),
        "stage": until,
        "folder": str(run.stage(until)),
        "files": {name: {"sha256": e.sha256, "bytes": e.bytes} for name, e in files.items()},
    }
