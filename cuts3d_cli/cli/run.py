"""``cuts3d run``."""

from collections.abc import Sequence
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
@click.option("-v", "--verbose", is_flag=True, help="Show all that Snakemake says; -v also after CONFIG.")
@click.argument("words", metavar="[TARGETS] [SNAKEMAKE OPTIONS]", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def command(ctx, config_file, assignments, verbose, words):
    """Run the whole workflow under a configuration: masks, detector, scores, report.

    Snakemake does the work, in the current folder, where relative paths in CONFIG start. Everything else after CONFIG
    goes to Snakemake as it is (`cuts3d run CONFIG --help` lists its options); all cores are used unless --cores,
    --profile or --executor says otherwise. What is up to date is kept, so the same command continues a stopped run and
    takes up changed settings and images. Snakemake's own account of each step is in .snakemake/log.

    \b
    Examples:
      cuts3d run mine.yaml
      cuts3d run mine.yaml -n                            # what would run
      cuts3d run mine.yaml pseudo_masks --cores 4
      cuts3d run mine.yaml --profile slurm               # on a cluster
      cuts3d run mine.yaml --set localcut.tau_knn=0.05
    """
    from cuts3d_cli.cli.assignments import assigned
    from cuts3d_cli.cli.options import build_config
    from cuts3d_cli.config import merge_values
    from cuts3d_cli.workflow import check_file, run_snakemake

    if str(config_file).startswith("-"):
        raise click.UsageError(f"CONFIG comes before Snakemake's options: cuts3d run mine.yaml {config_file}")
    check_file(config_file)
    single, several, words = _settings_in(words)
    if target := next((word for word in several if "=" not in word), None):
        raise click.UsageError(f"targets come before --config: cuts3d run {config_file} {target} --config ...")
    single = [*assignments, *single]
    given = merge_values(assigned(several, "--config"), assigned(single))
    if not {"-h", "--help"} & set(words):
        # Snakemake's own reader would name neither file nor line, nor the option of a mistake
        build_config({"config_file": config_file, "assignments": [*several, *single]})
    if verbose or ctx.find_root().params["verbose"]:
        words = ["-v", *words]
    run_snakemake(config_file, words, given)


def _settings_in(words: Sequence[str]) -> tuple[list[str], list[str], list[str]]:
    """Take what sets settings out of a command line of Snakemake.

    Returns:
        The assignments of ``--set``, those of Snakemake's ``--config``, and the other words. Snakemake takes no keys
        with dots, and every value within braces for text, so its option is treated as ours.
    """
    from cuts3d_cli.workflow import option_of

    single, several, others = [], [], []
    left = list(words)
    while left:
        word = left.pop(0)
        if word == "--":
            return single, several, [*others, word, *left]
        if word == "--set":
            single.append(left.pop(0) if left else "")
        elif word.startswith("--set="):
            single.append(word.removeprefix("--set="))
        elif word in ("--config", "-C"):
            while left and not left[0].startswith("-"):
                several.append(left.pop(0))
        elif option_of(word) in ("--config", "-C"):
            several.append(word.removeprefix("--config=").removeprefix("-C"))
        else:
            others.append(word)
    return single, several, others
