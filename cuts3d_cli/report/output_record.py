"""The record of the pictures that ``cuts3d masks`` wrote to a folder, so that a later call removes what is stale."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from cuts3d_cli.store.files import write_json
from cuts3d_cli.store.image_files import OUTPUT_RECORD, output_record

MADE_BY = "cuts3d masks"


def is_of_masks(folder: Path) -> bool:
    """Whether ``cuts3d masks`` wrote a folder."""
    return output_record(folder).get("made_by") == MADE_BY


class OutputRecord:
    """The file `OUTPUT_RECORD` of a folder: the pictures in it by their relative paths, with size and time of each.

    A picture that somebody changed since is theirs and is left alone, as is any file that is not in the record.

    Args:
        folder: of the pictures; a record that is there is read.
        n_images: number of the images that are to be drawn now.
    """

    def __init__(self, folder: Path, n_images: int):
        self.folder, self.n_images = folder, n_images
        self._earlier = _pictures(folder)

    def begin(self, pictures: Sequence[Path]) -> None:
        """Note the pictures that will be written, beside the earlier ones: the call may be interrupted."""
        self._write({**self._earlier, **dict.fromkeys(self._names(pictures), "")})

    def finish(self, pictures: Sequence[Path]) -> int:
        """Note the pictures that were written and remove the others of the record, folders left empty included.

        Returns:
            How many pictures were removed.
        """
        made = {name: _stamp(self.folder / name) for name in self._names(pictures)}
        n_removed = 0
        for name, stamp in self._earlier.items():
            path = self.folder / name
            if name in made or not path.is_file() or stamp not in ("", _stamp(path)):
                continue
            path.unlink()
            n_removed += 1
            for parent in Path(name).parents[:-1]:
                with contextlib.suppress(OSError):  # it holds other files
                    (self.folder / parent).rmdir()
        self._write(made)
        return n_removed

    def _names(self, pictures: Iterable[Path]) -> list[str]:
        return [self._name(path) for path in pictures]

    def _name(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()

    def _write(self, pictures: dict[str, str]) -> None:
        record = {"made_by": MADE_BY, "images": self.n_images, "pictures": pictures}
        write_json(self.folder / OUTPUT_RECORD, record, indent=2)


def _pictures(folder: Path) -> dict[str, str]:
    """The pictures of a folder's record; none where it is missing, damaged or of an earlier version."""
    pictures = output_record(folder).get("pictures")
    named = {str(name): str(stamp) for name, stamp in pictures.items()} if isinstance(pictures, dict) else {}
    inside = [name for name in named if not Path(name).is_absolute() and ".." not in Path(name).parts]
    return {name: named[name] for name in inside}


def _stamp(path: Path) -> str:
    """Size and time of a file, which a copy keeps."""
    stat = path.stat()
    return f"{stat.st_size} {stat.st_mtime_ns}"
