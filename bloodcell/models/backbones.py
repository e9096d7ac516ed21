"""Backbones: any class of ``keras.applications`` without its top, with its own preprocessing; or no network at all."""

import contextlib
import importlib
import os
import socket
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any

import keras

from bloodcell.errors import UserError
from bloodcell.models.applications import application_name, applications
from bloodcell.models.blocks import boundary_at_layer
from bloodcell.models.measured import is_kind
from bloodcell.models.weights import digest_of, load_weights_file

OWN_WEIGHTS = {"MobileNetV2": (Path(__file__).with_name("mobilenetv2_smears.weights.h5"), 0.35)}
"""Weights that come with bloodcell, trained on rendered smears: their file and the width of the network, of 1.0."""

PATIENCE = 10.0
"""Seconds that a download host is waited for where there is something to do without it."""


@dataclass(frozen=True, kw_only=True)
class Backbone:
    """A Keras application and what has to be done to an image before it; or none, where a head takes measures only.

    Attributes
    ----------
    name
        The class in ``keras.applications``, or the kind of `bloodcell.models.measured`.
    application
        The model without its top, from preprocessed images to feature maps: those of its last layer, or of inner
        layers. None: there is no network.
    preprocess
        From images in [0, 255] (batch, size, size, 3) to what ``application`` was trained on.
    input_size
        Height and width in pixels.
    weights
        ``imagenet``, ``smears``, ``random`` or the name of the file that they came from; ``none`` without a network.
    digest
        Of the weights before any training: see `bloodcell.models.weights.digest_of`.
    instead_of
        Why ImageNet's weights, which ``auto`` asks for first, could not be had; empty where they could, or were not
        asked for.
    """

    name: str
    application: keras.Model | None
    preprocess: Callable[[Any], Any]
    input_size: int
    weights: str
    digest: str
    instead_of: str = ""

    @property
    def outputs(self) -> list[Any]:
        """The feature maps that a head takes, symbolic; none without a network."""
        return [] if self.application is None else list(self.application.outputs)


def build_backbone(*, name: str, input_size: int, weights: str | None, taps: Sequence[str] = ()) -> Backbone:
    """Build a backbone.

    Parameters
    ----------
    name
        A class of ``keras.applications``, in any case of letters, or a kind of `bloodcell.models.measured`: then there
        is no network.
    input_size
        Height and width in pixels.
    weights
        ``imagenet`` (Keras downloads them once), ``smears`` (our own, of a narrow MobileNetV2), ``auto`` (ImageNet's,
        or our own where those cannot be had), a weights file of the application without its top, or None for random
        weights.
    taps
        The layers whose outputs are the feature maps, from the input up; none: the last one's. What lies above all of
        them is left out.

    Raises
    ------
    UserError
        If there is no such application, it cannot work at this size, the weights cannot be had, or a tap is no layer
        whose output is a feature map.
    """
    if is_kind(name):
        return Backbone(
            name=name,
            application=None,
            preprocess=lambda images: images,
            input_size=input_size,
            weights="none",
            digest=digest_of([]),
        )
    name = application_name(name)
    application, came_from, instead_of = _weighted(name, input_size=input_size, weights=weights)
    digest = digest_of(application.get_weights())
    return Backbone(
        name=name,
        application=_tapped(application, taps) if taps else application,
        preprocess=importlib.import_module(applications()[name]).preprocess_input,
        input_size=input_size,
        weights=came_from,
        digest=digest,
        instead_of=instead_of,
    )


def _weighted(name: str, *, input_size: int, weights: str | None) -> tuple[keras.Model, str, str]:
    """Return an application with its weights, where they came from, and why not from where they were asked for."""
    match weights:
        case None:
            return _make(name, input_size=input_size), "random", ""
        case "imagenet":
            return _make(name, input_size=input_size, weights="imagenet"), "imagenet", ""
        case "smears":
            return _own(name, input_size=input_size), "smears", ""
        case "auto":
            return _imagenet_or_own(name, input_size=input_size)
    file = Path(weights).expanduser()
    if not file.is_file():
        raise UserError(_weights_message(name, weights, "no such file", file.name))
    application = _make(name, input_size=input_size)
    try:
        load_weights_file(application, file)
    except ValueError as error:
        raise UserError(_weights_message(name, weights, str(error), file.name)) from error
    return application, file.name, ""


def _imagenet_or_own(name: str, *, input_size: int) -> tuple[keras.Model, str, str]:
    patience = socket.getdefaulttimeout()
    socket.setdefaulttimeout(PATIENCE)
    try:
        return _make(name, input_size=input_size, weights="imagenet"), "imagenet", ""
    except _NotHadError as error:
        if name not in OWN_WEIGHTS:
            raise
        return _own(name, input_size=input_size), "smears", error.reason
    finally:
        socket.setdefaulttimeout(patience)


def _own(name: str, *, input_size: int) -> keras.Model:
    if name not in OWN_WEIGHTS:
        raise UserError(
            f"backbone.weights=smears: there are none for {name}, only for {', '.join(OWN_WEIGHTS)}; "
            "use backbone=mobilenetv2, or backbone.weights=imagenet"
        )
    file, width = OWN_WEIGHTS[name]
    application = _make(name, input_size=input_size, alpha=width)
    try:
        load_weights_file(application, file)
    except ValueError as error:
        raise UserError(f"backbone.weights=smears: {file}: {error}; install bloodcell anew") from error
    return application


def _tapped(application: keras.Model, taps: Sequence[str]) -> keras.Model:
    """Return the part of an application up to some layers, whose outputs are its own."""
    layers = [application.layers[boundary_at_layer(application, name, setting="backbone.taps")] for name in taps]
    for layer in layers:
        if len(layer.output.shape) != 4 or isinstance(layer, keras.layers.InputLayer):
            raise UserError(f"backbone.taps: {layer.name} of {application.name} puts out no feature maps; name another")
    return keras.Model(application.input, [layer.output for layer in layers], name=application.name)


def _make(name: str, *, input_size: int, weights: str | None = None, **settings: float) -> keras.Model:
    make = getattr(keras.applications, name)
    try:
        with contextlib.redirect_stdout(sys.stderr):  # Keras reports its download where a job's output goes
            return make(include_top=False, weights=weights, input_shape=(input_size, input_size, 3), **settings)
    except ValueError as error:
        chosen = f"{name} with backbone.weights={weights}" if weights else name
        raise UserError(f"backbone.input_size={input_size}: {chosen} cannot take it ({_first_line(error)})") from error
    except (OSError, HTTPException) as error:
        reason = f"damaged, or its download broke off ({str(error) or type(error).__name__}); delete it and try again"
        raise _not_had(name, reason=reason, file=f"in {_downloads()}") from error
    except Exception as error:  # Keras raises a bare Exception where a download fails
        if type(error) is not Exception:
            raise
        address, _, reason = str(error).partition(": ")
        reason = f"cannot be downloaded: {reason.removeprefix('None -- ')}"
        raise _not_had(name, reason=reason, file=address.rpartition("/")[2]) from error


class _NotHadError(UserError):
    """ImageNet's weights cannot be had."""

    def __init__(self, message: str, reason: str = "") -> None:
        super().__init__(message)
        self.reason = reason


def _not_had(name: str, *, reason: str, file: str) -> _NotHadError:
    message = _weights_message(name, "imagenet", reason, file)
    return _NotHadError(message, f"{name}'s weights file {file}: {_first_line(reason)}")


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
