"""The optimizers against Keras' own, step by step."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from toolchain.training.optimizer import optimizer_of, state_of


@pytest.mark.parametrize("compiled", [False, True])
def test_adam_takes_the_steps_of_keras(compiled):
    random = np.random.default_rng(0)
    shapes = [(3, 3, 4, 8), (8,), (8, 2)]
    start = [random.normal(size=shape).astype(np.float32) for shape in shapes]
    steps = [[random.normal(size=shape).astype(np.float32) for shape in shapes] for _ in range(5)]

    def trained(optimizer):
        variables = [tf.Variable(value) for value in start]
        optimizer.build(variables)

        @tf.function(jit_compile=compiled)
        def step(gradients):
            optimizer.apply_gradients(zip(gradients, variables, strict=True))

        for number, gradients in enumerate(steps):
            optimizer.learning_rate.assign(0.1 / (number + 1))
            step(gradients)
        return variables, state_of(optimizer)

    ours = trained(optimizer_of("adam", 0.1))
    keras = trained(tf_keras.optimizers.Adam(0.1, jit_compile=False))
    for mine, theirs in zip(ours, keras, strict=True):
        assert [v.name for v in mine] == [v.name for v in theirs]
        for one, other in zip(mine, theirs, strict=True):
            np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=2e-5, atol=2e-6)
