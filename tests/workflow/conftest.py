"""A finished run, which the tests of the workflow share."""

import shutil
from pathlib import Path

import pytest

from tests.workflow.test_workflow import workflow


@pytest.fixture(scope="session")
def finished(tmp_path_factory, dataset):
    """A run on scenes of its own and the process that made it; what a test takes away it puts back."""
    folder = tmp_path_factory.mktemp("finished")
    run = workflow(folder, Path(shutil.copytree(dataset, folder / "scenes")))
    ended = run()
    logs = (
        "".join(f"== {path}\n{path.read_text()}" for path in (run.folder / "an out").rglob("*.log"))
        if ended.returncode
        else ""
    )
    assert ended.returncode == 0, ended.stderr + logs
    return run, ended
