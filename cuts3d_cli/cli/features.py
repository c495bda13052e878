"""``cuts3d features``."""

from cuts3d_cli.cli.stage_command import stage_command

command = stage_command(
    "features",
    """Patch features whose cosine tells which patches belong together (paper Sec. 3.1).

    The embedded backend `kernel` needs no weights; ViT backends (dino-vitb8, ...) take the keys of the last
    block. The picture shows the three main directions of the features as colours.

    \b
    Examples:
      cuts3d features photo.jpg
      cuts3d features --backend dino-vitb8 --weights dino_vitbase8_pretrain.pth photo.jpg
      cuts3d features --run runs/sample --shard 0
    """,
)
