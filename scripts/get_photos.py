"""Get the photographs that sample/photos.json lists, and what people marked in them.

    python scripts/get_photos.py runs/photos/data                    from COCO's own addresses
    python scripts/get_photos.py runs/photos/data --source DIR       from a folder: DIR/annotations.json, DIR/images/

Writes into the folder ``images/`` and COCO instances of these images alone: ``annotations.json``, and of either half
``annotations_choose.json`` and ``annotations_report.json``. What is there already is kept, so a second call does
nothing and a call that was stopped goes on. From COCO it takes 15 MB of images and a 241 MB archive of annotations.
"""

from __future__ import annotations

import argparse
import hashlib
import http.client
import json
import shutil
import sys
import tempfile
import urllib.request
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from cuts3d_cli import log
from cuts3d_cli.errors import Cuts3dError
from cuts3d_cli.store.files import atomic_path, write_json
from cuts3d_cli.store.json_files import read_json

LIST = Path(__file__).parents[1] / "sample/photos.json"
ARCHIVE = "http://images.cocodataset.org/annotations/annotations_trainval2017.zip"
SPLITS = ("choose", "report")
TIMEOUT_S = 10
CHUNK = 2**20

Photo = Mapping[str, Any]


def get(out: Path, source: Path | None = None, *, photos: Sequence[Photo] | None = None) -> None:
    """Fill a folder with the listed photographs and their annotations.

    Args:
        out: the folder; files in its ``images`` that are not listed are an error.
        source: folder to take them from instead of COCO's addresses.
        photos: the list; ``sample/photos.json`` when omitted.

    Raises:
        Cuts3dError: COCO cannot be reached, or a photograph is not there or another file.
    """
    photos = read_json(LIST)["images"] if photos is None else photos
    images = out / "images"
    _check_others(images, photos)
    lacking = [photo for photo in photos if not _is(images / photo["file_name"], photo)]
    open_photo = _from_coco if source is None else _from_folder(source)
    for photo in log.progress(lacking, "photographs", len(lacking)):
        with atomic_path(images / photo["file_name"]) as temporary:
            with open_photo(photo) as content, temporary.open("wb") as file:
                shutil.copyfileobj(content, file)
            if not _is(temporary, photo):
                raise _another_file(photo, source)
    if _has_annotations(out, photos):
        log.logger.info("%d photographs in %s, %d of them new", len(photos), out, len(lacking))
        return
    documents = _documents_of_coco(out, photos) if source is None else [read_json(source / "annotations.json")]
    write_annotations(out, photos, documents)
    log.logger.info("%d photographs and their annotations in %s", len(photos), out)


def write_annotations(out: Path, photos: Sequence[Photo], documents: Sequence[Mapping[str, Any]]) -> None:
    """Write the annotations of the listed photographs out of COCO documents, each half's and then those of all.

    Raises:
        Cuts3dError: the documents lack a photograph.
    """
    wanted = {photo["file_name"]: photo for photo in photos}
    found = {image["file_name"]: image for document in documents for image in document["images"]}
    if missing := sorted(wanted.keys() - found.keys()):
        raise Cuts3dError(
            f"annotations lack {len(missing)} of {len(wanted)} photographs, first {missing[0]}",
            expected="every photograph of sample/photos.json",
        )
    for name in (*SPLITS, None):
        images = [found[photo["file_name"]] for photo in photos if name in (None, photo["split"])]
        ids = {image["id"] for image in images}
        document = {
            "info": {
                "description": f"COCO 2017, {name or 'all'} of the photographs in sample/photos.json",
                "url": ARCHIVE,
            },
            "licenses": documents[0]["licenses"],
            "images": images,
            "annotations": [a for document in documents for a in document["annotations"] if a["image_id"] in ids],
            "categories": documents[0]["categories"],
        }
        write_json(annotations_path(out, name), document)


def annotations_path(out: Path, split: str | None = None) -> Path:
    """Annotations of all photographs, or of a half of them."""
    return out / (f"annotations_{split}.json" if split else "annotations.json")


def _has_annotations(out: Path, photos: Sequence[Photo]) -> bool:
    if not all(annotations_path(out, name).is_file() for name in (None, *SPLITS)):
        return False
    images = read_json(annotations_path(out))["images"]
    return [image["file_name"] for image in images] == [photo["file_name"] for photo in photos]


def _check_others(images: Path, photos: Sequence[Photo]) -> None:
    others = {path.name for path in images.glob("*")} - {photo["file_name"] for photo in photos}
    others = sorted(name for name in others if not name.startswith("."))
    if others:
        raise Cuts3dError(
            f"folder {images} contains {len(others)} other files, first {others[0]}",
            expected="only the photographs of sample/photos.json",
            hint="remove them, or choose another folder",
        )


def _is(path: Path, photo: Photo) -> bool:
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == photo["sha256"]


def _another_file(photo: Photo, source: Path | None) -> Cuts3dError:
    where = photo["coco_url"] if source is None else source / "images" / photo["file_name"]
    hint = "try again" if source is None else "copy it unchanged from COCO, neither resized nor re-encoded"
    return Cuts3dError(
        f"photograph {where}", expected=f"the listed file, SHA-256 {photo['sha256']}", found="another", hint=hint
    )


def _from_folder(source: Path) -> Callable[[Photo], IO[bytes]]:
    def opened(photo: Photo) -> IO[bytes]:
        path = source / "images" / photo["file_name"]
        try:
            return path.open("rb")
        except OSError:
            raise Cuts3dError(
                f"no photograph {path}",
                expected="a folder with annotations.json and images/, as COCO names them",
                hint="correct PHOTOS=DIR, or omit it to download them from COCO",
            ) from None

    return opened


@contextmanager
def _from_coco(photo: Photo) -> Iterator[IO[bytes]]:
    with _fetched(photo["coco_url"]) as response:
        yield response


@contextmanager
def _fetched(url: str) -> Iterator[Any]:
    """An answer over HTTP; what goes wrong until the block ends is one error."""
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as response:
            yield response
    except (OSError, http.client.HTTPException) as error:
        raise Cuts3dError(
            f"cannot get {url}",
            found=getattr(error, "reason", None) or error,
            hint="try again; without access to COCO, `make photos PHOTOS=DIR` uses photographs from a folder with "
            "annotations.json and images/",
        ) from None


def _documents_of_coco(out: Path, photos: Sequence[Photo]) -> list[dict[str, Any]]:
    """COCO's own documents, each reduced to these images."""
    ids = {photo["id"] for photo in photos}
    sets = sorted({photo["coco_url"].split("/")[-2] for photo in photos})
    with tempfile.TemporaryFile(dir=out) as file:
        with _fetched(ARCHIVE) as response:
            n_chunks = -(-int(response.headers.get("Content-Length") or 0) // CHUNK)
            chunks = iter(lambda: response.read(CHUNK), b"")
            for chunk in log.progress(chunks, "annotations of COCO, MB", n_chunks):
                file.write(chunk)
        try:
            with zipfile.ZipFile(file) as archive:
                return [reduced(archive.read(f"annotations/instances_{name}.json"), ids) for name in sets]
        except (zipfile.BadZipFile, KeyError) as error:
            raise Cuts3dError(
                f"archive {ARCHIVE}", expected="COCO's annotations", found=error, hint="try again"
            ) from None


def reduced(text: bytes, ids: set[int]) -> dict[str, Any]:
    """A COCO document with the images of these ids and their annotations alone; others are dropped while it is read."""

    def keep(record: dict[str, Any]) -> dict[str, Any] | None:
        if "image_id" in record or "coco_url" in record:
            return record if record.get("image_id", record["id"]) in ids else None
        return record

    document = json.loads(text, object_hook=keep)
    return document | {key: [entry for entry in document[key] if entry] for key in ("images", "annotations")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="folder to write to")
    parser.add_argument("--source", type=Path, help="folder with annotations.json and images/, instead of COCO")
    arguments = parser.parse_args()
    log.setup()
    try:
        get(arguments.out, arguments.source)
    except Cuts3dError as error:
        print(f"cuts3d: error: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
