"""The house rules, read from the source: who may import whom, and what no module may call."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import toolchain

ROOT = Path(toolchain.__file__).parent
MODULES = sorted(ROOT.rglob("*.py"))

TENSORFLOW = {"tensorflow", "tf_keras", "keras", "tensorflow_model_optimization", "tensorboard"}
TENSORFLOW_ROOMS = {"training", "quantization", "export"}

SPINE = {
    "errors",
    "columns",
    "photos",
    "images",
    "contract",
    "files",
    "run",
    "recipe",
    "saved",
    "values",
    "evidence",
    "measurement",
    "terminal",
    "models",
    "unfinished",
    "overfitting",
}
# What each room may import of ours, besides itself. Only `cli`, where everything meets, is free.
MAY_IMPORT = {
    "errors": set(),
    "models": set(),
    "columns": set(),
    "terminal": {"errors"},
    "images": {"errors"},
    "files": {"errors"},
    "run": {"errors", "files", "saved"},
    "recipe": {"errors"},
    "contract": {"errors", "images"},
    "saved": {"errors", "files"},
    "unfinished": {"errors", "files"},
    "photos": {"errors", "columns", "files"},
    "values": {"errors", "columns", "photos", "saved", "images"},
    "evidence": {"errors", "files", "saved"},
    "overfitting": {"values"},
    "measurement": {"errors", "saved", "values"},
    "page": set(),
    "data": SPINE | {"page"},
    "training": SPINE,
    "quantization": SPINE | {"training"},
    "runtimes": SPINE,
    "inspection": SPINE | {"runtimes"},
    "export": SPINE | {"training", "quantization", "inspection", "runtimes"},
    "verification": SPINE | {"runtimes"},
    "benchmark": SPINE | {"runtimes"},
    "report": SPINE | {"page", "verification"},
    "goldens": SPINE | {"runtimes"},
    "bundle": SPINE | {"report"},
    "tuning": SPINE | {"report"},
    "__main__": {"cli"},
    "__init__": set(),
}
FREE = {"cli"}

FORBIDDEN_MODULES = {"pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "imp"}
FORBIDDEN_NAMES = {"eval", "exec", "__import__", "compile"}
FORBIDDEN_METHODS = {"load_model", "unsafe_load", "full_load", "mktemp"}


def room(path):
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imported(tree, module=""):
    """Every dotted name that a syntax tree imports, at any depth; relative ones made absolute."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = module.split(".")[: -node.level]
                base = ".".join([*parts, base] if base else parts)
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def our_rooms(tree, module=""):
    """Rooms of ours that a syntax tree imports."""
    names = (name.split(".") for name in imported(tree, module))
    rooms = {parts[1] for parts in names if parts[0] == "toolchain" and len(parts) > 1}
    return rooms - {"__version__"}


def misuse(tree):
    """What a syntax tree calls or imports that no module of ours may, one sentence each."""
    for name in imported(tree):
        if name.split(".")[0] in FORBIDDEN_MODULES:
            yield f"imports {name}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield from _misused_call(node)


def _misused_call(node):
    function = node.func
    keywords = {item.arg: item.value for item in node.keywords}
    if isinstance(function, ast.Name):
        owner, name = "", function.id
    elif isinstance(function, ast.Attribute):
        owner, name = ast.unparse(function.value), function.attr
    else:
        return
    if not owner and name in FORBIDDEN_NAMES:
        yield f"calls {name}"
    if name in FORBIDDEN_METHODS or (owner == "os" and name in ("system", "popen")):
        yield f"calls {owner}.{name}"
    if owner in ("np", "numpy") and name in ("load", "fromregex", "genfromtxt"):
        allowed = keywords.get("allow_pickle")
        if not (isinstance(allowed, ast.Constant) and allowed.value is False):
            yield "calls numpy.load without allow_pickle=False"
    if owner == "yaml" and name.startswith("load"):
        yield f"calls yaml.{name}"
    if name == "import_module" and not (node.args and isinstance(node.args[0], ast.Constant)):
        yield "imports a module by a name that is not written down"
    if name in ("extractall", "unpack_archive"):
        yield f"calls {name}, which follows links and writes where the archive says"
    shell = keywords.get("shell")
    if isinstance(shell, ast.Constant) and shell.value:
        yield "starts a shell"


def parse(path):
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def dotted(path):
    """The package that relative imports of `path` start from, with the module's own name."""
    return ".".join(("toolchain", *path.relative_to(ROOT).with_suffix("").parts))


def test_there_is_something_to_look_at():
    assert len(MODULES) > 15


def test_every_room_has_its_rule():
    rooms = {room(path) for path in MODULES}
    assert rooms - FREE - set(MAY_IMPORT) == set()


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
class TestModule:
    def test_imports_only_what_its_room_may(self, path):
        here = room(path)
        allowed = set(MAY_IMPORT) | FREE if here in FREE else MAY_IMPORT[here]
        assert our_rooms(parse(path), dotted(path)) - {here} <= allowed

    def test_names_tensorflow_only_where_models_are_made(self, path):
        found = {name.split(".")[0] for name in imported(parse(path))} & TENSORFLOW
        assert not found or room(path) in TENSORFLOW_ROOMS

    def test_runs_nothing_that_a_file_brings_along(self, path):
        assert list(misuse(parse(path))) == []

    def test_says_what_it_is(self, path):
        text = ast.get_docstring(parse(path))
        assert text

    def test_is_small(self, path):
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 400

    def test_checks_with_errors_not_with_assert(self, path):
        assert not [node for node in ast.walk(parse(path)) if isinstance(node, ast.Assert)]


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "from joblib import load",
        "import os; os.system('ls')",
        "eval('1')",
        "def f():\n    exec(text)",
        "keras.models.load_model(path)",
        "load_model(path)",
        "np.load(path)",
        "np.load(path, allow_pickle=True)",
        "np.load(path, allow_pickle=flag)",
        "yaml.load(text)",
        "importlib.import_module(name)",
        "import_module(f'toolchain.{name}')",
        "__import__(name)",
        "tar.extractall(folder)",
        "subprocess.run(text, shell=True)",
    ],
)
def test_the_search_for_misuse_finds(code):
    assert list(misuse(ast.parse(code)))


@pytest.mark.parametrize(
    "code",
    [
        "model.compile()",
        "re.compile('a')",
        "np.load(path, mmap_mode='r', allow_pickle=False)",
        "importlib.import_module('tensorflow')",
        "model.load_weights(path)",
    ],
)
def test_the_search_for_misuse_leaves_alone(code):
    assert list(misuse(ast.parse(code))) == []


@pytest.mark.parametrize(
    ("code", "rooms"),
    [
        ("import toolchain.data.split", {"data"}),
        ("from toolchain import training", {"training"}),
        ("from toolchain import __version__", set()),
        ("from toolchain.report.model import Report", {"report"}),
        ("def f():\n    from toolchain.export import stage", {"export"}),
        ("from ..data import split", {"data"}),
        ("from .metrics import x", {"verification"}),
        ("import json", set()),
    ],
)
def test_the_search_for_imports_finds(code, rooms):
    assert our_rooms(ast.parse(code), "toolchain.verification.parity") == rooms
