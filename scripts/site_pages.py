"""What the documentation site has beside docs/: parts made from the code, and pages from elsewhere. A hook of MkDocs.

A page asks for a part by a comment such as ``<!-- generated: commands -->``, which does not show where the page is read
as a file. So no generated text is kept in the repository, and none can be out of date.
"""

from __future__ import annotations

import importlib
import inspect
import posixpath
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import click
from pydantic.fields import FieldInfo

from cuts3d_cli.cli.main import COMMANDS, cli
from cuts3d_cli.cli.options import config_options
from cuts3d_cli.config import Config, Section, preset_names, resolve
from cuts3d_cli.config.loading import EMBEDDED, PHOTO
from cuts3d_cli.config.text import allowed, yaml_text
from cuts3d_cli.report.words import glossary
from scripts import rerun_table

ROOT = Path(__file__).resolve().parents[1]

INCLUDED = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "sample/README.md": "sample.md",
    "CITATION.cff": "CITATION.cff",
}
"""What the site has of the files outside docs/: their path in the repository, and that on the site."""

MARKER = re.compile(r"^<!-- generated: (.*) -->$", re.MULTILINE)
_LINK = re.compile(r"(\]\()([^)#\s:]+)((?:#[^)]*)?\))")


def on_files(files, config):
    """Add the pages that are not in docs/."""
    from mkdocs.structure.files import File

    for source, name in INCLUDED.items():
        files.append(File.generated(config, name, content=(ROOT / source).read_text()))
    return files


def on_page_markdown(markdown, page, config, files):
    """Put in the generated parts, and let links lead to pages of the site."""
    sources = {name: source for source, name in INCLUDED.items()}
    source = sources.get(page.file.src_uri, f"docs/{page.file.src_uri}")
    return relinked(filled(markdown), source)


def filled(markdown: str) -> str:
    """A page with its generated parts.

    Raises:
        KeyError: there is no such part.
    """
    return MARKER.sub(lambda match: PARTS[match[1]](), markdown)


def relinked(markdown: str, source: str) -> str:
    """A page with its relative links as they are between pages of the site.

    Args:
        markdown: text of the page.
        source: its path in the repository.
    """

    def moved(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), match[2]))
        return match[1] + INCLUDED.get(target, target.removeprefix("docs/")) + match[3]

    return _LINK.sub(moved, markdown)


def commands() -> str:
    """Every command: its help, examples and options."""
    shared = click.command()(config_options(lambda: None)).params
    of_all = [
        "## Options of all commands", "", *_option_table(cli.params), "",
        "They stand before the command: `cuts3d -v masks ...`. `--help` goes with every command.", "",
        "## Options of commands with settings", "",
        "Settings are taken from `--preset`, then from the file of `--config`, then from `--set` and the command's own "
        "options; what comes later wins.", "",
        *_option_table(shared),
    ]  # fmt: skip
    found = ["\n".join(of_all)]
    for name in COMMANDS:
        command = importlib.import_module(f"cuts3d_cli.cli.{name.replace('-', '_')}").command
        found.append("\n".join(_command(f"cuts3d {name}", command, {(each.name, each.help) for each in shared})))
    return "\n\n".join(found)


def settings() -> str:
    """Every setting by section: default, values, meaning, and what the presets set instead."""
    plain = [name for name, field in Config.model_fields.items() if not _is_section(field)]
    found = ["\n".join(["## Settings without a section", "", *_setting_table(Config, plain, ())])]
    for name, field in Config.model_fields.items():
        if _is_section(field):
            model = field.annotation
            table = _setting_table(model, list(model.model_fields), (name,))
            found.append("\n".join([f"## `{name}`", "", _escaped(inspect.getdoc(model) or ""), "", *table]))
    return "\n\n".join(found)


def terms() -> str:
    """The glossary of the report, with the values of the preset for photographs."""
    rows = glossary(resolve({"preset": PHOTO}), None)
    return "\n".join(f"- **{_escaped(term)}**: {_escaped(text)}" for term, text in rows)


def resources() -> str:
    """Threads, memory and time of every rule of the workflow that asks for some."""
    found = ["| rule | threads | `mem_mb` | `runtime`, min |", "| --- | --- | --- | --- |"]
    for path in sorted((ROOT / "rules").glob("*.smk")):
        for name, body in re.findall(r"^rule (\w+):\n(.*?)(?=^\S|\Z)", path.read_text(), re.MULTILINE | re.DOTALL):
            asked = dict(re.findall(r"\b(threads|mem_mb|runtime)\b[:=] ?(\d+)", body))
            if "mem_mb" in asked:
                found.append(
                    f"| `{name}` | {asked.get('threads', 1)} | {asked['mem_mb']} | {asked.get('runtime', '')} |"
                )
    return "\n".join(found)


PARTS: dict[str, Callable[[], str]] = {
    "commands": commands,
    "settings": settings,
    "terms": terms,
    "resources": resources,
    "steps by setting": rerun_table.table,
}
"""What can be asked for."""


def _command(name: str, command: click.Command, shared: set[tuple[str, str]]) -> Iterator[str]:
    """Heading, help, examples and options of a command, and of its own commands; ``shared`` options are elsewhere."""
    usage = " ".join(command.collect_usage_pieces(click.Context(command, info_name=name)))
    yield from (f"## {name}", "", f"    {name} {usage}", "")
    yield from _help(command)
    options = [param for param in command.params if isinstance(param, click.Option)]
    own = [param for param in options if (param.name, param.help) not in shared]
    if len(own) < len(options):
        yield from ("It takes the [options of commands with settings](#options-of-commands-with-settings).", "")
    for section in _sections(command):
        fields = Config.model_fields[section].annotation.model_fields
        own = [param for param in own if param.name not in fields]
        yield from (
            f"Every setting of [`{section}`](settings.md#{section}) is an option of this command: its name with two "
            "dashes before it, and dashes for underscores.", "",
        )  # fmt: skip
    if own:
        yield from _option_table(own)
        yield ""
    for sub in getattr(command, "commands", {}).values():
        yield from _command(f"{name} {sub.name}", sub, shared)


def _sections(command: click.Command) -> list[str]:
    """The config sections whose fields a command has as options."""
    params = {param.name: getattr(param, "help", None) or "" for param in command.params}
    found = []
    for section, field in Config.model_fields.items():
        if not _is_section(field):
            continue
        fields = field.annotation.model_fields
        if all(params.get(key, "").lower().startswith(own.description.lower()) for key, own in fields.items()):
            found.append(section)
    return found


def _help(command: click.Command) -> Iterator[str]:
    """The paragraphs of a help text; those that click leaves as they are become code."""
    for paragraph in re.split(r"\n\n+", inspect.cleandoc(command.help or "")):
        first, *rest = paragraph.splitlines()
        if first.strip() == "\b":
            yield from (_escaped(rest[0]), "", "```", *inspect.cleandoc("\n".join(rest[1:])).splitlines(), "```", "")
        else:
            yield from (_escaped(" ".join(paragraph.split())), "")


def _option_table(params: Iterable[click.Parameter]) -> Iterator[str]:
    yield from ("| option | value | meaning |", "| --- | --- | --- |")
    for param in params:
        if isinstance(param, click.Option):
            names = ", ".join(f"`{name}`" for name in (*param.opts, *param.secondary_opts))
            about = _escaped(param.help or "")
            if param.required:
                about += " Required."
            elif param.show_default and param.default not in (None, ()):
                default = param.default if isinstance(param.default, list | tuple) else [param.default]
                about += f" Default: {', '.join(map(str, default))}."
            yield f"| {names} | {_value(param)} | {about} |"


def _value(param: click.Option) -> str:
    """What an option takes, in words."""
    if param.is_flag or param.count:
        return ""
    kind, times = param.type, " (repeatable)" if param.multiple else ""
    if isinstance(kind, click.Choice):
        return ", ".join(f"`{choice}`" for choice in kind.choices) + times
    if param.metavar:
        return f"`{param.metavar}`{times}"
    name, words = kind.name.removesuffix(" range"), {"float": "number", "directory": "folder"}
    limits = [
        f"{sign}{'' if is_open else '='} {limit:g}"
        for sign, limit, is_open in (
            (">", getattr(kind, "min", None), getattr(kind, "min_open", False)),
            ("<", getattr(kind, "max", None), getattr(kind, "max_open", False)),
        )
        if limit is not None
    ]
    return _escaped(", ".join([words.get(name, name), *limits])) + times


def _setting_table(model: type[Section], keys: Sequence[str], path: tuple[str, ...]) -> Iterator[str]:
    resolved = {name: resolve({"preset": name}).model_dump(mode="json") for name in preset_names()}
    yield from ("| key | default | other presets | values | meaning |", "| --- | --- | --- | --- | --- |")
    for key in keys:
        field = model.model_fields[key]
        by_value = defaultdict(list)
        for name, values in resolved.items():
            for part in path:
                values = values[part]
            by_value[f"`{yaml_text(values[key])}`"].append(name)
        default = next(value for value, names in by_value.items() if EMBEDDED in names)
        others = "<br>".join(
            f"{value}: {', '.join(names)}" for value, names in by_value.items() if value != default and key != "preset"
        )
        extra = field.json_schema_extra
        unit = extra.get("unit") if isinstance(extra, dict) else None
        kinds = ", ".join(filter(None, (_kind(field), _escaped(allowed(field)) if not _choices(field) else "")))
        about = _escaped(field.description or "") + (f" [{unit}]" if unit else "")
        yield f"| `{key}` | {default} | {others} | {kinds} | {about} |"


def _kind(field: FieldInfo) -> str:
    """The type of a setting in words."""
    if choices := _choices(field):
        return ", ".join(f"`{choice}`" for choice in choices)
    return _type_words(field.annotation)


def _choices(field: FieldInfo) -> tuple[Any, ...]:
    return get_args(field.annotation) if get_origin(field.annotation) is Literal else ()


def _type_words(kind: Any) -> str:
    names = {int: "integer", float: "number", str: "text", bool: "true or false", type(None): "null"}
    if kind in names:
        return names[kind]
    inner = [_type_words(each) for each in get_args(kind) if each is not Ellipsis]
    origin = get_origin(kind)
    if origin is Literal:
        return ", ".join(f"`{choice}`" for choice in get_args(kind))
    if origin is list:
        return f"list of {inner[0]}"
    if origin is tuple:
        return f"{len(inner)} of {inner[0]}"
    return " or ".join(inner)


def _is_section(field: FieldInfo) -> bool:
    return isinstance(field.annotation, type) and issubclass(field.annotation, Section)


def _escaped(text: str) -> str:
    """Text that Markdown shows as it is, on one line; what is between backticks stays code."""
    parts = re.split(r"(`[^`]*`)", " ".join(text.split()))
    return "".join(
        part if part.startswith("`") else re.sub(r"([*\\|\[\]])", r"\\\1", part.replace("<", "&lt;")) for part in parts
    )
