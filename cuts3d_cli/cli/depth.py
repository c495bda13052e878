"""``cuts3d depth``."""

from cuts3d_cli.cli.stage_command import stage_command, table_of
from cuts3d_cli.config.backends import DEPTH

command = stage_command(
    "depth",
    f"""Depth of each image, normalised so that 0 is nearest and 1 farthest (paper Sec. 3.1).

    With depth.backend `files` the map is beside the image (photo.npy, photo_depth.png or photo-depth.tif for
    photo.jpg) or named by --depth-map: 16-bit PNG, NPY or TIFF, metric with 0 = no reading, or
    --kind inverse. Other backends are depth models, downloaded once.
    In the picture, near is bright.

    \b
    Backends:
      auto: a map from a file if there is one, else the embedded model; the default
      files: maps from files
{table_of(DEPTH)}

    \b
    Examples:
      cuts3d depth --depth-map photo_depth.png photo.jpg
      cuts3d depth --kind inverse --depth-map midas.npy photo.jpg
      cuts3d depth --backend depth-anything-v2-small photo.jpg
      cuts3d depth --run runs/sample --shard 0
    """,
)
