"""The command that measures what images cost that are added to a run."""

from click.testing import CliRunner

from cuts3d_cli.pipeline.runner import Job


def test_rows(in_process, small, monkeypatch):
    import added_images

    read, image = [], Job.image
    monkeypatch.setattr(Job, "image", lambda self, record: read.append(record.file_name) or image(self, record))
    monkeypatch.setattr(added_images, "COUNTS", (0, 1))
    result = CliRunner().invoke(added_images.main, ["--config", str(small), "--images", "3"], catch_exceptions=False)
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in result.output.splitlines()[2:]]
    assert [row[0] for row in rows] == ["3 images, from nothing", "0 added", "1 added"]
    assert [row[2] for row in rows] == ["1", "1.000", "1.000"], "every command counts the same here"
    assert len(read) == 2 * (3 + 1), "by features and crf, each image once"
