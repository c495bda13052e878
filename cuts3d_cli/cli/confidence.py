"""``cuts3d confidence``."""

from cuts3d_cli.cli.stage_command import stage_command

command = stage_command(
    "confidence",
    """Spatial Confidence: agreement of cuts from threshold tau_knn_min to localcut.tau_knn (paper Sec. 3.4, Eq. 4).

    \b
    Examples:
      cuts3d confidence photo.jpg
      cuts3d confidence --n-thresholds 12 --set localcut.tau_knn=0.1 photo.jpg
      cuts3d confidence --run runs/sample --shard 0
    """,
)
