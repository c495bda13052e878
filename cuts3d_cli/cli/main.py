"""The ``cuts3d`` command: a lazy group, verbosity, and errors as one line."""

from __future__ import annotations

import importlib
import io
import os
import signal
import sys
from pathlib import Path

import click

from cuts3d_cli import __version__

COMMANDS = {
    "masks": "Images in, masks out: everything in one step.",
    "export": "Masks in the form that another tool reads.",
    "init": "Write a config.yaml for your own images.",
    "run": "Run the whole workflow with a configuration.",
    "prepare": "List the images of a folder and split the list into shards.",
    "depth": "Depth maps, from files or a model (paper Sec. 3.1).",
    "features": "Patch features for the semantic affinity (Sec. 3.1).",
    "spatial-importance": "How much depth changes around each patch (Sec. 3.3, Eq. 1-2).",
    "localcut": "NCut and LocalCut: instances cut in 3D (Sec. 3.2).",
    "confidence": "Spatial Confidence of each instance (Sec. 3.4, Eq. 4).",
    "crf": "Refine masks with a dense CRF; COCO JSON.",
    "merge": "Join the shards' masks into one COCO JSON.",
    "models": "List or download weights of feature and depth models.",
    "train": "Train the class-agnostic detector (Sec. 3.4 and 4).",
    "selftrain": "One round of self-training.",
    "predict": "Detect instances in images.",
    "convert": "Convert checkpoints between CutLER's format and ours.",
    "evaluate": "COCO AP and AR, with published numbers for comparison.",
    "benchmarks": "List the benchmarks of evaluate and their folder layout.",
    "report": "Write one HTML file with results and pictures of a run.",
    "compare": "The paper's ablation tables from a run's experiments.",
    "status": "What a run contains, what is stale and why.",
}


class LazyGroup(click.Group):
    """Imports a command's module only when it is called, so that ``--help`` loads nothing heavy."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        return importlib.import_module(f"cuts3d_cli.cli.{name.replace('-', '_')}").command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def resolve_command(self, ctx: click.Context, args: list[str]):
        name = args[0] if args else ""
        if name and name not in COMMANDS:
            from difflib import get_close_matches

            close = get_close_matches(name, COMMANDS, n=1)
            ctx.fail(f"No such command '{name}'." + (f" Did you mean '{close[0]}'?" if close else ""))
        return super().resolve_command(ctx, args)


_HEADLESS = "pip uninstall -y opencv-python, then pip install --force-reinstall --no-deps opencv-python-headless"
"""The fix where opencv-python lacks desktop libraries: the headless package has the same module without them."""


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="cuts3d")
@click.option("-v", "--verbose", count=True, help="Increase verbosity.")
@click.option("-q", "--quiet", is_flag=True, help="Only warnings and errors.")
def cli(verbose: int, quiet: bool) -> None:
    """Unsupervised instance segmentation: cut objects in 3D, train a detector on the cuts.

    Each command works on image files (results are cached in .cuts3d/) or, with --run, on a shard of a run.
    """
    from cuts3d_cli import log
    from cuts3d_cli.cli import typed

    typed.forget()
    log.setup(-1 if quiet else verbose, typed.shown)


def main(args: list[str] | None = None) -> None:
    """Entry point: errors become one line on stderr and exit code 1 (2 for wrong usage, 130 for Ctrl-C)."""
    from cuts3d_cli import threads
    from cuts3d_cli.cli.typed import as_typed
    from cuts3d_cli.errors import INTERRUPTED, Cuts3dError, missing_package, unwritable

    threads.limit()
    for stream in (sys.stdout, sys.stderr):  # whatever a terminal's encoding lacks is shown as an escape
        if isinstance(stream, io.TextIOWrapper):  # others may have put their own there
            stream.reconfigure(errors="backslashreplace")
    # Waiting threads sleep instead of spinning, which on a shared machine costs several times the work itself.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        cli.main(args=args, prog_name="cuts3d", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo(INTERRUPTED, err=True)
        sys.exit(130)
    except Cuts3dError as error:
        click.echo(f"cuts3d: error: {as_typed(str(error))}", err=True)
        sys.exit(1)
    except ModuleNotFoundError as error:
        click.echo(f"cuts3d: error: {missing_package(error)}", err=True)
        sys.exit(1)
    except ImportError as error:
        if error.name != "cv2":
            raise
        click.echo(f"cuts3d: error: OpenCV: {error} -> {_HEADLESS}", err=True)
        sys.exit(1)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        name = error.filename or "a file"
        line = unwritable(error, Path(name)) or f"{name}: {error.strerror or error}"
        click.echo(f"cuts3d: error: {line}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
