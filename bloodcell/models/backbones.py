"""Backbones: any class of ``keras.applications`` without its top, or a set of hand-made features."""

import contextlib
import functools
import importlib
import os
import socket
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any, ClassVar

import keras

from bloodcell.cells.crop import CropName
from bloodcell.errors import UserError
from bloodcell.models.applications import application_name, applications
from bloodcell.models.blocks import boundary_at_layer
from bloodcell.models.cut import Cut, Inference, cut_at
from bloodcell.models.extractors import FeatureExtractor
from bloodcell.models.feature_sets import FEATURE_SETS
from bloodcell.models.preparing import CropImages
from bloodcell.models.summary import Block
from bloodcell.models.weights import digest_of, load_weights_file

INCLUDED_WEIGHTS = {"MobileNetV2": (Path(__file__).with_name("mobilenetv2_smears.weights.h5"), 0.35)}
"""Weights that bloodcell includes, trained on synthetic smears: their file, and the network's width multiplier."""

DOWNLOAD_TIMEOUT = 10.0
"""Seconds that ``auto`` waits for a download host before it uses the included weights."""


@dataclass(frozen=True, kw_only=True)
class Network(FeatureExtractor):
    """A Keras application and its own preprocessing; other attributes are those of `FeatureExtractor`.

    Attributes
    ----------
    application
        The model without its top, from preprocessed images to the feature maps of its last layer or of inner layers.
    preprocess
        From images in [0, 255] (batch, size, size, 3) to what ``application`` was trained on.
    input_size
        Height and width in pixels.
    constant
        Whether no weight will change.
    """

    takes_images: ClassVar[bool] = True

    name: str
    application: keras.Model
    preprocess: Callable[[Any], Any]
    input_size: int
    weights: str
    digest: str
    fallback_reason: str = ""
    constant: bool = False

    @property
    def outputs(self) -> list[Any]:  # type: ignore[override]
        """The feature maps that a head takes, symbolic."""
        return list(self.application.outputs)

    @property
    def layers(self) -> list[Any]:  # type: ignore[override]
        """The application's layers, from the input up."""
        return list(self.application.layers)

    def evaluated(self) -> tuple[list[Any], list[Any]]:
        """Return the same symbolic tensors at every call: Keras traverses all layers to make them."""
        images, maps = self._evaluated
        return list(images), list(maps)

    @functools.cached_property
    def _evaluated(self) -> tuple[list[Any], list[Any]]:
        return super().evaluated()

    def inputs(self) -> list[Any]:
        """Return one new input of images (batch, size, size, 3), float32."""
        return [keras.Input((self.input_size, self.input_size, 3), dtype="float32", name="resized_image")]

    def prepare(self, raw: Any, *, interpolation: str, crop: CropName) -> list[Any]:
        """Return raw images cropped and resized."""
        size = self.input_size
        if crop != "none":
            return [CropImages(crop=crop, size=size, interpolation=interpolation, name="crop")(raw)]
        resize = keras.layers.Resizing(size, size, interpolation=interpolation, dtype="float32", name="resize")
        # Resizing's default, training=True, would also apply to later layers if the model is called as a function.
        return [keras.ops.clip(resize(keras.ops.cast(raw, "float32")), 0.0, 255.0)]

    def maps(self, images: Sequence[Any], *, trained: bool = False, train_statistics: bool = False) -> list[Any]:
        """Return the application's feature maps of images."""
        preprocessed = self.preprocess(images[0])
        if not trained:
            maps = self.application(preprocessed, training=False)
        elif train_statistics:
            maps = self.application(preprocessed)
        else:
            maps = Inference(self.application)(preprocessed)
        return list(keras.tree.flatten(maps))

    def cut(self, boundary: int) -> Cut:
        """Return the application cut below the layer with this index."""
        return cut_at(self.application, boundary, preprocess=self.preprocess)

    def frozen_digest(self, boundary: int | None) -> str:
        """Return 16 hexadecimal digits that change with any weight below the boundary."""
        if not self.constant:
            return super().frozen_digest(boundary)
        if boundary not in self._frozen_digests:
            self._frozen_digests[boundary] = super().frozen_digest(boundary)
        return self._frozen_digests[boundary]

    @functools.cached_property
    def _frozen_digests(self) -> dict[int | None, str]:
        return {}

    def summary(self, boundary: int | None) -> list[Block]:
        """Return its blocks: resizing, preprocessing, the frozen layers, the trained layers."""
        size = f"{self.input_size} x {self.input_size} x 3"
        frozen, trained = (self.layers, []) if boundary is None else (self.layers[:boundary], self.layers[boundary:])
        blocks = [
            Block("resize", "Resizing", size, 0, False),
            Block("preprocess", f"as {self.name} was trained", size, 0, False),
        ]
        if frozen:
            name = "backbone, below the boundary" if trained else "backbone"
            blocks.append(Block.of_layers(name, self.name, frozen, trainable=False))
        if trained:
            blocks.append(Block.of_layers(f"backbone from {trained[0].name}", self.name, trained, trainable=True))
        return blocks


def build_backbone(*, name: str, input_size: int, weights: str | None, taps: Sequence[str] = ()) -> FeatureExtractor:
    """Build a feature extractor; hand-made features need only the name.

    Parameters
    ----------
    name
        In `bloodcell.models.feature_sets.FEATURE_SETS`, or a class of ``keras.applications``, in upper or lower case.
    input_size
        Height and width in pixels.
    weights
        ``imagenet`` (Keras downloads them once), ``smears`` (included, for a narrow MobileNetV2), ``auto`` (ImageNet's,
        or ``smears`` if those are unavailable), a weights file of the application without its top, or None for random
        weights.
    taps
        The layers whose outputs are the feature maps, from the input up; empty: the last layer. Layers above them are
        removed.

    Raises
    ------
    UserError
        If there is no such application, it does not support this size, the weights are unavailable, or a tap does not
        output a feature map.
    """
    if name in FEATURE_SETS:
        return FEATURE_SETS[name]
    name = application_name(name)
    application, source, fallback_reason = _with_weights(name, input_size=input_size, weights=weights)
    digest = digest_of(application.get_weights())
    return Network(
        name=name,
        application=_tapped(application, taps) if taps else application,
        preprocess=importlib.import_module(applications()[name]).preprocess_input,
        input_size=input_size,
        weights=source,
        digest=digest,
        fallback_reason=fallback_reason,
    )


def needs_weights(*, name: str, weights: str | None) -> bool:
    """Return whether weights can be unavailable, so that building a backbone fails; see `build_backbone`."""
    falls_back = weights == "auto" and (name in FEATURE_SETS or application_name(name) in INCLUDED_WEIGHTS)
    return weights is not None and not falls_back


def _with_weights(name: str, *, input_size: int, weights: str | None) -> tuple[keras.Model, str, str]:
    """Return an application with its weights, where they came from, and why ``auto`` could not use ImageNet's."""
    match weights:
        case None:
            return _make(name, input_size=input_size), "random", ""
        case "imagenet":
            return _make(name, input_size=input_size, weights="imagenet"), "imagenet", ""
        case "smears":
            return _with_included_weights(name, input_size=input_size), "smears", ""
        case "auto":
            return _imagenet_or_included(name, input_size=input_size)
    file = Path(weights).expanduser()
    if not file.is_file():
        raise UserError(_weights_message(name, weights, "no such file", file.name))
    application = _make(name, input_size=input_size)
    try:
        load_weights_file(application, file)
    except ValueError as error:
        raise UserError(_weights_message(name, weights, str(error), file.name)) from error
    return application, file.name, ""


def _imagenet_or_included(name: str, *, input_size: int) -> tuple[keras.Model, str, str]:
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(DOWNLOAD_TIMEOUT)
    try:
        return _make(name, input_size=input_size, weights="imagenet"), "imagenet", ""
    except _UnavailableError as error:
        if name not in INCLUDED_WEIGHTS:
            raise
        return _with_included_weights(name, input_size=input_size), "smears", error.reason
    finally:
        socket.setdefaulttimeout(timeout)


def _with_included_weights(name: str, *, input_size: int) -> keras.Model:
    if name not in INCLUDED_WEIGHTS:
        raise UserError(
            f"backbone.weights=smears: exists only for {', '.join(INCLUDED_WEIGHTS)}, not for {name}; "
            "use backbone=mobilenetv2, or backbone.weights=imagenet"
        )
    file, width = INCLUDED_WEIGHTS[name]
    application = _make(name, input_size=input_size, alpha=width)
    try:
        load_weights_file(application, file)
    except ValueError as error:
        raise UserError(f"backbone.weights=smears: {file}: {error}; reinstall bloodcell") from error
    return application


def _tapped(application: keras.Model, taps: Sequence[str]) -> keras.Model:
    """Return the part of an application whose outputs are those of the named layers."""
    layers = [application.layers[boundary_at_layer(application, name, setting="backbone.taps")] for name in taps]
    for layer in layers:
        if len(layer.output.shape) != 4 or isinstance(layer, keras.layers.InputLayer):
            raise UserError(
                f"backbone.taps: {layer.name} of {application.name} does not output feature maps; name another layer"
            )
    return keras.Model(application.input, [layer.output for layer in layers], name=application.name)


def _make(name: str, *, input_size: int, weights: str | None = None, **settings: float) -> keras.Model:
    make = getattr(keras.applications, name)
    try:
        with contextlib.redirect_stdout(sys.stderr):  # Keras prints download progress to the standard output
            return make(include_top=False, weights=weights, input_shape=(input_size, input_size, 3), **settings)
    except ValueError as error:
        chosen = f"{name} with backbone.weights={weights}" if weights else name
        raise UserError(
            f"backbone.input_size={input_size}: {chosen} does not support it ({_first_line(error)})"
        ) from error
    except (OSError, HTTPException) as error:
        reason = f"damaged or not completely downloaded ({str(error) or type(error).__name__}); delete it and try again"
        raise _unavailable(name, reason=reason, file=f"in {_downloads()}") from error
    except Exception as error:  # Keras raises a bare Exception if a download fails
        if type(error) is not Exception:
            raise
        address, _, reason = str(error).partition(": ")
        reason = f"cannot be downloaded: {reason.removeprefix('None -- ')}"
        raise _unavailable(name, reason=reason, file=address.rpartition("/")[2]) from error


class _UnavailableError(UserError):
    """ImageNet's weights are unavailable."""

    def __init__(self, message: str, reason: str = "") -> None:
        super().__init__(message)
        self.reason = reason


def _unavailable(name: str, *, reason: str, file: str) -> _UnavailableError:
    message = _weights_message(name, "imagenet", reason, file)
    return _UnavailableError(message, f"{name}'s weights file {file}: {_first_line(reason)}")


def _weights_message(name: str, setting: str, reason: str, file: str) -> str:
    return (
        f"backbone.weights={setting}: {name}'s weights file {file}: {_first_line(reason)}; "
        f"let Keras download it once on a machine with internet access and copy it into {_downloads()} here, "
        "or give a weights file with backbone.weights=FILE, "
        "or train from random weights with backbone.weights=null"
    )


def _downloads() -> Path:
    return Path(os.environ.get("KERAS_HOME", "~/.keras"), "models")


def _first_line(message: object) -> str:
    return " ".join(str(message).split("\n\n")[0].split())
