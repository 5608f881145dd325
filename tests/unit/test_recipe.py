"""Recipes: small TOML in, every mistake out at once, nothing but our errors on any input."""

from __future__ import annotations

import math
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from toolchain.errors import ExitCode, InputError, RecipeError
from toolchain.recipe import load_recipe, parse_recipe
from toolchain.recipe.sections import SECTIONS

SECONDS_FOR_A_HOSTILE_RECIPE = 2.0
SMALLEST = {"data": {"path": "photos"}}


def parse(table=None, *overrides):
    return parse_recipe(table or SMALLEST, name="a", overrides=list(overrides))


def mistakes(table, *overrides):
    with pytest.raises(RecipeError) as caught:
        parse_recipe(table, name="a", overrides=list(overrides))
    assert caught.value.exit_code == ExitCode.INPUT
    return caught.value.mistakes


@pytest.fixture
def write(tmp_path):
    def _write(content, name="r.toml"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return _write


def test_a_small_recipe_is_filled_in_from_the_backbone():
    recipe = parse()
    assert (recipe.input.size, recipe.input.pixels) == (160, "symmetric")
    assert recipe.model.alpha == 1.0
    assert recipe.fine_tune.start is not None


def test_vgg16_has_its_own_size_and_pixels():
    recipe = parse({**SMALLEST, "model": {"backbone": "vgg16"}})
    assert (recipe.input.size, recipe.input.pixels) == (150, "caffe")


def test_a_cnn_has_the_published_blocks_or_its_own():
    basic = {"backbone": "cnn", "weights": "none"}
    recipe = parse({**SMALLEST, "model": basic})
    assert (recipe.input.size, recipe.input.pixels) == (150, "unit")
    assert recipe.model.blocks == (16, 64, 128)
    own = parse({**SMALLEST, "model": {**basic, "blocks": [8] * 5}, "input": {"size": 32}})
    assert own.model.blocks == (8,) * 5


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ({}, "model.weights: expected none"),
        ({"weights": "mine.safetensors"}, "model.weights: expected none"),
        ({"weights": "embedded"}, "embedded is a mobilenet_v2, received backbone cnn"),
        ({"weights": "none", "alpha": 0.5}, "model.alpha: cnn has none"),
        ({"weights": "none", "blocks": [8] * 6}, "model.blocks: expected at most 5 for 32 pixels"),
        ({"backbone": "vgg16", "blocks": [8]}, "model.blocks: vgg16 has blocks of its own"),
    ],
)
def test_what_a_cnn_cannot_be(model, words):
    table = {**SMALLEST, "model": {"backbone": "cnn", **model}, "input": {"size": 32}}
    (mistake,) = mistakes(table)
    assert words in mistake


def test_embedded_weights_bring_their_width_and_size():
    recipe = parse({**SMALLEST, "model": {"weights": "embedded"}})
    assert (recipe.input.size, recipe.model.alpha) == (48, 0.35)


def test_all_mistakes_are_reported_at_once():
    found = mistakes(
        {
            "data": {"path": "photos", "seeed": 1},
            "tran": {},
            "train": {"epochs": "five", "learning_rate": -1},
            "export": {"formats": ["tfl"]},
        }
    )
    for key in ("data.seeed", "tran", "train.epochs", "train.learning_rate", "export.formats"):
        assert any(mistake.startswith(f"{key}:") for mistake in found), key
    assert len(found) == 5


@pytest.mark.parametrize(
    ("table", "hint"),
    [
        ({"tran": {}}, "train"),
        ({"train": {"epoch": 1}}, "train.epochs"),
        ({"model": {"head": {"droput": 0.1}}}, "model.head.dropout"),
        ({"model": {"backbone": "mobilenetv2"}}, "mobilenet_v2"),
    ],
)
def test_a_misspelling_gets_the_nearest_name(table, hint):
    assert any(f"did you mean {hint}?" in mistake for mistake in mistakes({**SMALLEST, **table}))


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("train", "epochs", 0),
        ("train", "epochs", 10_001),
        ("train", "epochs", True),
        ("train", "epochs", 2.0),
        ("train", "epochs", 10**400),
        pytest.param("train", "epochs", -(10**5000), id="epochs of 5000 digits"),
        ("train", "learning_rate", math.nan),
        ("train", "learning_rate", math.inf),
        ("train", "learning_rate", 10**400),
        ("train", "learning_rate", "0.1"),
        ("train", "xla", 1),
        ("train", "xla", "yes"),
        ("fine_tune", "start", math.nan),
        ("fine_tune", "start", -math.inf),
        ("fine_tune", "start", 1.5),
        ("fine_tune", "start", True),
        ("model", "weights", 3),
        ("model", "weights", "a\x00b"),
        ("data", "path", "a\nb"),
        ("export", "formats", "tflite"),
        ("export", "formats", []),
        ("export", "formats", [["tflite"]]),
        ("benchmark", "threads", [0]),
        ("benchmark", "threads", []),
        ("benchmark", "threads", [1] * 65),
    ],
)
def test_a_value_out_of_bounds_is_refused(section, key, value):
    table = {"data": {"path": "photos"}}
    table.setdefault(section, {})[key] = value
    found = mistakes(table)
    assert len(found) == 1
    assert found[0].startswith(f"{section}.{key}:")


def test_what_is_timed_is_in_order_each_once():
    lists = ("threads=[2, 1, 1]", "batches=[8, 1, 32, 8]", "providers=['cuda', 'cpu', 'cuda']")
    made = parse(None, *(f"benchmark.{one}" for one in lists)).benchmark
    assert (made.threads, made.batches) == ((1, 2), (1, 8, 32))
    assert made.providers == ("cuda", "cpu")


def test_a_whole_number_stands_for_a_float():
    recipe = parse({**SMALLEST, "train": {"learning_rate": 1}})
    assert recipe.train.learning_rate == 1.0
    assert isinstance(recipe.train.learning_rate, float)


@pytest.mark.parametrize(
    ("table", "key"),
    [
        ({"data": {"source": "folders"}}, "data.path"),
        ({"data": {"path": "x", "validation": 0.5, "test": 0.5}}, "data.validation + data.test"),
        ({"data": {"path": "x"}, "model": {"alpha": 0.6}}, "model.alpha"),
        ({"data": {"path": "x"}, "model": {"backbone": "vgg16", "alpha": 0.5}}, "model.alpha"),
        ({"data": {"path": "x"}, "input": {"pixels": "caffe"}}, "input.pixels"),
        (
            {"data": {"path": "x"}, "augment": {"mixup": 0.2}, "train": {"feature_views": 2}},
            "train.feature_views",
        ),
        (
            {"data": {"path": "x"}, "model": {"weights": "none"}, "train": {"feature_views": 2}},
            "train.feature_views",
        ),
        (
            {"data": {"path": "x"}, "train": {"schedule": "plateau", "plateau_epochs": 5}},
            "train.plateau_epochs",
        ),
        (
            {
                "data": {"path": "x"},
                "train": {"patience": 2},
                "fine_tune": {"schedule": "plateau"},
            },
            "train.plateau_epochs",
        ),
    ],
)
def test_keys_that_disagree_are_refused(table, key):
    assert [mistake.split(":")[0] for mistake in mistakes(table)] == [key]


@pytest.mark.parametrize(
    ("head", "words"),
    [
        ({"dense": [8, 4], "dropout": [0.1, 0.2]}, "model.head.dropout: expected 3 shares"),
        ({"dropout": []}, "model.head.dropout: expected 1 shares"),
        ({"dropout": [0.99]}, "model.head.dropout: expected 0.0 to 0.95"),
        ({"dropout": "much"}, "model.head.dropout: expected a number or a list, received 'much'"),
        ({"output": "sigmoid"}, "export.precisions: a head of sigmoids has no int8 form"),
        ({"activation": "gelu"}, "model.head.activation: expected one of relu, relu6, linear"),
    ],
)
def test_a_head_that_cannot_be_is_told_why(head, words):
    assert mistakes({**SMALLEST, "model": {"head": head}})[0].startswith(words)


def test_a_head_of_sigmoids_is_free_to_be_float():
    table = {**SMALLEST, "model": {"head": {"output": "sigmoid"}}}
    assert parse(table, 'export.precisions=["fp32"]').model.head.output == "sigmoid"


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ({}, "train.class_weights: expected at least one name"),
        ({"cat": -1}, "train.class_weights.cat: expected 0.0 to"),
        ({"cat": "heavy"}, "train.class_weights.cat: expected a number"),
        ({"c\nat": 1}, "train.class_weights: expected names on one line"),
        ("balance", "train.class_weights: expected one of none, balanced"),
        (2.0, "train.class_weights: expected text or a table"),
    ],
)
def test_wrong_class_weights_are_named_by_their_key(weights, words):
    assert mistakes({**SMALLEST, "train": {"class_weights": weights}})[0].startswith(words)


def test_class_weights_are_set_one_by_one():
    recipe = parse(None, "train.class_weights.cat=2", "train.class_weights.dog=0.5")
    assert recipe.train.class_weights == {"cat": 2.0, "dog": 0.5}


def test_overrides_win_and_keep_the_rest():
    recipe = parse(
        {**SMALLEST, "train": {"epochs": 3, "seed": 9}},
        "train.epochs=7",
        "model.head.dense=[64, 32]",
        "model.weights=none",
    )
    assert (recipe.train.epochs, recipe.train.seed) == (7, 9)
    assert recipe.model.head.dense == (64, 32)
    assert recipe.model.weights == "none"


@pytest.mark.parametrize("day", ["2024-05-01", "07:32:00", "2024-05-01T07:32:00"])
def test_a_folder_called_like_a_date_needs_no_quotes(day):
    assert parse(SMALLEST, f"data.path={day}").data.path == day


def test_a_second_line_of_an_override_is_not_dropped():
    assert mistakes(SMALLEST, "train.epochs=5\nx = 1") == [
        "train.epochs: expected a whole number, received '5\\nx = 1'"
    ]


def test_a_mark_before_the_first_byte_is_no_mistake(write):
    path = write(b"\xef\xbb\xbf" + b'[data]\npath = "photos"\n')
    assert load_recipe(path).data.path == "photos"


def test_overrides_do_not_change_the_table_that_was_passed():
    table = {"data": {"path": "photos"}, "train": {"epochs": 3}}
    parse(table, "train.epochs=7")
    assert table["train"]["epochs"] == 3


@pytest.mark.parametrize("text", ["", "=", "train.epochs", "=5", "train.=5", ".epochs=5"])
def test_an_override_of_another_form_is_refused(text):
    assert any("expected section.key=value" in mistake for mistake in mistakes(SMALLEST, text))


def test_mistakes_of_file_and_overrides_come_together():
    found = mistakes({**SMALLEST, "train": {"epochs": 0}}, "quantize.epochs=-1", "x.y=1")
    assert [mistake.split(":")[0] for mistake in found] == ["train.epochs", "quantize.epochs", "x"]


def test_the_hash_does_not_depend_on_the_order_of_keys():
    one = {"data": {"path": "p", "seed": 3}, "train": {"epochs": 4, "seed": 2}}
    two = {"train": {"seed": 2, "epochs": 4}, "data": {"seed": 3, "path": "p"}}
    assert parse(one).sha256() == parse(two).sha256()


def test_the_hash_depends_on_every_value():
    hashes = {
        parse(SMALLEST, override).sha256()
        for override in ("train.epochs=3", "train.epochs=4", "train.seed=5", "augment.flip=true")
    }
    assert len(hashes) == 4


def test_the_hash_is_the_same_whether_a_default_is_written_down():
    assert parse().sha256() == parse(SMALLEST, "input.size=160").sha256()


def test_section_is_what_a_stage_depends_on():
    assert parse(SMALLEST, "train.epochs=3").section("train")["epochs"] == 3


def test_the_name_is_the_folder_of_recipe_toml(write, monkeypatch):
    path = write('[data]\npath = "photos"\n', "cats/recipe.toml")
    assert load_recipe(path).name == "cats"
    monkeypatch.chdir(path.parent)
    assert load_recipe(path.relative_to(path.parent)).name == "cats"


def test_the_name_is_the_file_or_what_it_says(write):
    assert load_recipe(write('[data]\npath = "photos"\n', "dogs.toml")).name == "dogs"
    assert load_recipe(write('name = "b"\n[data]\npath = "p"\n', "dogs.toml")).name == "b"


@pytest.mark.parametrize("name", ["../x", ".hidden", "a/b", "", "A", "a b", "x" * 101, 3, None])
def test_a_name_cannot_leave_the_run_folder(name):
    assert any(mistake.startswith("name:") for mistake in mistakes({**SMALLEST, "name": name}))


def test_a_missing_recipe_says_so(tmp_path):
    with pytest.raises(InputError, match="expected a recipe file"):
        load_recipe(tmp_path / "none.toml")


@pytest.mark.parametrize("name", ["", "/dev/null", "a" * 5000, "a\x00b"])
def test_what_is_not_a_file_is_refused(tmp_path, name):
    with pytest.raises(InputError):
        load_recipe(tmp_path / name)


@pytest.mark.parametrize("content", [b"# " + b"x" * 2**21, b"x\n" * 2**17, b"x = " + b"[" * 5_000])
def test_a_recipe_that_is_not_small_is_refused(write, content):
    with pytest.raises(InputError, match="at most"):
        load_recipe(write(content))


@pytest.mark.parametrize(
    "content",
    [
        b"\xff\xfe[\x00d\x00",
        b"[data]\npath = 'caf\xe9'\n",
        b"[data\n",
        b"x = [" + b"\n[" * 20_000,
        b"x = [" + b"\n[" * 15_000 + b"\n]" * 15_001,
        b"x = " + b"9" * 2_040,
        b"x = " + b"[\n" + b"9" * 2_048,
        b"[data]\npath = 'p'\n" + (b"[train]\nepochs" + b".a" * 1_000 + b" = 1\n"),
        b"\n".join(b"x%d" % line + b".a" * 1_000 + b" = 1" for line in range(31)),
        b"[" + b"a." * 1_000 + b"a]\n",
        b"[data]\npath = 'p'\n[train]\nepochs = 0x" + b"f" * 2_000,
        b"\x00" * 100,
    ],
    ids=[
        "utf-16",
        "latin-1",
        "unclosed",
        "open brackets",
        "deep list",
        "2040 digits",
        "2048 digits in a list",
        "deep value",
        "many deep keys",
        "deep table",
        "hexadecimal",
        "zeros",
    ],
)
def test_hostile_bytes_are_a_recipe_error_at_once(write, content):
    path = write(content)
    started = time.process_time()
    with pytest.raises(RecipeError):
        load_recipe(path)
    assert time.process_time() - started < SECONDS_FOR_A_HOSTILE_RECIPE


def test_a_number_too_long_for_python_is_refused_by_set_too():
    assert mistakes(SMALLEST, f"train.epochs={'9' * 5_000}")
    assert mistakes(SMALLEST, f"train.epochs=0x{'f' * 20_000}")


def test_a_flood_of_unknown_keys_is_answered_at_once(write):
    path = write("\n".join(f"{'k' * (n % 3)}{n}=1" for n in range(6_000)))
    started = time.process_time()
    with pytest.raises(RecipeError, match="more mistakes") as caught:
        load_recipe(path)
    assert time.process_time() - started < SECONDS_FOR_A_HOSTILE_RECIPE
    assert len(str(caught.value).splitlines()) == 101


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(min_value=10**300, max_value=10**500),
    st.floats(),
    st.text(max_size=20),
    st.dates(),
    st.sampled_from(["mobilenet_v2", "embedded", "tflite", "digits", "backbone", "caffe"]),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=8,
)
KEYS = st.one_of(
    st.text(max_size=10),
    st.sampled_from(sorted({name for cls in SECTIONS.values() for name in cls.__slots__})),
)
TABLES = st.dictionaries(
    st.sampled_from([*SECTIONS, "name", "extra"]),
    VALUES | st.dictionaries(KEYS, VALUES, max_size=6),
    max_size=6,
)


@settings(max_examples=600)
@given(TABLES, st.lists(st.text(max_size=30), max_size=2))
@example({"fine_tune": {"start": math.nan}, "data": {"path": "x"}}, [])
@example({"augment": {"mixup": "much"}}, [])
def test_any_table_is_a_recipe_or_a_recipe_error(table, overrides):
    try:
        recipe = parse_recipe(table, name="a", overrides=overrides)
    except RecipeError as error:
        assert error.mistakes
    else:
        assert len(recipe.sha256()) == 64
        assert recipe.input.size is not None


@settings(max_examples=300)
@given(st.binary(max_size=200))
def test_any_bytes_are_a_recipe_or_an_input_error(tmp_path, data):
    path = tmp_path / "r.toml"
    path.write_bytes(data)
    with pytest.raises(InputError):
        load_recipe(path)


def test_a_key_of_a_wrong_type_is_told_once_and_nothing_follows_from_it():
    data = {"path": 5, "validation": "half", "test": 0.8}
    train = {"schedule": "plateau", "patience": "long"}
    found = mistakes({"data": data, "augment": {"mixup": "much"}, "train": train})
    assert sorted(found) == [
        "augment.mixup: expected a number, received 'much'",
        "data.path: expected text, received 5",
        "data.validation: expected a number, received 'half'",
        "train.patience: expected a whole number, received 'long'",
    ]


def test_a_section_of_a_wrong_type_is_told_once():
    assert mistakes({"data": 5}) == ["data: expected a table [data], received 5"]


def test_a_table_inside_a_section_is_typed_like_a_section():
    data = {"path": "photos", "limit": {"train": 3000, "test": 10}}
    limit = parse({"data": data}).data.limit
    assert (limit.train, limit.validation, limit.test) == (3000, None, 10)
    assert parse(None, "data.limit.validation=5").data.limit.validation == 5


@pytest.mark.parametrize(
    ("limit", "words"),
    [
        ({"train": 0}, "data.limit.train: expected 1 to"),
        ({"train": "all"}, "data.limit.train: expected a whole number"),
        ({"val": 3}, "did you mean data.limit.validation?"),
        (5, "data.limit: expected a table [data.limit], received 5"),
    ],
)
def test_a_wrong_limit_is_named_by_its_key(limit, words):
    assert words in mistakes({"data": {"path": "photos", "limit": limit}})[0]


def test_a_source_that_brings_its_images_needs_no_path():
    assert parse({"data": {"source": "tfds:mnist"}}).data.source == "tfds:mnist"
    assert "data.source: expected one of" in mistakes({"data": {"source": "tfds:"}})[0]
    assert any("data.path" in m for m in mistakes({"data": {"source": "places365"}}))


@pytest.mark.parametrize(
    ("backbone", "near", "name", "first"),
    [
        ("mobilenet_v2", "block_1_expnd", "block_1_expand", "Conv1"),
        ("vgg16", "block5_conv4", "block5_conv3", "block1_conv1"),
        ("cnn", "head_dense_2", "head_dense_1", "block1_conv1"),
    ],
)
def test_layers_that_the_network_does_not_have_are_told_before_it_is_trained(
    backbone, near, name, first
):
    model = {"backbone": backbone, "head": {"dense": [8]}}
    model |= {"weights": "none"} if backbone == "cnn" else {}
    table = {**SMALLEST, "model": model, "quantize": {"skip_layers": [near, "zzz", "logits"]}}
    typo, nothing = mistakes(table)
    assert typo == (
        f"quantize.skip_layers: expected a layer with weights, received {near!r} "
        f"(did you mean {name}?)"
    )
    assert nothing.endswith(f"received 'zzz' (the first is {first})")
    table["quantize"] = {"skip_layers": [first, name, "logits"]}
    assert parse(table).quantize.skip_layers == (first, name, "logits")


def test_all_layers_float_are_no_int8_file():
    names = ["block1_conv1", "block2_conv1", "logits"]
    model = {"backbone": "cnn", "weights": "none", "blocks": [4, 8]}
    table = {**SMALLEST, "model": model, "quantize": {"skip_layers": names}}
    (told,) = mistakes(table)
    assert told == "quantize.skip_layers: expected some of the layers, received all of them"


def test_bytes_out_of_a_float_layer_are_refused_where_tflite_files_are_written():
    """int8_io is of those files alone."""
    table = {**SMALLEST, "quantize": {"skip_layers": ["logits"]}}
    assert parse(table).quantize.skip_layers == ("logits",)
    (told,) = mistakes({**table, "export": {"int8_io": "uint8"}})
    assert "expected no logits" in told
    for others in ({"formats": ["onnx"]}, {"precisions": ["fp32"]}):
        assert parse({**table, "export": {"int8_io": "uint8", **others}})


def test_quantization_aware_training_without_training_is_refused():
    (told,) = mistakes(SMALLEST, "quantize.epochs=0")
    assert "int8-ptq" in told
    recipe = parse(SMALLEST, "quantize.epochs=0", 'export.precisions=["fp32", "int8-ptq"]')
    assert recipe.quantize.epochs == 0


def test_clusters_and_a_normalisation_that_takes_them_apart_are_refused():
    head = {"dense": [8], "batch_norm": "after"}
    table = {**SMALLEST, "model": {"head": head}, "compress": {"clusters": 16}}
    (told,) = mistakes(table)
    assert told.startswith("compress.clusters: expected 0 with model.head.batch_norm = after")
    # Behind a linear layer it is folded into the layer's own columns.
    linear = {"activation": "linear"}
    for changed in ({"batch_norm": "before"}, {"dense": []}, linear):
        assert parse({**table, "model": {"head": head | changed}}).compress.clusters == 16
    assert parse({**table, "compress": {"sparsity": 0.5}}).compress.sparsity == 0.5


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("quantize", "skip_layers", [["a"]]),
        ("quantize", "skip_layers", [{"a": 1}]),
        ("export", "precisions", [8]),
        ("export", "formats", [True, "tflite"]),
    ],
)
def test_items_of_another_type_are_mistakes_and_no_crash(section: str, key: str, value) -> None:
    table = {**SMALLEST, "model": {"head": {"output": "sigmoid"}}, section: {key: value}}
    with pytest.raises(RecipeError) as caught:
        parse(table)
    assert any(f"{section}.{key}: expected text" in one for one in caught.value.mistakes)


def test_a_mixup_too_small_to_be_drawn_is_refused():
    (told,) = mistakes({**SMALLEST, "augment": {"mixup": 1e-39}})
    assert told == "augment.mixup: expected 0 or at least 0.001, received 1e-39"
    assert parse({**SMALLEST, "augment": {"mixup": 0.001}}).augment.mixup == 0.001
