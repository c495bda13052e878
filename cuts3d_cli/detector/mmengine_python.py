"""What MMEngine 0.10 and MMCV 2.1 take for granted of Python and setuptools, and newer ones lack.

They ask ``pkgutil.find_loader``, which Python 3.14 removed, whether mmcv is compiled, and ``pkg_resources``,
which setuptools 82 removed and environments of Python 3.12 or newer may not have at all, where the package of
a config ``package::path`` lies. Both questions are answered by :mod:`importlib` here, on every Python.
"""

from __future__ import annotations

import importlib.util
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import SimpleNamespace


def install() -> None:
    """Answer MMEngine's and MMCV's questions; call before their first use."""
    import mmcv.utils.ext_loader
    import mmengine.config.config
    import mmengine.utils.dl_utils.misc

    for module in (mmcv.utils.ext_loader, mmengine.utils.dl_utils.misc):
        module.pkgutil = SimpleNamespace(find_loader=_loader)
    mmengine.config.config.is_installed = _is_installed
    mmengine.config.config.get_installed_path = _folder


def _loader(name: str) -> object:
    spec = importlib.util.find_spec(name)
    return spec and spec.loader


def _is_installed(package: str) -> bool:
    return _spec(package) is not None


def _folder(package: str) -> str:
    """The folder of an installed package."""
    if (spec := _spec(package)) is None:
        raise ModuleNotFoundError(f"No module named {package!r}", name=package)
    return str(Path(spec.origin).parent)


def _spec(package: str) -> ModuleSpec | None:
    """Where a package would be imported from; None where it is missing or a namespace without a folder of its own."""
    spec = importlib.util.find_spec(package)
    return spec if spec is not None and spec.origin is not None else None
