"""``cuts3d spatial-importance``."""

from cuts3d_cli.cli.stage_command import stage_command

command = stage_command(
    "spatial-importance",
    """Spatial Importance: how much depth changes around each patch (paper Sec. 3.3, Eq. 1-2).

    \b
    Examples:
      cuts3d spatial-importance --depth-map photo_depth.png photo.jpg
      cuts3d spatial-importance --beta 0.3 --run runs/sample --shard 0
    """,
)
