"""What weight decay pulls at: for tests of models that name weights which it leaves alone."""

import keras

from tfrec import build, config


def decayed(model):
    """Paths of the trainable weights, all 1 before, that a step without a gradient makes smaller."""
    optimizer = build.optimizer(config.Training(weight_decay=0.5, schedule="constant", warmup_steps=0), model=model)
    weights = model.trainable_weights
    for weight in weights:
        weight.assign(keras.ops.ones_like(weight))
    optimizer.build(weights)
    optimizer.apply([keras.ops.zeros_like(weight) for weight in weights], weights)
    return {weight.path for weight in weights if weight.numpy().ravel()[0] < 1}
