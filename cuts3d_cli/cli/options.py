"""Options shared by the commands; those of a config section are made from its model.

An omitted option keeps the value of ``--config`` or ``--preset``, so defaults live in one place.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import click
from pydantic.fields import FieldInfo

from cuts3d_cli.cli.assignments import assigned
from cuts3d_cli.cli.typed import flag_name, name_options
from cuts3d_cli.config import Config, merge_values, preset_names, preset_of_images, preset_values, resolve, why_preset
from cuts3d_cli.config.backends import BY_BACKEND
from cuts3d_cli.config.ranges import plain_type
from cuts3d_cli.errors import ConfigError, StoreError
from cuts3d_cli.log import info_once
from cuts3d_cli.threads import limit


class Share(click.FloatRange):
    """A number from 0 to 1."""

    def __init__(self) -> None:
        super().__init__(0, 1)

    def convert(self, value, param, ctx):
        """As click does; NaN, which it lets pass, is none."""
        number = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value} is not a number from 0 to 1.", param, ctx)
        return number


def method_option(command: Callable) -> Callable:
    """Decorator: the method whose results a command works on."""
    from cuts3d_cli.pipeline.methods import METHODS, OWN

    about = "; ".join(f"{name}: {method.about}" for name, method in METHODS.items())
    return click.option(
        "--method", type=click.Choice(list(METHODS)), default=OWN, show_default=True, help=f"Method. {about}."
    )(command)


def formats_option(*, required: bool = False, default: str | None = None) -> Callable:
    """Decorator: the formats of an export; ``formats`` is a tuple of names, each once."""
    from cuts3d_cli.export import FORMATS

    about = "; ".join(f"{name}: {text}" for name, text in FORMATS.items())
    return click.option(
        "--format",
        "formats",
        type=click.Choice(list(FORMATS)),
        multiple=True,
        required=required,
        default=(default,) if default else None,
        show_default=bool(default),
        callback=lambda ctx, param, names: tuple(dict.fromkeys(names)),
        help=f"Format; repeatable. {about}.",
    )


def min_part_option(command: Callable) -> Callable:
    """Decorator: the least area of the parts of an object that are written; None for what fits each format."""
    from cuts3d_cli.export import LEAST_PART, OUTLINES

    return click.option(
        "--min-part",
        type=click.IntRange(0),
        metavar="N",
        help="Leave out parts of an object of fewer than N px, such as specks; its largest part stays. Default: "
        f"{LEAST_PART} in {', '.join(OUTLINES)} of masks that cuts3d made, else 0, which keeps every pixel.",
    )(command)


def section_options(section: str) -> Callable:
    """Decorator: one option per field of a config section, named and described as in ``config``."""
    model = Config.model_fields[section].annotation

    def decorate(command: Callable) -> Callable:
        for name, field in reversed(model.model_fields.items()):
            told = (field.json_schema_extra or {}).get("option_default", _shown(field.default))
            default = "the backend's" if name in BY_BACKEND.get(section, ()) else told
            command = _field_option(name, field, default)(command)
        return command

    return decorate


def section_values(section: str, options: dict[str, Any]) -> dict[str, Any]:
    """Remove the section's given fields from ``options`` and return them as nested config values."""
    fields = Config.model_fields[section].annotation.model_fields
    given = {name: options.pop(name) for name in fields if name in options}
    values = {name: _plain(value) for name, value in given.items() if value is not None and value != ()}
    return {section: values} if values else {}


def config_options(command: Callable) -> Callable:
    """Decorator: the sources of the configuration, and the number of threads."""
    decorators = [
        click.option("--config", "config_file", type=click.Path(path_type=Path), help="YAML file with settings."),
        click.option(
            "--preset",
            type=click.Choice(preset_names()),
            help="Named set of defaults. Default: embedded for the sample's images (the defaults shown here), photo "
            "for all others.",
        ),
        click.option("--set", "assignments", multiple=True, metavar="SECTION.KEY=VALUE", help="Set a key; repeatable."),
        click.option("--device", help="auto, cpu, cuda or cuda:N."),
        click.option("--seed", type=click.IntRange(0), help="Random seed."),
        click.option("--max-failed", type=click.FloatRange(0, 1), help="Fraction of images that may fail."),
        click.option(
            "--threads",
            type=click.IntRange(1),
            expose_value=False,
            callback=_limit_threads,
            help="Threads of this process, at most one per core. Default: 1 for array code; OMP_NUM_THREADS, or all"
            " cores, for networks.",
        ),
    ]
    for decorator in reversed(decorators):
        command = decorator(command)
    return command


def _limit_threads(ctx: click.Context, param: click.Parameter, threads: int | None) -> None:
    if threads is not None:
        limit(threads)  # before the command's body imports the libraries that read it


def ignore_labels_option(command: Callable) -> Callable:
    """Decorator: values of label maps that are no object, a list; None where the configuration is to say."""
    return click.option(
        "--ignore-labels",
        metavar="VALUES",
        callback=_label_values,
        help="Values of label maps that are no object, such as 0,255; none: every value is one. Default: "
        "data.ignore_labels, else 0, and 255 in 8-bit maps with other values.",
    )(command)


def _label_values(ctx: click.Context, param: click.Parameter, text: str | None) -> list[int] | None:
    if text is None:
        return None
    if text.strip().lower() == "none":
        return []
    try:
        return [int(word) for word in text.split(",")]
    except ValueError:
        raise click.BadParameter(f"expected integers with commas between, or none; found {text!r}") from None


def launcher_option(command: Callable) -> Callable:
    """Decorator: how the processes of a training were launched."""
    return click.option(
        "--launcher",
        type=click.Choice(["none", "pytorch", "slurm"]),
        default="none",
        show_default=True,
        help="How the processes of a distributed training are launched: torchrun (pytorch) or srun (slurm).",
    )(command)


def build_config(
    options: dict[str, Any],
    *sections: str,
    images: Sequence[Path] = (),
    made_from: MadeFrom | None = None,
    method: str | None = None,
    below: Mapping[str, Any] | None = None,
) -> Config:
    """Configuration of a command: file, preset, ``--set``, then its own options; removes them from ``options``.

    Args:
        options: the options parsed by click.
        sections: config sections whose keys are options of the command.
        images: files or folders of images, which determine the preset if neither a file nor an option does.
        made_from: the results that the command builds on, whose settings apply unless given otherwise.
        method: the method that the command works for.
        below: settings that apply unless given otherwise.

    Raises:
        ConfigError: a key or value is wrong, contradicts those results, or has no effect with the method.
    """
    values = _file_values(options.pop("config_file", None))
    chosen = options.pop("preset", None)
    if chosen:
        values["preset"] = chosen
    single = assigned(options.pop("assignments", ()))
    by_key = _keys(merge_values(values, single))
    typed = {name: value for name in ("device", "seed", "max_failed") if (value := options.pop(name, None)) is not None}
    for section in sections:
        typed = merge_values(typed, section_values(section, options))
    name_options(sections, but=by_key - _keys(typed))
    single = merge_values(single, typed)
    values = merge_values(values, single)
    given = merge_values(preset_values(values["preset"]), values) if values.get("preset") else values
    if unnamed := bool(images) and not values.keys() & {"preset", "data"}:
        values["preset"] = preset_of_images(images)
    asked = None if method is None and made_from is None else resolve(values, source=None)
    if asked is not None and method is not None:
        _check_method(method, asked, single)
    if asked is not None and made_from is not None:
        made_from.check(asked, given)
    below = dict((below if made_from is None else made_from.sections) or {})
    if unnamed and not below:  # else the settings of those results apply
        info_once(why_preset(values["preset"]))
    return asked if asked is not None and not below else resolve(merge_values(below, values), source=None)


def _keys(values: Mapping[str, Any]) -> set[str]:
    """The keys that nested values set, with dots."""
    inner = {section: given for section, given in values.items() if isinstance(given, dict)}
    return {key for key in values if key not in inner} | {f"{name}.{key}" for name in inner for key in inner[name]}


def _check_method(method: str, config: Config, single: Mapping[str, Any]) -> None:
    """Check that a method leaves the settings that were given one by one as they are.

    Raises:
        ConfigError: it sets one of them itself.
    """
    from cuts3d_cli.pipeline.methods import method_config

    wanted, used = config.model_dump(mode="json"), method_config(method, config).model_dump(mode="json")
    for section, keys in single.items():
        for key in keys if isinstance(keys, dict) else ():
            if wanted[section][key] != used[section][key]:
                raise ConfigError(
                    f"{section}.{key} {wanted[section][key]} has no effect with --method {method}",
                    expected=f"{used[section][key]}, which the method sets",
                )


@dataclass(frozen=True)
class MadeFrom:
    """The settings of the upstream results of a stage in a run.

    Attributes:
        sections: the settings by config section.
        stages: which stage read each section.
        method: the method that the results belong to.
    """

    sections: dict[str, dict[str, Any]]
    stages: dict[str, str]
    method: str

    def check(self, config: Config, given: Mapping[str, Any]) -> None:
        """Check that the given values agree with them, as they would have no effect without rerunning those stages.

        Args:
            config: the requested configuration.
            given: the values set explicitly.

        Raises:
            ConfigError: a value differs.
        """
        from cuts3d_cli.pipeline.methods import method_config

        values = method_config(self.method, config).model_dump(mode="json")
        nothing = resolve({"preset": config.preset, "features": {"backend": config.features.backend}})
        unasked = method_config(self.method, nothing).model_dump(mode="json")
        for section, made in self.sections.items():
            asked = given.get(section)
            for key in made:
                is_asked = isinstance(asked, dict) and key in asked
                # A method may take the value of another section, such as baseline.tau_ncut.
                is_asked |= bool(given) and values[section][key] != unasked[section][key]
                if is_asked and values[section][key] != made[key]:
                    raise ConfigError(
                        f"{section}.{key} {values[section][key]} has no effect on the existing results",
                        expected=f"{made[key]}, which {self.stages[section]} ran with",
                        hint=f"rerun `cuts3d {self.stages[section]}` with it first",
                    )


def made_from(run_dir: Path | None, shard: int, stage: str, method: str) -> MadeFrom | None:
    """The settings of the existing upstream results of a stage; None without a run."""
    from cuts3d_cli.pipeline.declarations import STAGES
    from cuts3d_cli.pipeline.graph import result_path
    from cuts3d_cli.store.layout import ARRAYS, shard_name
    from cuts3d_cli.store.zarr_store import open_store

    if run_dir is None:
        return None
    sections: dict[str, dict[str, Any]] = {}
    stages: dict[str, str] = {}
    for name in list(STAGES)[: list(STAGES).index(stage)]:
        if name not in ARRAYS:
            continue
        try:
            store = open_store(result_path(run_dir, name, shard_name(shard), method), name)
        except StoreError:  # the stage itself reports this if it needs the result
            continue
        # What the stage of a section recorded itself goes before what later stages recorded of it.
        sections = merge_values(store.sections, sections)
        stages = {section: name for section in store.sections} | stages
    return MadeFrom(sections, stages, method)


def made_with(run_dir: Path) -> dict[str, Any]:
    """The settings that a run's results were made with, as far as the first shard and the first training tell."""
    from cuts3d_cli.pipeline.declarations import LAST
    from cuts3d_cli.pipeline.graph import result_path
    from cuts3d_cli.pipeline.methods import OWN
    from cuts3d_cli.store.checksums import read_own
    from cuts3d_cli.store.layout import round_path, shard_name
    from cuts3d_cli.store.masks import read_masks

    stores = made_from(run_dir, 0, LAST, OWN)
    found = dict(stores.sections) if stores is not None else {}
    with suppress(StoreError):
        masks = read_masks(result_path(run_dir, LAST, shard_name(0), OWN), own=True)
        found = merge_values(dict(masks.provenance.config), found)
    with suppress(StoreError, KeyError):
        made = read_own(round_path(run_dir, 0) / "config.json")
        found |= {"train": made["train"], "seed": made["seed"]}
    return found


def run_images(run_dir: Path | None) -> list[Path]:
    """The image folder of a run; empty if the run has no readable image list."""
    from cuts3d_cli.store.layout import manifest_path
    from cuts3d_cli.store.manifest import read_manifest

    try:
        return [] if run_dir is None else [read_manifest(manifest_path(run_dir)).image_root]
    except StoreError:  # reported by the command itself
        return []


def _file_values(path: Path | None) -> dict[str, Any]:
    from cuts3d_cli.config import read_values
    from cuts3d_cli.store.settings import check_settings

    if path is None:
        return {}
    values = read_values(path)
    check_settings(path, values)
    resolve(values, source=str(path))  # a mistake in the file is reported with its name
    return values


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _field_option(name: str, field: FieldInfo, default: str) -> Callable:
    kind = plain_type(field.annotation)
    unit = (field.json_schema_extra or {}).get("unit")
    about = field.description[0].upper() + field.description[1:] + (f" [{unit}]" if unit else "")
    text = f"{about}. Default: {default}."
    flag = flag_name(name)
    if kind is bool:
        return click.option(f"{flag}/--no-{flag[2:]}", name, default=None, help=text)
    origin = get_origin(kind)
    if origin is Literal:
        return click.option(flag, name, type=click.Choice([str(choice) for choice in get_args(kind)]), help=text)
    if origin is tuple:
        return click.option(flag, name, nargs=len(get_args(kind)), type=plain_type(get_args(kind)[0]), help=text)
    if origin is list:
        inner = plain_type(get_args(kind)[0])
        choices = click.Choice(list(get_args(inner))) if get_origin(inner) is Literal else inner
        return click.option(flag, name, multiple=True, type=choices, help=text + " Repeatable.")
    return click.option(flag, name, type=kind, help=text)


def _shown(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, (list, tuple)):
        return " ".join(str(part) for part in value) or "none"
    return str(value)
