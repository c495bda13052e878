"""The interface shared by the mask stages: on images, or on a shard of a run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from cuts3d_cli.cli.options import build_config, config_options, made_from, method_option, run_images, section_options
from cuts3d_cli.config import Config
from cuts3d_cli.pipeline.declarations import STAGES
from cuts3d_cli.pipeline.methods import OWN
from cuts3d_cli.store.layout import OWN_PICTURES


def stage_command(stage: str, help_text: str) -> click.Command:
    """Create the command of a stage; ``help_text`` is its help with examples."""
    section = stage.replace("-", "_")
    has_settings = section in Config.model_fields
    decorators = [
        click.argument("images", nargs=-1, type=click.Path(path_type=Path)),
        click.option(
            "--run",
            "run_dir",
            type=click.Path(path_type=Path),
            help="Process a run (see `cuts3d prepare`) instead of images.",
        ),
        click.option("--shard", type=click.IntRange(0), help="Shard of the run. Default: all."),
        *([] if STAGES[stage].shared else [method_option]),
        click.option(
            "--depth-map",
            type=click.Path(path_type=Path),
            help="Depth map of the image, or a folder with one map per image.",
        ),
        click.option(
            "--out",
            type=click.Path(path_type=Path, file_okay=False),
            help="Folder for pictures, with the subfolders of the images. Default: beside each image, as "
            f"NAME{OWN_PICTURES}{stage}.png, which no command takes for an image or a label.",
        ),
        click.option("--picture/--no-picture", default=True, help="Write one picture per image."),
        click.option("--json", "as_json", is_flag=True, help="Print one JSON object per row."),
        click.option("--force", is_flag=True, help="Recompute even if up to date."),
        config_options,
        *([section_options(section)] if has_settings else []),
    ]

    def callback(images, run_dir, shard, depth_map, out, picture, as_json, force, method=OWN, **options):
        from cuts3d_cli.cli import stage_forms
        from cuts3d_cli.pipeline.methods import method_config

        if bool(images) == bool(run_dir):
            raise click.UsageError("give either image files or --run DIR")
        # None of the images given by name may fail unless --max-failed says so; a run has the configuration's fraction.
        max_failed = options["max_failed"] or 0.0
        before = made_from(run_dir, shard or 0, stage, method)
        config = build_config(
            options,
            *([section] if has_settings else []),
            images=images or run_images(run_dir),
            made_from=before,
            method=method,
        )
        if run_dir:
            stage_forms.on_run(stage, run_dir, shard, config, method=method, depth_maps=depth_map, force=force)
        else:
            stage_forms.on_images(
                stage,
                images,
                method_config(method, config),
                depth_map=depth_map,
                out=out,
                picture=picture,
                as_json=as_json,
                force=force,
                max_failed=max_failed,
            )

    for decorator in reversed(decorators):
        callback = decorator(callback)
    return click.command(stage, help=help_text)(callback)


def table_of(backends: Mapping[str, Any]) -> str:
    """A backend table as lines of a help text."""
    return "\n".join(f"      {name}: {entry.about}" for name, entry in backends.items())
