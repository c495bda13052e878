"""What messages of a command call a setting: the option that its user types, where there is one.

The package knows settings by their key in the configuration, ``localcut.tau_knn``. A user of ``cuts3d localcut`` has
typed ``--tau-knn``, or can; who set the key in a file, or by ``--set``, knows it by that name.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

from cuts3d_cli.errors import CONFIG_KEY, printable

_flags: dict[str, tuple[str, bool]] = {}
"""Option of each key, and whether it is one to switch on and off."""


def flag_name(field: str) -> str:
    """Name of a config field on the command line."""
    return "--" + field.replace("_", "-")


def forget() -> None:
    """Start a command: messages name keys."""
    _flags.clear()


def name_options(sections: Iterable[str], *, but: Collection[str] = (), **others: str) -> None:
    """Let messages name the options of a command instead of the keys that they set.

    Args:
        sections: config sections whose keys are options of the command; the keys of the configuration that belong
            to no section are options of every command that has a configuration.
        but: keys that the user has set by their own name.
        others: options of other keys, with ``__`` for the dot.
    """
    from cuts3d_cli.config import Config  # not for --help

    keys = {
        f"{section}.{name}": (flag_name(name), field.annotation is bool)
        for section in sections
        for name, field in Config.model_fields[section].annotation.model_fields.items()
    }
    keys |= {name: (flag_name(name), False) for name in ("device", "seed", "max_failed", "preset")}
    keys |= {name.replace("__", "."): (flag, False) for name, flag in others.items()}
    _flags.update({key: flag for key, flag in keys.items() if key not in but})


def as_typed(text: str) -> str:
    """A message with options in place of keys: "config key crf.iterations" is "--iterations".

    A value follows its key in messages as ``key = value`` or ``--set key=value``, its option with a space.
    """
    if not _flags:
        return text
    dotted = "|".join(re.escape(key) for key in sorted(_flags, key=len, reverse=True) if "." in key)
    single = "|".join(key for key in _flags if "." not in key)  # words of their own, unless they are called a key
    text = re.sub(rf"--set ({dotted or '(?!)'})=", lambda found: f"{_flags[found[1]][0]} ", text)
    pattern = rf"(?:{CONFIG_KEY})?(?<![\w.-])({dotted or '(?!)'})(?![\w-]|\.\w)|{CONFIG_KEY}({single})\b"
    return re.sub(rf"(?:{pattern})( = | off\b| on\b)?", _option, text)


def shown(text: str) -> str:
    """A message as the terminal shows it."""
    return printable(as_typed(text))


def _option(found: re.Match[str]) -> str:
    flag, switch = _flags[found[1] or found[2]]
    value = found[3] or ""
    if switch and value in (" off", " on"):
        return f"--no-{flag[2:]}" if value == " off" else flag
    return flag + (" " if value == " = " else value)
