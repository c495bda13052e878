"""``cuts3d crf``."""

from cuts3d_cli.cli.stage_command import stage_command

command = stage_command(
    "crf",
    """Refine the instances with a dense CRF at the working size and resize them to the size of the image.

    For a run it writes one COCO JSON per shard (`cuts3d merge` joins them).

    \b
    Examples:
      cuts3d crf photo.jpg
      cuts3d crf --bilateral-srgb 8 photo.jpg
      cuts3d crf --run runs/sample --shard 0
    """,
)
