"""The command that times what is waited for before work starts."""

from click.testing import CliRunner


def test_rows(benchmarks, tmp_path, small):
    import workflow

    arguments = ["--repeat", "1", "--shards", "3", "--folder", str(tmp_path), "--config", str(small)]
    result = CliRunner().invoke(workflow.main, arguments, catch_exceptions=False)
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in result.output.splitlines()[2:]]
    assert [row[0].split(",")[0] for row in rows] == ["cuts3d --help", "snakemake", "snakemake -n"]
    assert rows[1][-1] == "not measured: the run is not finished"
    assert float(rows[0][2]) > 0 and float(rows[2][2]) > 0
    jobs = int(rows[2][0].split(",")[2].split()[0])
    assert jobs > 3 * 8  # eight jobs a shard, and the held-out images, the detector and the scores
