"""``cuts3d run``."""

from pathlib import Path

import click


@click.command("run", context_settings={"allow_interspersed_args": False, "ignore_unknown_options": True})
@click.argument("config_file", metavar="CONFIG", type=click.Path(path_type=Path))
@click.option(
    "--set",
    "assignments",
    multiple=True,
    metavar="SECTION.KEY=VALUE",
    help="Set any key for this call, before or after CONFIG; repeatable.",
)
@click.argument("words", metavar="[TARGETS] [SNAKEMAKE OPTIONS]", nargs=-1, type=click.UNPROCESSED)
def command(config_file, assignments, words):
    """Run the whole workflow under a configuration: masks, detector, scores, report.

    Snakemake does the work, in the current folder, where relative paths in CONFIG start. Everything else after CONFIG
    goes to Snakemake as it is (`cuts3d run CONFIG --help` lists its options); all cores are used unless --cores,
    --profile or --executor says otherwise. What is up to date is kept, so the same command continues a stopped run and
    takes up changed settings and images.

    \b
    Examples:
      cuts3d run mine.yaml
      cuts3d run mine.yaml -n                            # what would run
      cuts3d run mine.yaml pseudo_masks --cores 4
      cuts3d run mine.yaml --profile slurm               # on a cluster
      cuts3d run mine.yaml --set localcut.tau_knn=0.05
    """
    from cuts3d_cli.cli.options import assigned, build_config
    from cuts3d_cli.config import merge_values
    from cuts3d_cli.workflow import check_file, run_snakemake, settings_in

    if str(config_file).startswith("-"):
        raise click.UsageError(f"CONFIG comes before Snakemake's options: cuts3d run mine.yaml {config_file}")
    check_file(config_file)
    single, several, words = settings_in(words)
    if target := next((word for word in several if "=" not in word), None):
        raise click.UsageError(f"targets come before --config: cuts3d run {config_file} {target} --config ...")
    single = [*assignments, *single]
    given = merge_values(assigned(several, "--config"), assigned(single))
    if not {"-h", "--help"} & set(words):
        # Snakemake's own reader would name neither file nor line, nor the option of a mistake
        build_config({"config_file": config_file, "assignments": [*several, *single]})
    run_snakemake(config_file, words, given)
