"""Compose a job's configuration from ``conf/``, and check it."""

import argparse
import copy
import functools
import re
import traceback
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

import yaml
from hydra import compose, initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra._internal.sources_registry import SourcesRegistry
from hydra.core.config_store import ConfigNode, ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.errors import HydraException, InstantiationException, MissingConfigException, OverrideParseException
from hydra.plugins.config_source import ConfigResult
from omegaconf import MISSING, DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import TypeAdapter, ValidationError

from bloodcell.config.conf_files import conf_dir, experiments_dir
from bloodcell.config.jobs import register_help_resolvers, require_job
from bloodcell.config.launcher import LauncherSettings
from bloodcell.config.messages import in_one_line, no_such_setting, settings, validation_message
from bloodcell.config.parameters import as_plain
from bloodcell.config.quoting import for_shell, override
from bloodcell.config.schemas import SCHEMAS
from bloodcell.config.tracking import TrackingConfig
from bloodcell.config.yaml_files import require_sound
from bloodcell.errors import UserError
from bloodcell.models.applications import applications

T = TypeVar("T")

VERSION_BASE = "1.3"

EXPLANATIONS = {
    "folder": "the folder of images; or as the first word: bloodcell init path/to/images",
    "data.root": "the folder that holds TRAIN and TEST",
    "data.train_dir": "the folder that holds one folder of training images per class",
    "data.test_dir": "the folder that holds one folder of test images per class; null: hold out part of train_dir",
    "backbone.name": "a class of keras.applications",
}
"""Descriptions of the settings that have no default."""

OWN_EXPERIMENT = ("compare",)
"""Jobs in which ``experiment`` is a setting (MLflow's experiment), not a group."""


class CheckedFiles(FileConfigSource):
    """Hydra's reader of configuration files, for files that `require_sound` accepts."""

    def load_config(self, config_path: str) -> ConfigResult:
        """Check a file and read it."""
        path = Path(self.path, self._normalize_file_name(config_path))
        if self.provider == "main" and path.is_file():  # the included files are sound
            return copy.deepcopy(_included(self.path, config_path, path.stat().st_mtime_ns))
        if path.is_file():
            require_sound(path)
        return super().load_config(config_path)


@functools.cache
def _included(folder: str, config_path: str, changed: int) -> ConfigResult:  # noqa: ARG001
    """Read an included file once: a sweep is composed several times for each of its runs."""
    return FileConfigSource("main", folder).load_config(config_path)


# The workers of a sweep get Hydra's registry and register its own reader again; Hydra accepts a reader of that name.
CheckedFiles.__name__ = FileConfigSource.__name__


def check_files() -> None:
    """Have Hydra read the user's configuration files by `CheckedFiles`."""
    Plugins.instance()  # it registers Hydra's own reader
    SourcesRegistry.instance().types[CheckedFiles.scheme()] = CheckedFiles


def register_experiments(job: str | None = None) -> None:
    """Make every file of `experiments_dir` a choice of ``experiment``, except for `OWN_EXPERIMENT`.

    Raises
    ------
    UserError
        If a file is not valid YAML.
    """
    check_files()
    if job in OWN_EXPERIMENT:
        ConfigStore.instance().repo.pop("experiment", None)  # another job in this process may have registered it
        return
    files = sorted(experiments_dir().glob("*.yaml"))
    ConfigStore.instance().repo["experiment"] = _experiments(tuple((path, path.stat().st_mtime_ns) for path in files))


@functools.cache
def _experiments(files: tuple[tuple[Path, int], ...]) -> dict[str, ConfigNode]:
    """Read files, of these times of change, as Hydra keeps choices of a group."""
    found = {}
    for path, _ in files:
        try:
            require_sound(path)
            node = OmegaConf.structured(OmegaConf.load(path))
        except yaml.YAMLError as error:
            raise UserError(_explain_yaml(error)) from error
        name = path.name
        found[name] = ConfigNode(name=name, node=node, group="experiment", package="_global_", provider="experiments")
    return found


def compose_config(job: str, overrides: Sequence[str] = ()) -> Any:
    """Compose and check a job's configuration, for notebooks and tests.

    ``compose_config("train", ["data.root=/data", "backbone=xception"])`` takes the words of the command line and
    returns the job's dataclass, here a `bloodcell.config.training.TrainConfig`.

    Raises
    ------
    UserError
        If a setting, choice or value is refused.
    """
    require_job(job)
    register_experiments(job)
    try:
        config = _compose(job, overrides)
    except Exception as error:
        if is_composition_error(error):
            raise UserError(composition_message(error, job, overrides)) from error
        raise
    return parse_config(job, config)


def parse_config(job: str, config: DictConfig) -> Any:
    """Check a composed configuration against the job's schema, and return the job's dataclass.

    Raises
    ------
    UserError
        If a value is missing, unknown, of the wrong type or out of range, or cannot be resolved.
    """
    try:
        values: Any = OmegaConf.to_container(_without_hydra(config), resolve=True)
    except OmegaConfBaseException as error:
        raise UserError(composition_message(error, job)) from error
    if missing := [name for name, value in settings(values) if value == MISSING]:
        raise UserError(in_one_line([_not_set(name) for name in missing]))
    launcher = {key: value for key, value in values.items() if key == "launcher"}
    try:
        TypeAdapter(LauncherSettings).validate_python(launcher)
        own = {key: value for key, value in values.items() if key not in launcher}
        parsed: Any = TypeAdapter(SCHEMAS[job]).validate_python(own)
    except ValidationError as error:
        raise UserError(validation_message(error, job, values)) from error
    return parsed


def parse_tracking(config: DictConfig) -> TrackingConfig:
    """Return the settings of the MLflow store of a checked configuration."""
    values: Any = OmegaConf.to_container(config.tracking, resolve=True)
    return TypeAdapter(TrackingConfig).validate_python(values)


def parse_launcher(config: DictConfig, settings: type[T]) -> T:
    """Return the settings of the launcher of a checked configuration.

    With ``hydra/launcher=NAME`` instead of ``launcher=NAME`` these are the defaults.
    """
    values: Any = OmegaConf.to_container(OmegaConf.masked_copy(config, ["launcher"]), resolve=True)
    launcher = TypeAdapter(LauncherSettings).validate_python(values).launcher
    return launcher if isinstance(launcher, settings) else settings()


def is_composition_error(error: BaseException) -> bool:
    """Return whether Hydra refused what the user wrote, so that `composition_message` has a message for it."""
    if isinstance(error, HydraException | OmegaConfBaseException | yaml.YAMLError):
        return not isinstance(error, InstantiationException)
    # Hydra refuses some overrides of groups with a plain ValueError.
    return isinstance(error, ValueError) and _raised_in(error) == "hydra._internal.defaults_list"


def composition_message(error: BaseException, job: str, overrides: Sequence[str] = ()) -> str:
    """Return the one-line message for a configuration that is refused.

    The error is of Hydra, OmegaConf or PyYAML; ``overrides`` are the words of the command line.
    """
    message = str(error) or str(error.__cause__)
    match error:
        case yaml.YAMLError():
            return _explain_yaml(error)
        case OverrideParseException():
            return _explain_grammar(error.override)
        case MissingConfigException():
            return _explain_choice(error)
        case OmegaConfBaseException() if error.full_key:
            reason = re.sub(r"^\w+ raised while resolving interpolation: ", "", _first_line(str(error.msg)))
            return f"{error.full_key}: {reason.strip(chr(34))}"
    if found := re.match(r"Could not (?:override|delete from config\.|delete) '([^'=]+)", message):
        return _explain_key(found[1], job, overrides)
    if found := re.match(r"(?:Ambiguous value for argument|Sweep parameters) '(.*)'", message):
        return _explain_sweep(found[1])
    if found := re.match(r"'experiment/(.*)' is validated against ConfigStore schema", message):
        return f"experiment={found[1]}: bloodcell has an experiment of this name; rename yours"
    if "does not support sweep type" in message:
        return (
            "interval(...): hydra/sweeper=basic cannot list its values; write them out, or use a sweeper that searches"
        )
    if message.startswith("Config group override must be"):
        groups = {"", *_choices(_compose(job))}
        chosen = [override for override in overrides if override.partition("=")[0] in groups]
        wrong = [override for override in chosen if not (conf_dir() / f"{override.replace('=', '/')}.yaml").is_file()]
        return f"{' '.join(wrong)}: must be one of the group's choices; ~GROUP removes a group"
    reason = _first_line(message).removeprefix("Error merging override ")
    return f"{reason}: {_first_line(str(error.__cause__))}" if error.__cause__ and str(error) else reason


def _compose(job: str, overrides: Sequence[str] = ()) -> DictConfig:
    register_help_resolvers()
    # In a job, Hydra is already initialised, with the folder of --config-dir.
    inside = GlobalHydra.instance().is_initialized()
    started = nullcontext() if inside else initialize_config_dir(str(conf_dir()), version_base=VERSION_BASE)
    with started:
        return compose(config_name=job, overrides=list(overrides), return_hydra_config=True)


class VariedConfig:
    """A job's configuration of which many variants are needed.

    Parameters
    ----------
    job, overrides
        As for `compose_config`.
    """

    def __init__(self, job: str, overrides: Sequence[str]) -> None:
        self._job, self._overrides = job, tuple(overrides)

    @functools.cached_property
    def _composed(self) -> DictConfig:
        register_experiments(self._job)
        return _compose(self._job, self._overrides)

    def with_overrides(self, overrides: Sequence[str]) -> Any:
        """Return what `compose_config` returns for these overrides after the others.

        Values are set in a copy, as Hydra sets them; if an override chooses from a group, or adds or removes a setting,
        everything is composed again.

        Raises
        ------
        UserError
            If a setting, choice or value is refused.
        """
        if all(map(_is_value, overrides)):
            with suppress(HydraException, OmegaConfBaseException):  # composing everything explains it
                config = copy.deepcopy(self._composed)
                parsed = OverridesParser.create().parse_overrides(list(overrides))
                ConfigLoaderImpl._apply_overrides_to_config(parsed, config)
                return parse_config(self._job, config)
        return compose_config(self._job, [*self._overrides, *overrides])


def _is_value(override: str) -> bool:
    """Return whether an override sets a value within a group; groups have no dots in their names."""
    return re.match(r"[A-Za-z_]\w*(\.\w+)+=", override) is not None


def _without_hydra(config: DictConfig) -> DictConfig:
    return OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])


def _names(config: DictConfig | ListConfig) -> list[str]:
    return [name for name, _ in settings(OmegaConf.to_container(config, resolve=False))]


def _choices(config: DictConfig) -> dict[str, str | None]:
    """Return the choice of every group of a configuration."""
    return {str(group): choice for group, choice in config.hydra.runtime.choices.items()}


def _not_set(name: str) -> str:
    meaning = f", {EXPLANATIONS[name]}" if name in EXPLANATIONS else ""
    return f"{name} is not set; give {name}=VALUE{meaning}"


def _explain_yaml(error: yaml.YAMLError) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return f"{error.problem_mark.name}, line {error.problem_mark.line + 1}: {error.problem}"
    return _first_line(str(error))


def _explain_grammar(given: str) -> str:
    key, equals, value = given.partition("=")
    if not equals:
        return f"{given}: no value; write {given}=VALUE"
    return f"{given}: the value cannot be read; if it is text, write {for_shell([override(key, value)])}"


def _explain_sweep(given: str) -> str:
    key, _, value = given.partition("=")
    written = f"; for a list write '{key}=[{value}]', for text {for_shell([override(key, value)])}"
    return f"{given}: several values need -m (a sweep){written if '(' not in value else ''}"


def _explain_choice(error: MissingConfigException) -> str:
    group, _, name = (error.missing_cfg_file or "").rpartition("/")
    if not group:
        return f"--config-name={name}: there is no {name}.yaml in {conf_dir()} or --config-dir"
    options = error.options or ()
    near = get_close_matches(name, options, n=1)
    others = ""
    if group == "backbone":
        spelling = {known.lower(): known for known in applications()}.get(name.lower())
        near = [f"backbone=application backbone.name={spelling}"] if spelling else near
        others = "; any other keras.applications class: backbone=application backbone.name=InceptionV3"
    advice = f" did you mean {near[0]}?" if near else ""
    return f"{group}={name}: no such choice;{advice} (choices: {', '.join(options)}{others})"


def _explain_key(key: str, job: str, words: Sequence[str]) -> str:
    overrides = _overrides(words)
    config = _compose(job)
    chosen = [word for word in overrides if word.partition("=")[0] in {*_choices(config), "hydra.searchpath"}]
    with suppress(HydraException, ValueError):  # the overrides of groups may also be wrong
        config = _compose(job, chosen)
    choices = _choices(config)
    if key in choices:
        return f"{key}: the group has no choices"
    group, _, inside = key.partition(".")
    if key in _names_with_defaults(job, config):
        return f"{key}: is not in the file of {group}={choices.get(group)}; write ++{key}=VALUE, or add it to the file"
    if group in choices:
        homes = [
            f"{group}={path.stem}"
            for path in sorted((conf_dir() / group).glob("*.yaml"))
            if inside in _names(OmegaConf.load(path))
        ]
        if homes:
            return f"{key} is a setting of {' and '.join(homes)}, not of {group}={choices[group]}"
    names = _names(config if key.startswith("hydra") else _without_hydra(config))
    return no_such_setting(key, job, [*names, *choices])


def _overrides(words: Sequence[str]) -> list[str]:
    """Return the overrides among the words of a command line, with the folder of --config-dir as one of them."""
    options = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    options.add_argument("--config-dir", "-cd")
    known, others = options.parse_known_args(words)
    overrides = [word for word in others if not word.startswith("-")]
    if known.config_dir:
        folder = override("", f"file://{Path(known.config_dir).resolve()}").removeprefix("=")
        overrides.append(f"hydra.searchpath=[{folder}]")
    return overrides


def _names_with_defaults(job: str, config: DictConfig) -> list[str]:
    """Return the names of all settings, also of those that only the schema gives a value."""
    try:
        return [name for name, _ in settings(as_plain(parse_config(job, config)))]
    except UserError:
        return []


def _raised_in(error: BaseException) -> str:
    """Return the name of the module that raised an error."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return str(frames[-1].f_globals.get("__name__")) if frames else ""


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0]
