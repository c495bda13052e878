"""``cuts3d localcut``."""

from cuts3d_cli.cli.stage_command import stage_command

command = stage_command(
    "localcut",
    """Find instances: NCut on the sharpened affinity, then a min-cut on the 3D graph (paper Sec. 3.2).

    Prints a row per attempt with its outcome, and writes an overlay. A second call with another threshold reuses
    depth, features and importance. --preset maskcut is CutLER's MaskCut, --preset tokencut is TokenCut (one
    object); neither needs depth.

    \b
    Examples:
      cuts3d localcut --tau-knn 0.115 photo.jpg
      cuts3d localcut --depth-map depth/ --n-instances 5 photos/
      cuts3d localcut --preset maskcut photo.jpg
      cuts3d localcut --run runs/sample --shard 0 --tau-knn 0.1
    """,
)
