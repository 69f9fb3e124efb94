"""Networks: what they are made of, that they are made once, and that they answer the same however they are run."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray

from tfmnist.errors import InputError
from tfmnist.nn.layers import ACTIVATIONS
from tfmnist.nn.models import CNN, MLP, Network, pool_before_activation, to_unit
from tfmnist.recipe import Model, Recipe, shipped_recipes
from tfmnist.runs.build import make_model

LIST = ["conv 4 3x3 /2 valid", "max 2", "conv 6 2x2", "flatten", "dense 7", "dropout 0.5"]


def pictures(*shape: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def small_mlp(**options: Any) -> MLP:
    return MLP((6, 5), **{"hidden": [8, 4], "classes": 3, "batch_norm": True, "dropout": 0.5, **options})


def small_cnn(**options: Any) -> CNN:
    return CNN((12, 11), **{"layers": LIST, "classes": 3, **options})


SMALL: dict[str, Callable[..., Network]] = {"mlp": small_mlp, "cnn": small_cnn}


def shapes(model: Network) -> dict[str, list[int | None]]:
    return {name: variable.shape.as_list() for name, variable in model.named_variables().items()}


def test_the_mlp_of_the_introductions_has_the_known_number_of_parameters() -> None:
    model = MLP((28, 28), [512], 10)
    assert model.parameter_count == 784 * 512 + 512 + 512 * 10 + 10 == 407_050
    assert list(model.named_variables()) == ["dense_1/kernel", "dense_1/bias", "logits/kernel", "logits/bias"]
    assert not model.has_convolutions


def test_batch_norm_adds_two_parameters_and_two_statistics_a_channel() -> None:
    model = small_mlp()
    assert shapes(model) == {
        "dense_1/kernel": [30, 8],
        "batch_norm_1/scale": [8],
        "batch_norm_1/offset": [8],
        "batch_norm_1/mean": [8],
        "batch_norm_1/variance": [8],
        "dense_2/kernel": [8, 4],
        "batch_norm_2/scale": [4],
        "batch_norm_2/offset": [4],
        "batch_norm_2/mean": [4],
        "batch_norm_2/variance": [4],
        "logits/kernel": [4, 3],
        "logits/bias": [3],
    }
    assert model.parameter_count == 240 + 16 + 32 + 8 + (12 + 3)
    assert [p.name for p in model.parameters] == [
        f"{name}:0" for name in model.named_variables() if not name.endswith(("mean", "variance"))
    ]


def test_no_hidden_layer_is_softmax_regression() -> None:
    model = MLP((6, 5), [], 4)
    images = pictures(3, 6, 5)
    kernel, bias = (variable.numpy() for variable in model.parameters)
    assert (kernel.shape, bias.shape) == ((30, 4), (4,))
    expected = images.reshape(3, 30) / 255 @ kernel + bias
    np.testing.assert_allclose(model.logits(images), expected, rtol=1e-4, atol=1e-5)


def test_an_mlp_is_products_and_activations() -> None:
    model = MLP((6, 5), [8, 4], 3, activation="tanh")
    images = pictures(7, 6, 5)
    x = images.reshape(7, 30) / 255
    kernels = [variable.numpy() for variable in model.parameters]
    for kernel, bias in (kernels[0:2], kernels[2:4]):
        x = np.tanh(x @ kernel + bias)
    np.testing.assert_allclose(model.logits(images), x @ kernels[4] + kernels[5], rtol=1e-4, atol=1e-5)


def test_networks_can_go_without_biases() -> None:
    assert list(shapes(small_mlp(bias=False, batch_norm=False))) == [
        "dense_1/kernel",
        "dense_2/kernel",
        "logits/kernel",
    ]
    assert list(shapes(small_cnn(bias=False, batch_norm=False))) == [
        "conv_1/kernel",
        "conv_2/kernel",
        "dense_1/kernel",
        "logits/kernel",
    ]


def test_a_cnn_is_its_list() -> None:
    model = small_cnn(batch_norm=False)
    assert [(layer.name, layer.output_shape) for layer in model.layers] == [
        ("grey", (12, 11, 1)),
        ("conv_1", (5, 5, 4)),
        ("relu_1", (5, 5, 4)),
        ("max_1", (2, 2, 4)),
        ("conv_2", (2, 2, 6)),
        ("relu_2", (2, 2, 6)),
        ("flatten_1", (24,)),
        ("dense_1", (7,)),
        ("relu_3", (7,)),
        ("dropout_1", (7,)),
        ("logits", (3,)),
    ]
    assert model.parameter_count == (9 * 4 + 4) + (4 * 4 * 6 + 6) + (24 * 7 + 7) + (7 * 3 + 3)
    assert model.has_convolutions
    assert model.logits(pictures(2, 12, 11)).shape == (2, 3)


def test_a_cnn_flattens_where_it_must() -> None:
    def names(*layers: str) -> list[str]:
        model = CNN((8, 8), ["conv 2 3x3", *layers], 3, batch_norm=False)
        return [layer.name for layer in model.layers][3:]  # after grey, conv_1, relu_1

    assert names("dense 4") == ["flatten_1", "dense_1", "relu_2", "logits"]
    assert names() == ["flatten_1", "logits"]
    assert names("global average") == ["global_1", "logits"]
    assert names("flatten", "flatten") == ["flatten_1", "logits"]


def test_dropout_of_a_cnn_follows_dense_layers_only() -> None:
    model = CNN((8, 8), ["conv 2 3x3", "dense 4", "dense 5"], 3, dropout=0.5, batch_norm=False)
    names = [layer.name for layer in model.layers]
    assert [names[i - 2 : i + 1] for i, name in enumerate(names) if name.startswith("dropout")] == [
        ["dense_1", "relu_2", "dropout_1"],
        ["dense_2", "relu_3", "dropout_2"],
    ]


@pytest.mark.parametrize(
    ("layers", "complaint"),
    [
        (["conf 4 3x3"], "'conf 4 3x3': expected one of"),
        (["conv 4"], "'conv 4': expected one of"),
        (["conv 0 3x3"], "'conv 0 3x3': expected one of"),
        (["dropout 1.0"], r"'dropout 1\.0': expected one of"),
        (["dense 5", "conv 4 3x3"], "'conv 4 3x3' after the image was flattened; move it before"),
        (["global max", "max 2"], "'max 2' after the image was flattened"),
        (["max 2", "max 2", "max 2", "max 2"], "layer max_4: a 2x2 window does not fit 1x1; remove a pooling layer"),
        (["conv 4 9x9 valid"], "layer conv_1: a 9x9 kernel does not fit 8x8"),
    ],
)
def test_lists_that_make_no_network_are_refused(layers: list[str], complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        CNN((8, 8), layers, 3)


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda: MLP(activation="rellu"), r"activation 'rellu' does not exist; did you mean 'relu'\?"),
        (lambda: CNN(activation="rellu"), r"activation 'rellu' does not exist; did you mean 'relu'\?"),
        (lambda: MLP(initializer="hee"), r"initializer 'hee' does not exist; did you mean 'he'\?"),
        (lambda: MLP(classes=1), "classes is 1: expected 2 to 1000"),
        (lambda: CNN(classes=1001), "classes is 1001: expected 2 to 1000"),
        (lambda: MLP(hidden=[5, 0]), "hidden has width 0: expected at least 1"),
    ],
)
def test_arguments_out_of_range_are_refused(make: Callable[[], Network], complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        make()


@pytest.mark.parametrize("kind", SMALL)
def test_no_variable_is_made_after_the_constructor(kind: str) -> None:
    model = SMALL[kind]()
    before = {id(variable) for variable in model.variables}
    assert before == {id(variable) for variable in model.named_variables().values()}
    images = to_unit(tf.constant(pictures(4, *model.image_shape)))
    model.forward(images)
    model.forward(images, training=True, step=tf.constant(0, tf.int64))
    model.logits(pictures(4, *model.image_shape))
    assert {id(variable) for variable in model.variables} == before


@pytest.mark.parametrize("kind", SMALL)
def test_logits_are_float32_in_bfloat16_too_and_close(kind: str) -> None:
    model = SMALL[kind](dropout=0.0)
    images = tf.constant(pictures(16, *model.image_shape))
    exact, rough = (model.forward(to_unit(images, dtype)) for dtype in (tf.float32, tf.bfloat16))
    assert exact.dtype == rough.dtype == tf.float32
    assert 0 < np.abs(exact - rough).max() < 0.05 * np.abs(exact).max()
    assert {variable.dtype for variable in model.variables} == {tf.float32}


@pytest.mark.parametrize("kind", SMALL)
def test_logits_take_any_number_of_images_in_one_trace(kind: str) -> None:
    model = SMALL[kind]()
    images = pictures(7, *model.image_shape)
    seven = model.logits(images).numpy()
    for count in (1, 3):
        np.testing.assert_allclose(model.logits(images[:count]), seven[:count], rtol=1e-4, atol=1e-5)
    assert seven.shape == (7, 3)
    assert model._logits.experimental_get_tracing_count() == 1


@pytest.mark.parametrize("kind", SMALL)
def test_logits_of_no_images_are_no_logits(kind: str) -> None:
    model = SMALL[kind]()
    logits = model.logits(pictures(0, *model.image_shape))
    assert (logits.shape, logits.dtype) == ((0, 3), tf.float32)


@pytest.mark.parametrize("kind", SMALL)
def test_a_seed_decides_the_weights(kind: str) -> None:
    digests = [SMALL[kind](seed=seed).sha256() for seed in (0, 1, 2**40)]
    assert len(set(digests)) == 3
    assert SMALL[kind](seed=1).sha256() == digests[1]
    assert len(digests[0]) == 64


def test_sha256_sees_every_variable() -> None:
    model = small_mlp()
    seen = {model.sha256()}
    for variable in model.variables:
        variable.assign_add(tf.fill(variable.shape, 0.5))
        seen.add(model.sha256())
    assert len(seen) == len(model.variables) + 1


@pytest.mark.parametrize("kind", SMALL)
def test_summary_shows_every_layer_and_the_total_in_80_columns(kind: str) -> None:
    model = SMALL[kind]()
    lines = model.summary().splitlines()
    assert [line.split()[0] for line in lines] == ["layer", "images", *(layer.name for layer in model.layers), "total"]
    assert max(len(line) for line in lines) <= 80
    assert lines[-1].split()[-1] == f"{model.parameter_count:,}"
    counts = [int(line[-12:].replace(",", "")) for line in lines[2:-1] if line[-12:].strip()]
    assert sum(counts) == model.parameter_count


def test_summary_separates_thousands() -> None:
    lines = MLP().summary().splitlines()
    assert lines[3].split() == ["dense_1", "512", "401,920"]
    assert lines[-1].split() == ["total", "407,050"]


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("kind", SMALL)
def test_forward_is_the_same_eager_and_compiled(kind: str, training: bool) -> None:
    model = SMALL[kind](dropout=0.0, **({"layers": LIST[:-1]} if kind == "cnn" else {}))
    images = to_unit(tf.constant(pictures(5, *model.image_shape)))

    def forward(x: tf.Tensor) -> tf.Tensor:
        return model.forward(x, training, tf.constant(1, tf.int64))

    expected = forward(images)
    for xla in (False, True):
        compiled = tf.function(forward, autograph=False, jit_compile=xla)
        np.testing.assert_allclose(compiled(images), expected, rtol=1e-4, atol=1e-5)


def test_training_drops_and_evaluation_does_not() -> None:
    model = MLP((6, 5), [50], 3, dropout=0.5)
    images = to_unit(tf.constant(pictures(4, 6, 5)))
    first, again, later = (model.forward(images, True, tf.constant(step, tf.int64)).numpy() for step in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.isclose(first, later).all()
    np.testing.assert_array_equal(model.forward(images), model.forward(images))


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation_can_be_trained_through(activation: str) -> None:
    model = small_cnn(activation=activation, batch_norm=False)
    images = to_unit(tf.constant(pictures(4, 12, 11)))
    with tf.GradientTape() as tape:
        value = tf.reduce_sum(model.forward(images, True, tf.constant(0, tf.int64)) ** 2)
    gradients: Any = tape.gradient(value, model.parameters)
    assert all(np.isfinite(g).all() and np.any(g) for g in gradients)


def test_to_unit_is_division_by_255() -> None:
    values = np.arange(256, dtype=np.uint8)
    np.testing.assert_allclose(to_unit(tf.constant(values)), values / 255, rtol=1e-6)
    rough = to_unit(tf.constant(values), tf.bfloat16)
    assert rough.dtype == tf.bfloat16
    np.testing.assert_allclose(tf.cast(rough, tf.float32), values / 255, rtol=2**-7)
    assert float(rough[0]) == 0.0
    assert float(rough[255]) == 1.0


@pytest.mark.parametrize("name", shipped_recipes())
def test_shipped_recipes_make_networks_of_known_size(name: str) -> None:
    recipe = Recipe.load(name)
    model = make_model(recipe.model, (28, 28), 10, recipe.train.seed)
    norms = 2 * (32 + 64 + 128)
    expected = {
        "mlp": 407_050,
        "mlp-as-printed": 407_050,
        "sigmoid-mlp": 784 * 30 + 30 + 30 * 10 + 10,
        "online-mlp": 784 * 100 + 100 * 10,
        "imagefolder-mlp": 784 * 256 + 256 + 256 * 10 + 10,
        "cnn": 25 * 32 + 9 * 32 * 64 + 9 * 64 * 128 + norms + 128 * 10 + 10,
        "cnn-fast": 25 * 16 + 9 * 16 * 48 + 9 * 48 * 96 + 2 * (16 + 48 + 96) + 96 * 10 + 10,
        "cnn-best": 25 * 32 + 9 * (32 * 64 + 64 * 64 + 64 * 128 + 128 * 128) + 2 * (32 + 2 * 64 + 2 * 128) + 1290,
        "mlp-best": 1024 * (784 + 1024 + 512) + 2 * (1024 + 1024 + 512) + 5130,
        "mlp-permutation": 784_000 + 500_000 + 125_000 + 2 * 62_500 + 2 * 2250 + 2510,
    }
    assert model.parameter_count == expected[name]
    assert model.logits(pictures(2, 28, 28)).shape == (2, 10)


def test_a_network_that_does_not_fit_is_refused_before_it_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = r"has {} parameters: expected at most {}; make the layers smaller"
    with pytest.raises(InputError, match="dense_1 " + expected.format("822,083,584", "268,435,456")):
        make_model(Model(kind="mlp", hidden=(2**20,)), (28, 28), 10, seed=0)
    monkeypatch.setattr("tfmnist.nn.layers.MOST_PARAMETERS", 2000)
    with pytest.raises(InputError, match="network " + expected.format("2,170", "2,000")):
        make_model(Model(kind="mlp", hidden=(2, 200)), (28, 28), 10, seed=0)


def test_make_model_passes_every_key() -> None:
    section = Model(
        kind="mlp",
        hidden=(8,),
        activation="gelu",
        initializer="uniform",
        init_scale=0.01,
        bias=False,
        batch_norm=True,
        batch_norm_momentum=0.5,
        dropout=0.25,
    )
    model = make_model(section, (6, 5), 3, seed=4)
    assert [layer.name for layer in model.layers] == [
        "flatten",
        "dense_1",
        "batch_norm_1",
        "gelu_1",
        "dropout_1",
        "logits",
    ]
    norm: Any = model.layers[2]
    drop: Any = model.layers[4]
    assert (norm.momentum, drop.rate) == (0.5, 0.25)
    kernel = model.named_variables()["dense_1/kernel"].numpy()
    assert 0.009 < np.abs(kernel).max() <= 0.01
    assert "dense_1/bias" not in model.named_variables()
    same = MLP((6, 5), [8], 3, initializer="uniform", init_scale=0.01, bias=False, seed=4)
    assert np.array_equal(kernel, same.named_variables()["dense_1/kernel"].numpy())


# Freezing


def trained_names(model: Network) -> list[str]:
    return [variable.name.removesuffix(":0") for variable in model.parameters]


@pytest.mark.parametrize(
    ("patterns", "frozen"),
    [
        ([], []),
        (["dense_1"], ["dense_1"]),
        (["dense_*"], ["dense_1", "dense_2"]),
        (["*_1"], ["dense_1", "batch_norm_1"]),
        (["dense_1", "batch_norm_?", "dense_1"], ["dense_1", "batch_norm_1", "batch_norm_2"]),
        (["logits"], ["logits"]),
        (["dense_[2-9]"], ["dense_2"]),
    ],
)
def test_frozen_layers_are_those_that_fit_a_pattern(patterns: list[str], frozen: list[str]) -> None:
    model = small_mlp()
    count, names, digest = model.parameter_count, list(model.named_variables()), model.sha256()
    free = trained_names(model)
    model.freeze(patterns)
    assert [layer.name for layer in model.layers if layer.frozen] == frozen
    assert trained_names(model) == [name for name in free if name.split("/")[0] not in frozen]
    assert (model.parameter_count, list(model.named_variables()), model.sha256()) == (count, names, digest)
    assert f"{count:,}" in model.summary().splitlines()[-1]


def test_freezing_twice_freezes_both() -> None:
    model = small_mlp()
    model.freeze(["dense_1"])
    model.freeze(["dense_2"])
    assert [layer.name for layer in model.layers if layer.frozen] == ["dense_1", "dense_2"]


@pytest.mark.parametrize(
    ("patterns", "words"),
    [
        (["dense_9"], ["has 'dense_9': no layer", "did you mean 'dense_"]),
        (["dense_1", "conv_*"], ["has 'conv_*': no layer", "known: dense_1, batch_norm_1, dense_2"]),
        (["relu_1"], ["has 'relu_1': no layer"]),  # it has no weights
        (["dense_1/kernel"], ["has 'dense_1/kernel': no layer"]),
        (["*"], ["is ['*']: no layer is left to train; freeze fewer"]),
        (["dense_*", "batch_norm_*", "logits"], ["no layer is left to train"]),
    ],
)
def test_patterns_that_fit_nothing_or_all_are_refused(patterns: list[str], words: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        small_mlp().freeze(patterns)
    message = str(caught.value)
    assert message.startswith("recipe key 'model.freeze' ") and message.isprintable()
    assert all(word in message for word in words), message


@pytest.mark.parametrize("kind", SMALL)
def test_frozen_batch_norm_keeps_its_statistics_in_a_network(kind: str) -> None:
    model = SMALL[kind](batch_norm=True)
    model.freeze(["batch_norm_1"])
    before = {name: variable.numpy() for name, variable in model.named_variables().items()}
    model.forward(to_unit(tf.constant(pictures(9, *model.image_shape))), True, tf.constant(0, tf.int64))
    moved = [name for name, variable in model.named_variables().items() if not np.array_equal(variable, before[name])]
    others = [name for name in before if name.endswith(("/mean", "/variance")) and "batch_norm_1" not in name]
    assert moved == others and others


def test_make_model_freezes_what_the_recipe_says() -> None:
    layers = ("conv 2 3x3", "conv 3 3x3", "global max", "dense 4")
    freeze = ("conv_*", "batch_norm_1")
    section = Model(kind="cnn", layers=layers, batch_norm=True, freeze=freeze, init_from="not read here")
    model = make_model(section, (6, 5), 3, seed=4)
    assert [layer.name for layer in model.layers if layer.frozen] == ["conv_1", "batch_norm_1", "conv_2"]
    assert trained_names(model)[:3] == ["batch_norm_2/scale", "batch_norm_2/offset", "dense_1/kernel"]
    with pytest.raises(InputError, match=r"'model\.freeze' has 'conv_3': no layer matches; did you mean 'conv_"):
        make_model(section.model_copy(update={"freeze": ("conv_3",)}), (6, 5), 3, seed=4)


def test_make_model_makes_a_cnn_of_the_list() -> None:
    section = Model(kind="cnn", layers=("conv 2 3x3", "global max"), batch_norm=True, batch_norm_momentum=0.8)
    model = make_model(section, (6, 5), 3, seed=4)
    assert isinstance(model, CNN)
    assert [layer.name for layer in model.layers] == ["grey", "conv_1", "batch_norm_1", "relu_1", "global_1", "logits"]
    norm: Any = model.layers[2]
    assert norm.momentum == 0.8
    assert next(iter(model.named_variables())) == "conv_1/kernel"
    assert "conv_1/bias" not in model.named_variables()  # batch normalisation would subtract it again
    assert "logits/bias" in model.named_variables()


@pytest.mark.parametrize("activation", ["relu", "sigmoid", "tanh", "gelu"])
def test_the_largest_is_taken_first_and_nothing_changes(activation: str) -> None:
    layers = ["conv 4 3x3", "max 2", "conv 6 3x3", "global max"]
    model = CNN((8, 8), layers, 3, activation=activation, seed=1)
    order = [layer.name for layer in pool_before_activation(model.layers)]
    assert (order.index("max_1") < order.index(f"{activation}_1")) == (activation != "gelu")
    images = tf.constant(np.random.default_rng(0).uniform(size=[5, 8, 8]).astype(np.float32))
    results = []
    for ordered in (pool_before_activation(model.layers), model.layers):
        with tf.GradientTape() as tape:
            x = images
            for layer in ordered:
                x = layer.forward(x, True, None)
            loss = tf.reduce_sum(x * x)
        results.append([x.numpy(), *(tf.convert_to_tensor(g).numpy() for g in tape.gradient(loss, model.parameters))])
    for one, other in zip(*results, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-6)
