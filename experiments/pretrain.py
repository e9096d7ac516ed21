"""Train the weights that bloodcell includes: a narrow MobileNetV2, trained on synthetic blood smears only.

    uv run python experiments/pretrain.py bloodcell/models/mobilenetv2_smears.weights.h5

They are for machines that cannot download ImageNet's weights. The network learns to classify the white cell in a window
of random size, position, orientation and colour around it, and to predict for each position of its feature maps the
share of nucleus and of cell, so inner layers learn the position of the cell, too. No real image is used.
"""

import argparse
import math
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import joblib
import keras
import numpy as np
import tensorflow as tf

from bloodcell.console.progress import print_status, track
from bloodcell.files import atomic_write
from bloodcell.models.backbones import INCLUDED_WEIGHTS
from bloodcell.smears import CLASSES, Photograph, render_photograph
from bloodcell.training.progress import EpochProgress

SIZE = 128
"""Side of the training windows in pixels, after resizing."""

INNER = "block_13_expand_relu"
"""The inner layer whose maps are also supervised."""

SLIDE = 10_000_000
"""The first slide; sets of `data=smears` with a seed below 100 have other slides."""


MOMENTUM = 0.97
"""Momentum of batch normalisation: Keras's 0.999 is for much longer trainings."""


def main() -> None:
    """Render, train, save the weights."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, help="a file that ends in .weights.h5")
    parser.add_argument("--photographs", type=int, default=4000, help="to render")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    keras.utils.set_random_seed(arguments.seed)
    photographs = render(arguments.photographs, seed=arguments.seed)
    n_held_out = len(photographs) // 10
    n_steps = arguments.epochs * math.ceil((len(photographs) - n_held_out) / arguments.batch_size)
    model, application = build()
    model.compile(
        keras.optimizers.AdamW(
            keras.optimizers.schedules.CosineDecay(
                0.0, n_steps, warmup_target=arguments.learning_rate, warmup_steps=200
            ),
            weight_decay=1e-2,
        ),
        loss={
            "label": keras.losses.SparseCategoricalCrossentropy(),
            "inner": keras.losses.BinaryCrossentropy(),
            "outer": keras.losses.BinaryCrossentropy(),
        },
        loss_weights={"label": 1.0, "inner": 1.0, "outer": 1.0},
        metrics={"label": [keras.metrics.SparseCategoricalAccuracy(name="accuracy")]},
        jit_compile=False,
    )
    model.fit(
        batches(photographs[n_held_out:], arguments.batch_size),
        epochs=arguments.epochs,
        validation_data=batches(photographs[:n_held_out], arguments.batch_size),
        callbacks=[Progress(stage="rendered smears")],
        shuffle=False,  # the batches are
        verbose=0,
    )
    with atomic_write(arguments.output) as partial:
        application.save_weights(partial)
    print_status(f"{arguments.output}: {arguments.output.stat().st_size / 1e6:.1f} MB")


def render(n_photographs: int, *, seed: int) -> list[Photograph]:
    """Render photographs of all classes in turn, ten of each slide."""
    jobs = (
        joblib.delayed(render_photograph)(
            CLASSES[number % len(CLASSES)], slide=SLIDE + number // 10, seed=SLIDE * (seed + 1) + number
        )
        for number in range(n_photographs)
    )
    rendering = joblib.Parallel(n_jobs=-1, return_as="generator")(jobs)
    return list(track(rendering, "rendering", total=n_photographs))


def batches(photographs: list[Photograph], batch_size: int) -> tf.data.Dataset:
    """Return batches of windows (n, SIZE, SIZE, 3) and their targets, different in each epoch."""
    labels = np.asarray([CLASSES.index(photograph.label) for photograph in photographs])
    images = np.stack([photograph.image for photograph in photographs])
    masks = np.stack([np.stack([photograph.nucleus, photograph.cell], axis=-1) for photograph in photographs])
    places = np.asarray([np.argwhere(photograph.cell).mean(axis=0) for photograph in photographs], dtype=np.float32)
    chosen = tf.data.Dataset.range(len(photographs)).shuffle(len(photographs)).batch(batch_size)

    def pick(indices: np.ndarray) -> tuple[np.ndarray, ...]:
        return images[indices], masks[indices].astype(np.uint8), places[indices], labels[indices]

    def learn(indices: tf.Tensor) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        kinds = (tf.uint8, tf.uint8, tf.float32, tf.int64)
        pixels, mask, place, label = tf.numpy_function(pick, [indices], kinds, stateful=False)
        pixels, mask = tf.ensure_shape(pixels, (None, 240, 320, 3)), tf.ensure_shape(mask, (None, 240, 320, 2))
        window, mask = turned(*windows(pixels, mask, tf.ensure_shape(place, (None, 2))))
        window = coloured(window)
        inner, outer = (tf.nn.avg_pool2d(mask, SIZE // side, SIZE // side, "VALID") for side in (8, 4))
        return window, {"label": tf.ensure_shape(label, (None,)), "inner": inner, "outer": outer}

    return chosen.map(learn, num_parallel_calls=tf.data.AUTOTUNE).prefetch(2)


def windows(pixels: tf.Tensor, mask: tf.Tensor, place: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Cut a random square of 70 to 240 pixels around each cell, and resize it to SIZE."""
    n = tf.shape(pixels)[0]
    half = tf.exp(tf.random.uniform([n, 1], math.log(35.0), math.log(120.0)))
    centre = place + tf.random.uniform([n, 2], -0.5, 0.5) * half
    boxes = tf.concat([centre - half, centre + half], axis=1) / [239.0, 319.0, 239.0, 319.0]
    indices, size = tf.range(n), (SIZE, SIZE)
    window = tf.image.crop_and_resize(tf.cast(pixels, tf.float32), boxes, indices, size)
    return window, tf.image.crop_and_resize(tf.cast(mask, tf.float32), boxes, indices, size)


def turned(window: tf.Tensor, mask: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Put a batch into one of eight orientations."""
    both = tf.image.rot90(tf.concat([window, mask], axis=-1), tf.random.uniform([], 0, 4, tf.int32))
    both = tf.cond(tf.random.uniform([]) < 0.5, lambda: both, lambda: tf.reverse(both, [2]))
    both = tf.ensure_shape(both, (None, SIZE, SIZE, 5))
    return both[..., :3], both[..., 3:]


def coloured(window: tf.Tensor) -> tf.Tensor:
    """Change light and stain at random: transmission of each channel, strength of the stain, saturation."""
    shape = [tf.shape(window)[0], 1, 1, 3]
    density = -tf.math.log(tf.clip_by_value(window, 4.0, 255.0) / 255.0)
    density *= tf.random.uniform([shape[0], 1, 1, 1], 0.6, 1.5) * tf.random.uniform(shape, 0.8, 1.25)
    light = 255.0 * tf.exp(-density) * tf.random.uniform(shape, 0.85, 1.1)
    grey = tf.reduce_mean(light, axis=-1, keepdims=True)
    light = grey + (light - grey) * tf.random.uniform([shape[0], 1, 1, 1], 0.4, 1.4)
    return tf.clip_by_value(light + tf.random.normal(tf.shape(light), stddev=3.0), 0.0, 255.0)


def build() -> tuple[keras.Model, keras.Model]:
    """Return the trained model, from pixels, and its application, whose weights are saved."""
    _, width = INCLUDED_WEIGHTS["MobileNetV2"]
    application = keras.applications.MobileNetV2(
        include_top=False, weights=None, alpha=width, input_shape=(SIZE, SIZE, 3)
    )
    for layer in application.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = MOMENTUM
    taught = keras.Model(application.input, [application.get_layer(INNER).output, application.output])
    pixels = keras.Input((SIZE, SIZE, 3))
    inner, outer = taught(keras.applications.mobilenet_v2.preprocess_input(pixels))
    label = keras.layers.Dropout(0.2)(keras.layers.GlobalAveragePooling2D()(outer))
    outputs = {
        "label": keras.layers.Dense(len(CLASSES), activation="softmax", name="label")(label),
        "inner": keras.layers.Conv2D(2, 1, activation="sigmoid", name="inner")(inner),
        "outer": keras.layers.Conv2D(2, 1, activation="sigmoid", name="outer")(outer),
    }
    return keras.Model(pixels, outputs), application


class Progress(EpochProgress):
    """Progress with the accuracy of the class."""

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Show the metrics of the epoch."""
        super().on_epoch_end(epoch, _of_one_output(logs))

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Advance the bar."""
        super().on_train_batch_end(batch, _of_one_output(logs))


def _of_one_output(logs: dict[str, float] | None) -> dict[str, float]:
    """Return metrics with the accuracy's name of a model with one output."""
    return {name.replace("label_accuracy", "accuracy"): value for name, value in (logs or {}).items()}


if __name__ == "__main__":
    main()
