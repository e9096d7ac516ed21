import keras
import numpy as np
import pytest

from bloodcell.config.training import HyperparametersConfig
from bloodcell.models.heads import build_head
from bloodcell.training.head_steps import HeadSteps
from bloodcell.training.optimizers import build_optimizer, learning_rates

N, WIDTH, BATCH, EPOCHS = 100, 24, 16, 3


@pytest.fixture(scope="module")
def images() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features, one-hot labels that depend on them, and weights."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(N, WIDTH)).astype(np.float32)
    labels = (rows[:, :4] + rng.normal(size=(N, 4))).argmax(axis=1)
    return rows, np.eye(4, dtype=np.float32)[labels], rng.uniform(0.5, 1.5, N).astype(np.float32)


def head_of(rows: np.ndarray, **options):
    keras.utils.set_random_seed(3)
    head = build_head(n_classes=4, **options)
    features = keras.Input((WIDTH,))
    model = keras.Model(features, head.classify(features))
    if head.standardise is not None:
        head.standardise.moving_mean.assign(rows.mean(axis=0))
        head.standardise.moving_variance.assign(rows.var(axis=0))
    return head, model


@pytest.mark.parametrize(
    ("options", "settings"),
    [
        ({}, {}),
        ({"hidden_units": [8], "dropout": 0.3}, {"label_smoothing": 0.1, "schedule": "cosine", "warmup": 0.2}),
        (
            {"hidden_units": [8, 6], "dropout": 0.3, "standardise": True, "l2": 0.01},
            {"optimizer": "adamw", "weight_decay": 0.1},
        ),
        ({"hidden_units": [8]}, {"optimizer": "sgd", "momentum": 0.9, "weight_decay": 0.1, "learning_rate": 0.01}),
        ({"l2": 0.01, "dropout": 0.5}, {"optimizer": "sgd", "momentum": 0.0, "learning_rate": 0.01}),
    ],
)
def test_steps_are_those_of_keras(images, options, settings):
    """Losses, accuracies, weights and the states of dropout equal those of Keras's own training."""
    rows, targets, weights = images
    chosen = HyperparametersConfig(**settings)
    n_full, n_steps = N // BATCH, -(-N // BATCH)
    schedule = {"learning_rate": chosen.learning_rate, "total_steps": EPOCHS * n_steps}
    head, model = head_of(rows, **options)
    model.compile(
        optimizer=build_optimizer(chosen, **schedule),
        loss=keras.losses.CategoricalCrossentropy(label_smoothing=chosen.label_smoothing),
        metrics=[keras.metrics.CategoricalAccuracy(name="accuracy")],
        weighted_metrics=[keras.metrics.CategoricalAccuracy(name="weighted")],
    )
    expected = model.fit(
        *(rows, targets),
        sample_weight=weights,
        batch_size=BATCH,
        epochs=EPOCHS,
        shuffle=False,
        verbose=0,
        validation_data=(rows, targets, weights),
    ).history
    own_head, own_model = head_of(rows, **options)
    steps, rates, full = HeadSteps(own_head, chosen), learning_rates(chosen, **schedule), n_full * BATCH
    for epoch in range(EPOCHS):
        first = epoch * n_steps
        parts = [
            steps.train(
                *(each[:full].reshape(n_full, BATCH, *each.shape[1:]) for each in images), rates[first : first + n_full]
            ),
            steps.train(*(each[None, full:] for each in images), rates[first + n_full : first + n_steps]),
        ]
        loss, correct, weighted = (sum(each) for each in zip(*parts, strict=True))
        assert loss / N == pytest.approx(expected["loss"][epoch], rel=1e-5)
        assert correct / N == pytest.approx(expected["accuracy"][epoch])
        assert weighted / weights.sum() == pytest.approx(expected["weighted"][epoch])
        assert steps.evaluate(*images).loss / N == pytest.approx(expected["val_loss"][epoch], rel=1e-5)
    for own, theirs in zip(own_model.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_allclose(own, theirs, atol=1e-5)
    for own, theirs in zip(own_head.stack, head.stack, strict=True):
        if isinstance(own, keras.layers.Dropout):
            assert own.seed_generator.state.numpy().tolist() == theirs.seed_generator.state.numpy().tolist()


@pytest.mark.parametrize("warmup", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_learning_rates_are_those_of_the_optimizer(schedule, warmup):
    settings = HyperparametersConfig(schedule=schedule, warmup=warmup)
    optimizer = build_optimizer(settings, learning_rate=0.1, total_steps=10)
    expected = []
    for step in range(10):
        optimizer.iterations.assign(step)
        expected.append(float(optimizer.learning_rate))
    np.testing.assert_allclose(
        learning_rates(settings, learning_rate=0.1, total_steps=10), expected, rtol=1e-5, atol=1e-9
    )
