"""What makes a stage run again, and which stages a recipe needs."""

from __future__ import annotations

import pytest

from toolchain.cli.chain import STAGES, key_of, needed
from toolchain.recipe import Recipe, parse_recipe

FLOATS = ("fp32", "fp16", "w8")


def recipe_for(*precisions: str, **quantize: int) -> Recipe:
    table = {
        "data": {"source": "digits"},
        "quantize": quantize,
        "export": {"precisions": list(precisions)},
    }
    return parse_recipe(table, name="digits")


def key(*precisions: str, **quantize: int) -> str:
    recipe = recipe_for(*precisions, **quantize)
    return key_of(STAGES["quantize"], recipe, {"data": "photos", "train": "weights"})


def test_other_files_are_no_reason_to_quantize_again() -> None:
    asked = key("fp32", "int8-qat")
    assert key(*FLOATS, "int8-ptq", "int8-qat") == asked
    assert key("int8-qat") == asked


def test_training_is_a_reason() -> None:
    """int8-ptq alone is calibrated only; int8-qat added to it needs the epochs."""
    assert key("fp32", "int8-ptq") != key("fp32", "int8-ptq", "int8-qat")
    assert key("int8-qat", epochs=1) != key("int8-qat", epochs=2)


@pytest.mark.parametrize(
    ("precisions", "quantizes"),
    [(FLOATS, False), (("fp32", "int8-ptq"), True), (("int8-qat",), True)],
)
def test_float_files_alone_need_no_quantization(
    precisions: tuple[str, ...], quantizes: bool
) -> None:
    names = [stage.name for stage in needed("report", recipe_for(*precisions))]
    assert ("quantize" in names) == quantizes
