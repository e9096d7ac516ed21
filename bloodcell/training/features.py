"""Features: the output of a classifier's frozen layers, from the store or computed."""

import errno
import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from importlib.metadata import version
from itertools import islice
from typing import Any, Literal

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from bloodcell.cells.crop import crop_recipe
from bloodcell.cells.places import PLACES_VERSION
from bloodcell.console.progress import print_status, track
from bloodcell.data.augmentation import AUGMENTATION_VERSION, Augmentation
from bloodcell.data.orientations import ORIENTATIONS_VERSION, Orientations
from bloodcell.data.pipeline import Samples, unreadable, view_batches
from bloodcell.errors import UserError
from bloodcell.images.reading import DECODER_VERSION
from bloodcell.models.classifier import Classifier
from bloodcell.training.engines import (
    Engine,
    EngineDiffersError,
    EngineName,
    build_engine,
    choose_engine,
    engine_version,
)
from bloodcell.training.feature_store import FeatureStore, FeatureTable, Key, StoreFullError

log = logging.getLogger(__name__)

FEATURES_VERSION = 1
"""Increased when the features of the same image change."""
VIEWS_SEED = 0
"""Stored views are the same for every training, so all trainings share them."""
BATCH_SIZE = 32
N_EXAMPLES = 4
NO_AUGMENTATION = Augmentation()


@dataclass(frozen=True, kw_only=True)
class Features:
    """Stored features of samples.

    Attributes
    ----------
    rows
        All rows of the table, memory-mapped, with the columns that the classifier uses, shape (n, width).
    places
        Row index of each view of each sample, shape (n_samples, n_views), int64.
    """

    rows: NDArray[Any]
    places: NDArray[np.int64]


class FeatureCache:
    """Reads features from the store, and computes missing ones.

    Parameters
    ----------
    classifier
        The classifier whose frozen layers are used; its weights may change between calls.
    store
        The store.
    engine
        ``auto``, ``tensorflow`` or ``openvino``.
    dtype
        Type of stored features: ``float32`` or ``float16``.

    Attributes
    ----------
    n_computed
        Number of views computed so far.
    seconds
        Time that this took.
    """

    def __init__(
        self,
        classifier: Classifier,
        *,
        store: FeatureStore,
        engine: Literal["auto", "tensorflow", "openvino"],
        dtype: Literal["float32", "float16"],
    ) -> None:
        self._classifier, self._store, self._dtype = classifier, store, dtype
        self._may_fall_back = engine == "auto"
        mixed = classifier.core.dtype_policy.name != "float32"
        self._engine_name: EngineName = choose_engine(engine, mixed=mixed)
        self._engines: dict[tuple[int | None, str, EngineName], Engine] = {}
        self.n_computed = 0
        self.seconds = 0.0

    @property
    def engine(self) -> str:
        """The engine's name and version."""
        return engine_version(self._engine_name)

    def features(
        self,
        samples: Samples,
        *,
        boundary: int | None,
        augmentation: Augmentation | Orientations | None = None,
        n_views: int = 1,
    ) -> Features:
        """Return the features of images at a boundary.

        Parameters
        ----------
        boundary
            As for `bloodcell.models.classifier.Classifier.frozen_part`.
        augmentation
            Makes the views 1 to ``n_views`` of each image. None: the images themselves.
        n_views
            Number of views of an image; 1 without augmentation.

        Raises
        ------
        StoreFullError
            If the store has no room for them.
        UserError
            If the store cannot be written, an image was changed or removed meanwhile, or the engine differs from Keras.
        """
        request = _Request(samples, boundary, self._classifier.frozen_digest(boundary), augmentation, n_views)
        try:
            return self._read_or_compute(request)
        except EngineDiffersError as error:
            if not self._may_fall_back:
                raise
            log.warning("%s", error)
            print_status(f"{error}, as features.engine=auto now does")
            self._engine_name = "tensorflow"
            return self._read_or_compute(request)
        except tf.errors.OpError as error:
            if (reason := unreadable(error)) is None:
                raise
            raise UserError(reason) from error
        except OSError as error:
            if error.filename is None or error.errno == errno.ENOSPC:
                raise
            raise UserError(
                f"features.dir: {error.filename} cannot be used ({error.strerror}); give another folder, or "
                "use features=on_the_fly"
            ) from error

    def _read_or_compute(self, request: "_Request") -> Features:
        table = self._store.table(
            self._recipe(request), width=self._classifier.feature_width(request.boundary), dtype=self._dtype
        )
        keys = request.keys
        rows, places = table.find(keys)
        if (places < 0).any():
            n_missing = len({key for key, place in zip(keys, places, strict=True) if place < 0})
            self._store.make_room(n_missing * table.row_bytes, for_table=table)
            with table.adding():
                _, places = table.find(keys)  # another process may have computed them
                missing = {key: number for number, key in enumerate(keys) if places[number] < 0}
                if missing:
                    self._compute(table, missing, request)
                rows, places = table.find(keys)
            with suppress(StoreFullError):  # another process may have added as much at the same time
                self._store.make_room(0, for_table=table)
            if (places < 0).any():
                raise UserError("features.dir: features that were written cannot be read back; give another folder")
        used = self._classifier.used_columns(request.boundary)
        return Features(rows=rows[:, used], places=places.reshape(len(request.samples), len(request.numbers)))

    def _compute(self, table: FeatureTable, missing: Mapping[Key, int], request: "_Request") -> None:
        """Compute missing features and add them; ``missing`` maps a key to its index among the views of all samples."""
        keys = list(missing)
        started = time.perf_counter()
        batches = view_batches(
            request.samples,
            indices=np.array(list(missing.values()), np.int64) // len(request.numbers),
            views=np.array([view for _, view in keys], np.int64),
            augmentation=request.augmentation or NO_AUGMENTATION,
            seed=VIEWS_SEED,
            batch_size=BATCH_SIZE,
        ).as_numpy_iterator()
        description = f"features of {self._classifier.backbone.name}"
        with closing(track(keys, description, total=len(keys))) as progress:
            for images in batches:
                rows = self._engine(request, images[:N_EXAMPLES])(images)
                with np.errstate(over="ignore"):  # an overflow is refused below
                    kept = rows.astype(self._dtype)
                if not np.isfinite(kept).all():
                    raise UserError(
                        f"features.dtype={self._dtype}: a feature of {self._classifier.backbone.name} is "
                        f"{np.abs(rows).max():g}, too large for it; use features.dtype=float32 or features=on_the_fly"
                    )
                table.add(list(islice(progress, len(rows))), rows)
        self.n_computed += len(keys)
        self.seconds += time.perf_counter() - started

    def _engine(self, request: "_Request", examples: NDArray[np.float32]) -> Engine:
        key = (request.boundary, request.digest, self._engine_name)
        if key not in self._engines:
            model = self._classifier.frozen_part(request.boundary)
            self._engines[key] = build_engine(self._engine_name, model, examples=examples)
        return self._engines[key]

    def _recipe(self, request: "_Request") -> dict[str, Any]:
        """Return everything that a feature depends on, except the image and the number of its view."""
        backbone, samples = self._classifier.backbone, request.samples
        match request.augmentation:
            case Orientations():
                views: dict[str, Any] | None = {"turns": ORIENTATIONS_VERSION}
            case Augmentation():
                views = asdict(request.augmentation) | {"seed": VIEWS_SEED, "version": AUGMENTATION_VERSION}
                views |= {} if samples.cells is None else {"cells": PLACES_VERSION}
            case None:
                views = None
        return {
            "backbone": backbone.name,
            "weights": request.digest,
            "boundary": self._classifier.name_of(request.boundary),
            "maps": [output._keras_history.operation.name for output in backbone.outputs],
            "input_size": samples.input_size,
            "interpolation": samples.interpolation,
            "crop": crop_recipe(samples.crop),
            "augmentation": views,
            "precision": self._classifier.core.dtype_policy.name,
            "engine": self.engine,
            "packages": {name: version(name) for name in ("keras", "tensorflow", "pillow")},
            "versions": {"decoder": DECODER_VERSION, "features": FEATURES_VERSION},
        }


@dataclass(frozen=True)
class _Request:
    """What is asked of `FeatureCache.features`, with the frozen weights' digest."""

    samples: Samples
    boundary: int | None
    digest: str
    augmentation: Augmentation | Orientations | None
    n_views: int

    @property
    def numbers(self) -> Sequence[int]:
        """The numbers of the views."""
        return range(1, self.n_views + 1) if self.augmentation else [0]

    @property
    def keys(self) -> list[Key]:
        """The key of each view of each image, image after image."""
        return [(bytes.fromhex(image), view) for image in self.samples.digests for view in self.numbers]
