"""``cuts3d features``."""

from cuts3d_cli.cli.stage_command import stage_command, table_of
from cuts3d_cli.config.backends import FEATURES

command = stage_command(
    "features",
    f"""Patch features whose cosine similarity says which patches belong together (paper Sec. 3.1).

    The backend `kernel` needs no weights; ViT backends use the queries, keys or values of the last block's attention,
    whichever suit the model, unless --facet and --block say otherwise. The picture shows the first three principal
    components of the features as colours.

    \b
    Backends:
{table_of(FEATURES)}

    \b
    Examples:
      cuts3d features photo.jpg
      cuts3d features --backend dino-vitb8 --weights dino_vitbase8_pretrain.pth photo.jpg
      cuts3d features --run runs/sample --shard 0
    """,
)
