"""The photographs of a page: each embedded once however often it is shown, and linked or embedded at full size."""

from __future__ import annotations

import base64
import os
from pathlib import Path
from urllib.parse import quote

from cuts3d_cli.report import figures
from cuts3d_cli.report.layers import canvas_hw
from cuts3d_cli.report.run_image import RunImage
from cuts3d_cli.store.images import read_image

BROWSER_TYPES = {
    ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png", ".webp": "image/webp", ".gif": "image/gif",
    ".bmp": "image/bmp",
}  # fmt: skip
"""Files that browsers show; others are embedded as JPEG."""


class Photos:
    """Collects the photographs that a page shows.

    Args:
        folder: where the page lies; links are relative to it.
        embed_originals: take the files at full size into the page instead of linking to them.
    """

    def __init__(self, folder: Path, *, embed_originals: bool):
        self.folder, self.embed_originals = Path(os.path.abspath(folder)), embed_originals
        self._found: dict[Path, dict[str, object]] = {}

    def add(self, image: RunImage) -> str | None:
        """Name of an image's photograph on the page; None where it cannot be read."""
        if image.error:
            return None
        path = Path(os.path.abspath(image.path))
        if path not in self._found:
            height, width = canvas_hw(image.size_hw)
            self._found[path] = {
                "key": f"photo-{len(self._found) + 1}",
                "uri": figures.jpeg_uri(image.photo),
                "width": width,
                "height": height,
                "original": _embedded(path) if self.embed_originals else _link(path, self.folder),
            }
        return str(self._found[path]["key"])

    def values(self) -> list[dict[str, object]]:
        """What the template needs of each photograph, in the order they were added."""
        return list(self._found.values())


def _link(path: Path, folder: Path) -> str:
    """URL of a file, relative to a folder where both lie on one disk."""
    try:
        return quote(Path(os.path.relpath(path, folder)).as_posix(), errors="surrogateescape")
    except ValueError:  # another drive
        return path.as_uri()


def _embedded(path: Path) -> str:
    kind = BROWSER_TYPES.get(path.suffix.lower())
    if kind is None:
        return figures.jpeg_uri(read_image(path), quality=92)
    return f"data:{kind};base64," + base64.b64encode(path.read_bytes()).decode("ascii")
