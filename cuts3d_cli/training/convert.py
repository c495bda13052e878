"""Turn a detector checkpoint of CutLER's format into ours, or ours into it."""

from __future__ import annotations

from pathlib import Path

from cuts3d_cli.errors import ModelError
from cuts3d_cli.log import logger

FORMATS = {"cuts3d": "cuts3d", "d2": "detectron2 (CutLER)"}


def run(source: Path, out: Path, *, to: str | None = None) -> str:
    """Write ``source`` in the other format.

    Args:
        source: a checkpoint of ``cuts3d train``, or a detector in detectron2's format.
        out: the file to write, whole or not at all.
        to: ``cuts3d`` or ``d2``; None turns it into whichever it is not.

    Returns:
        The format written.

    Raises:
        ModelError: the file is missing, of neither format, already of the one asked for, or its
            architecture has no counterpart.
    """
    from cuts3d_cli.detector import checkpoints, d2_checkpoint
    from cuts3d_cli.store.files import digest_file

    content = checkpoints.load(source)
    if d2_checkpoint.is_detectron2(content):
        target = "cuts3d"
    elif checkpoints.is_detector(content):
        target = "d2"
    else:
        raise ModelError(
            f"file {source}", expected="a detector of `cuts3d train` or in detectron2's format", found="other weights"
        )
    if to not in (None, target):
        raise ModelError(f"file {source} is already in the format {FORMATS[to]}", hint="omit --to")
    if target == "cuts3d":
        converted = d2_checkpoint.from_detectron2(content, source, digest_file(source))
    else:
        converted = d2_checkpoint.to_detectron2(content, source)
    checkpoints.save(out, converted)
    logger.info("convert: %s -> %s, in the format %s", source, out, FORMATS[target])
    return target
