"""`quantize --tune-onnx` on a machine whose onnxruntime lacks a kernel."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from toolchain import verification
from toolchain.cli import onnx_forms, published
from toolchain.contract import ExportedModel
from toolchain.errors import ModelError
from toolchain.recipe.sections import ONNX_FORMS

STANDARD, *OTHERS = ONNX_FORMS


@dataclass
class Some:
    """Three validation photos, and which file onnxruntime does not open."""

    refused: str
    names: tuple[str, ...] = ("a", "b", "c")

    def indices(self, split: str) -> np.ndarray:
        assert split == "validation"
        return np.arange(3)

    def label_array(self) -> np.ndarray:
        return np.zeros(3, np.int64)

    def pixels(self) -> Any:
        return SimpleNamespace(view=lambda rows: rows)

    def ask(self, models: list[ExportedModel], pixels: Any) -> tuple[str, ...]:
        if models[0].path.name == self.refused:
            raise ModelError("there is no kernel for it", self.refused)
        return tuple(model.path.name for model in models)


def verified(refused: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    export = pytest.importorskip("toolchain.export.reference")
    some = Some(refused)
    some.classes = ()
    for module, name, value in (
        (published, "dataset", lambda *_: some),
        (published, "trained", lambda _: None),
        (published, "quantization", lambda _: None),
        (export, "reference_probabilities", lambda *_: {}),
        (verification, "ask", some.ask),
        (verification, "verify", lambda asked, *_: SimpleNamespace(files=asked)),
    ):
        monkeypatch.setattr(module, name, value)
    files = {name: ExportedModel(Path(name), "", None) for name in (onnx_forms.FLOAT, *ONNX_FORMS)}
    recipe = SimpleNamespace(verify=None)
    return onnx_forms._verify(recipe, None, files)


def test_a_form_that_does_not_run_here_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    found = verified(OTHERS[0], monkeypatch)
    assert found == {name: name for name in ("fp32", STANDARD, *OTHERS[1:])}


def test_the_standard_form_has_to_run(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelError, match="no kernel"):
        verified(STANDARD, monkeypatch)
