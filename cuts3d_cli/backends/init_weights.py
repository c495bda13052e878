"""The weights that a training starts from: a file, or one that is fetched once and kept in torch's hub cache.

Nothing of the detector is imported, so that missing weights are told before its libraries have loaded.
"""

from __future__ import annotations

from pathlib import Path

from cuts3d_cli.backends.model_weights import download
from cuts3d_cli.backends.network import HUB_TIMEOUT_S, answers
from cuts3d_cli.config.backends import INIT
from cuts3d_cli.errors import ModelError
from cuts3d_cli.log import logger


def resolve_init(init: str | Path | None) -> Path | None:
    """The file that ``train.init`` means: a path, a URL, a name of ``INIT``, or ``none``; fetched where it is not here.

    Returns:
        The local file, which may not exist if a path was given; None to start from nothing.

    Raises:
        ModelError: it cannot be fetched.
    """
    import torch

    if (url := check_init(init)) is None:
        return None if init is None or str(init) in ("", "none") else Path(init)
    if not (path := _cached_file(url)).is_file():
        logger.info("train: fetching %s to %s", url, path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with download(str(init), url, "train.init"):
            torch.hub.download_url_to_file(url, str(path), progress=False)
    return path


def check_init(init: str | Path | None) -> str | None:
    """Check that what ``train.init`` means is here or can be fetched.

    Returns:
        The address it comes from; None where it is a file or nothing.

    Raises:
        ModelError: it is not here, and its server does not answer.
    """
    url = INIT.get(str(init), str(init))
    if not url.startswith(("http://", "https://")):
        return None
    if not (path := _cached_file(url)).is_file() and not answers(url):
        fetch = f"run `cuts3d models fetch {init}`" if init in INIT else "fetch it"
        raise ModelError(
            f"weights of {init} are not here, and their server does not answer",
            expected=f"{url}, in {path}",
            found=f"no answer within {HUB_TIMEOUT_S:g} s",
            hint=f"{fetch} where there is a network and copy the file there, or name a local copy in train.init; "
            "none starts from random weights",
        )
    return url


def _cached_file(url: str) -> Path:
    """Where torch keeps what it fetched from an address."""
    import torch

    return Path(torch.hub.get_dir()) / "checkpoints" / url.split("?")[0].rsplit("/", 1)[-1]
