"""Presets, YAML files and values given on the command line, resolved to a checked configuration."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from cuts3d_cli.config.backends import BY_BACKEND, backend_of, check_names, with_backend_defaults
from cuts3d_cli.config.masks import DataConfig
from cuts3d_cli.config.ranges import expected
from cuts3d_cli.config.root import Config
from cuts3d_cli.errors import CONFIG_KEY, ConfigError
from cuts3d_cli.yaml_text import parsed_yaml

FINDER = str(Config.model_fields["finder"].default)

EMBEDDED, PHOTO = "embedded", "photo"
"""The default presets."""


def preset_names() -> list[str]:
    """Names of the shipped presets."""
    folder = resources.files("cuts3d_cli.config") / "presets"
    return sorted(p.name.removesuffix(".yaml") for p in folder.iterdir() if p.name.endswith(".yaml"))


def preset_values(name: str) -> dict[str, Any]:
    """What a preset overrides, as nested mappings, with what the preset it extends overrides."""
    if name not in preset_names():
        close = get_close_matches(str(name), preset_names(), n=1)
        raise ConfigError(
            "config key preset", expected=f"one of {', '.join(preset_names())}", found=repr(name),
            hint=f"did you mean {close[0]}?" if close else None,
        )  # fmt: skip
    values = parsed_yaml((resources.files("cuts3d_cli.config") / "presets" / f"{name}.yaml").read_text()) or {}
    base = values.pop("extends", None)
    return merge_values(preset_values(base), values) if base else values


def merge_values(base: dict[str, Any], top: dict[str, Any]) -> dict[str, Any]:
    """``base`` with what ``top`` sets, section by section; neither is changed."""
    merged = dict(base)
    for key, value in top.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = merge_values(merged[key], value) if both else value
    return merged


def resolve(values: dict[str, Any] | None = None, *, source: str | None = "config") -> Config:
    """Build the configuration: class defaults, then the preset named in ``values``, then ``values``.

    With images other than the sample's, nothing of the sample is used: see `DataConfig`.

    Args:
        values: nested values.
        source: what errors call them; None for options of a command, whose errors need no name.

    Raises:
        ConfigError: an unknown key or a value of the wrong type or range, in one line with its key.
    """
    values = values or {}
    if values.get("finder", FINDER) != FINDER:
        raise ConfigError(
            f"{_under(source)}finder", expected="none, as it is set by the method", found=repr(values["finder"])
        )
    name = default_preset(values) if values.get("preset") is None else values["preset"]
    merged = with_backend_defaults({**_merged(preset_values(name), values), "preset": name})
    check_names(merged)
    if isinstance(data := merged.get("data"), dict):
        merged["data"] = _without_sample(data)
    try:
        return Config.model_validate(merged)
    except ValidationError as error:
        raise _first_error(error, source) from None


def default_preset(values: dict[str, Any]) -> str:
    """The preset for values that name none: ``embedded`` for the sample's images, ``photo`` for others."""
    data = values.get("data")
    images = data.get("images") if isinstance(data, dict) else None
    return EMBEDDED if images is None else preset_of_images([Path(str(images))])


def preset_of_images(images: Sequence[Path]) -> str:
    """The default preset for images (files or folders); see `default_preset`."""
    folders = [os.path.realpath(folder) for folder in _sample_folders()]
    ours = all(any(Path(os.path.realpath(path)).is_relative_to(folder) for folder in folders) for path in images)
    return EMBEDDED if ours else PHOTO


def why_preset(name: str) -> str:
    """One line that says which preset was taken for images, and why; ``name`` is what `preset_of_images` gave."""
    is_not = "are" if name == EMBEDDED else "are not"
    below = " or ".join(_sample_folders())
    return f"preset {name}, as the images {is_not} those of the sample (below {below} here); --preset names another"


def _sample_folders() -> list[str]:
    return [DataConfig.model_fields[key].default for key in ("images", "val_images")]


def _merged(preset: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """A preset with what ``values`` set; values that the preset chose for its backend are dropped for another one."""
    features = values.get("features")
    if isinstance(features, dict) and features.get("backend") not in (None, backend_of(preset)):
        preset = {
            section: {key: v for key, v in given.items() if key not in BY_BACKEND[section]}
            if section in BY_BACKEND and isinstance(given, dict)
            else given
            for section, given in preset.items()
        }
    return merge_values(preset, values)


def _is_sample(key: str, value: Any) -> bool:
    return os.path.realpath(str(value)) == os.path.realpath(DataConfig.model_fields[key].default)


def _without_sample(data: dict[str, Any]) -> dict[str, Any]:
    """The data section, with what belongs to the sample's images set to null where the images are others."""

    def others(key: str) -> bool:
        return key in data and not _is_sample(key, data[key])

    held_out = {"val_depth_maps": None, "val_annotations": None}
    if others("images"):
        return {"depth_maps": None, "annotations": None, "val_images": None, **held_out, "n_shards": 1, **data}
    return {**held_out, **data} if others("val_images") else data


def read_values(path: str | Path) -> dict[str, Any]:
    """The mapping a YAML file holds, unchecked.

    Raises:
        ConfigError: the file is missing, is not YAML or is no mapping.
    """
    path = Path(path)
    try:
        values = parsed_yaml(path.read_text())
    except (FileNotFoundError, IsADirectoryError):
        raise ConfigError(
            f"config file {path}", expected="a YAML file", found="none", hint="`cuts3d init` writes one"
        ) from None
    except ValueError as error:  # UnicodeDecodeError is one
        raise ConfigError(f"config file {path}", expected="YAML", found=str(error)) from None
    if values is not None and not isinstance(values, dict):
        raise ConfigError(f"config file {path}", expected="a mapping of sections", found=type(values).__name__)
    return values or {}


def load(path: str | Path) -> Config:
    """Read a YAML file and resolve it.

    Raises:
        ConfigError: the file is missing, is not YAML or holds a wrong key or value.
    """
    return resolve(read_values(path), source=str(path))


def _field_at(location: tuple[str, ...]) -> tuple[tuple[str, ...], FieldInfo | None]:
    """The setting that a location in the configuration lies in, and its field; None where it is in none."""
    model: Any = Config
    for depth, part in enumerate(location, start=1):
        field = getattr(model, "model_fields", {}).get(part)
        if field is None:
            break
        if not hasattr(field.annotation, "model_fields"):
            return location[:depth], field
        model = field.annotation
    return location, None


def _under(source: str | None) -> str:
    """What stands before a key in errors."""
    return CONFIG_KEY if source is None else f"{source}: "


def _first_error(error: ValidationError, source: str | None) -> ConfigError:
    """The first mistake, with its key: under the name of its file, or else called a key."""
    detail = error.errors()[0]
    location, field = _field_at(tuple(str(part) for part in detail["loc"]))
    key = ".".join(location)
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if detail["type"] == "extra_forbidden":
        return _unknown_key(location, f"{source or '--set'}: unknown key {key}{more}")
    if detail["type"] == "value_error":  # of a validator of a section, which names keys without it
        fields = "|".join(_fields_of(location))
        message = re.sub(rf"(?<![\w.])({fields})(?=[ :])", rf"{key}.\1", detail["msg"].removeprefix("Value error, "))
        return ConfigError(f"{'' if source is None else f'{source}: '}{message}{more}")
    if field is None:
        wanted = "settings by name" if location[-1] in Config.model_fields else "names of settings"
    elif detail["type"] == "string_pattern_mismatch":  # its description says in words what the pattern means
        wanted = str(field.description)
    else:
        wanted = expected(field)
    return ConfigError(f"{_under(source)}{key}{more}", expected=wanted, found=repr(detail["input"]))


def _unknown_key(location: tuple[str, ...], what: str) -> ConfigError:
    known = sorted(_fields_of(location[:-1]))
    close = get_close_matches(location[-1], known, n=1)
    if len(location) == 1:  # a key of a section, named without it
        sections = [name for name in known if location[0] in _fields_of((name,))]
        close = [f"{name}.{location[0]}" for name in sections] or close
    hint = f"did you mean {' or '.join(close)}?" if close else None
    return ConfigError(what, expected=f"one of {', '.join(known)}", hint=hint)


def _fields_of(location: tuple[str, ...]) -> dict[str, FieldInfo]:
    """Fields of the section at a location, or of the configuration."""
    model: Any = Config
    for part in location:
        field = getattr(model, "model_fields", {}).get(part)
        model = field.annotation if field is not None else None
    return getattr(model, "model_fields", {})
