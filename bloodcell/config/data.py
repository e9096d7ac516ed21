"""Settings of the images: where they are, and their groups."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator
from pydantic.dataclasses import dataclass

from bloodcell.config.value_types import STRICT, Fraction, NonEmpty, Seed
from bloodcell.data.csv_files import columns_of
from bloodcell.wording import PHOTOGRAPH

GIVEN = ("column", "pattern", "folder")
"""Choices of ``data.groups`` with which the user gives the groups."""
Groups = Literal["known", "recover", "column", "pattern", "folder", "none"]
RareClasses = Literal["error", "train_only"]
Folders = Literal["class", "group/class", "class/group", "fold/class", "class/fold"]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ImagesConfig:
    """Settings that every data set has."""

    _lists_groups: ClassVar[bool] = False  # whether the images' own table may have groups
    on_bad_image: Literal["error", "skip"] = "error"
    labels_file: NonEmpty | None = None
    exclude_file: NonEmpty | None = None
    groups: Groups = "recover"
    groups_file: NonEmpty | None = None
    groups_column: NonEmpty = "group"
    groups_pattern: NonEmpty | None = None
    group_name: NonEmpty | None = None
    photographs: Literal["recover", "column", "pattern", "groups"] | None = None
    photographs_column: NonEmpty = "photograph"
    photographs_pattern: NonEmpty | None = None
    on_shared_groups: Literal["error", "drop", "allow"] = "error"
    rare_classes: RareClasses = "error"
    without_classes: tuple[NonEmpty, ...] = ()
    pages: Literal["first", "all"] = "first"
    bit_depth: Literal["auto"] | Annotated[int, Field(ge=8, le=16)] = "auto"

    @property
    def finds_photographs(self) -> bool:
        """Whether photographs are found in the pixels."""
        return self.groups == "recover" or (self.groups in GIVEN and self.photographs_from == "recover")

    @property
    def photographs_from(self) -> Literal["recover", "column", "pattern", "groups"]:
        """Where photographs are from, if the user gives the groups."""
        return self.photographs or ("groups" if self.group_noun == PHOTOGRAPH else "recover")

    @property
    def group_noun(self) -> str:
        """What output calls a group."""
        return self.group_name or ("group" if self.groups in GIVEN else PHOTOGRAPH)

    @field_validator("groups_file", "groups_pattern", "photographs_pattern")
    @classmethod
    def _goes_with_the_choice(cls, value: str | None, info: ValidationInfo) -> str | None:
        level = "photographs" if info.field_name == "photographs_pattern" else "groups"
        chosen = info.data.get(level)
        needed, meaning = {
            "groups_file": ("column", "a CSV with the columns path and data.groups_column"),
            "groups_pattern": ("pattern", "a regular expression whose first capture group is the group"),
            "photographs_pattern": ("pattern", "a regular expression whose first capture group is the photograph"),
        }[str(info.field_name)]
        if chosen == needed and value is None and not (cls._lists_groups and info.field_name == "groups_file"):
            raise ValueError(f"data.{level}={needed} needs it: {meaning}")
        if chosen not in (needed, None) and value is not None:
            raise ValueError(f"is only for data.{level}={needed}, but data.{level}={chosen}; change one of them")
        return value

    @model_validator(mode="after")
    def _fit_together(self) -> "ImagesConfig":
        if self.groups == "known" and not isinstance(self, SmearsData):
            raise ValueError("data.groups=known: is only for data=smears; use data.groups=recover")
        if self.photographs == "column" and self.groups != "column":
            raise ValueError("data.photographs=column: needs data.groups_file; also use data.groups=column")
        if self.photographs is not None and self.groups not in GIVEN:
            raise ValueError(
                f"data.photographs={self.photographs}: is only for groups that you give "
                f"(data.groups={', '.join(GIVEN)}), but data.groups={self.groups}; remove it"
            )
        return self

    @field_validator("groups_pattern", "photographs_pattern")
    @classmethod
    def _captures_a_group(cls, value: str | None) -> str | None:
        if value is None:
            return None
        try:
            captures = re.compile(value).groups
        except re.error as error:
            raise ValueError(f"is not a regular expression ({error})") from error
        if not captures:
            raise ValueError("has no capture group; put the part that is the name in parentheses")
        return value


@dataclass(frozen=True, kw_only=True, config=STRICT)
class HeldOutTest(ImagesConfig):
    """Settings of images from which test images are held out, if they have none."""

    test_fraction: Fraction = 0.2
    test_seed: Seed = 0


@dataclass(frozen=True, kw_only=True, config=STRICT)
class FolderData(HeldOutTest):
    """Images in one folder per class, with a folder for training and optionally others for validation and test."""

    source: Literal["folder"] = "folder"
    train_dir: NonEmpty
    test_dir: NonEmpty | Annotated[Mapping[NonEmpty, NonEmpty], Field(min_length=1)] | None = None
    val_dir: NonEmpty | None = None
    folders: Folders | None = None

    @property
    def dirs(self) -> dict[str, str]:
        """The folders by split, and by test set if these have names: ``train``, ``val``, ``test`` or ``test NAME``."""
        tests = self.test_dir if isinstance(self.test_dir, Mapping) else {"": self.test_dir}
        named = {"train": self.train_dir, "val": self.val_dir}
        named |= {f"test {name}".strip(): folder for name, folder in tests.items()}
        return {name: folder for name, folder in named.items() if folder is not None}

    @model_validator(mode="after")
    def _groups_are_in_folders(self) -> "FolderData":
        if "group" in (self.folders or "") and self.groups != "folder":
            raise ValueError(f"data.folders={self.folders}: needs data.groups=folder; change one of them")
        return self


@dataclass(frozen=True, kw_only=True, config=STRICT)
class TableData(HeldOutTest):
    """Images that a CSV file lists, with their labels and perhaps their splits, folds and groups."""

    _lists_groups: ClassVar[bool] = True
    source: Literal["table"] = "table"
    table: NonEmpty
    folder: NonEmpty | None = None
    path_column: NonEmpty = "path"
    label_column: NonEmpty = "label"
    split_column: NonEmpty = "split"
    fold_column: NonEmpty = "fold"

    @model_validator(mode="before")
    @classmethod
    def _groups_of_the_table(cls, values: Any) -> Any:
        """``data.groups=auto``: those of the table if it has any."""
        given = dict(values if isinstance(values, Mapping) else values.kwargs or {})
        if given.get("groups", "auto") == "auto":
            listed = columns_of(str(given.get("table", "")))
            given["groups"] = "column" if given.get("groups_column", "group") in listed else "recover"
        return given

    @property
    def columns(self) -> dict[str, str]:
        """The names of the table's columns by their meaning."""
        return {
            "path": self.path_column,
            "label": self.label_column,
            "split": self.split_column,
            "fold": self.fold_column,
        }


@dataclass(frozen=True, kw_only=True, config=STRICT)
class BccdData(ImagesConfig):
    """The Kaggle "Blood Cell Images" as unpacked: ``TRAIN/<class>`` and ``TEST/<class>`` under a root."""

    source: Literal["bccd"] = "bccd"
    root: NonEmpty


@dataclass(frozen=True, kw_only=True, config=STRICT)
class SmearsData(ImagesConfig):
    """Rendered blood smears, for which the photograph of each image is known."""

    source: Literal["smears"] = "smears"
    groups: Groups = "known"
    train_photographs: Annotated[int, Field(ge=20)] = 160
    test_photographs: Annotated[int, Field(ge=20)] = 80
    copies: Annotated[int, Field(ge=2)] = 8
    slides: Annotated[int, Field(ge=2, le=1000)] = 12
    seed: Annotated[int, Field(ge=0, lt=100)] = 0  # the weights `smears` were trained on slides of other seeds


DataConfig = Annotated[SmearsData | FolderData | TableData | BccdData, Field(discriminator="source")]
