"""The command that measures how soon a command fails without weights."""

import urllib.error
import urllib.request

import pytest
from click.testing import CliRunner


def test_a_preset_without_weights_fails_at_once(benchmarks):
    import offline

    arguments = ["--preset", "maskcut", "--repeat", "1"]
    result = CliRunner().invoke(offline.main, arguments, catch_exceptions=False)
    first, second = [line.split("|") for line in result.output.splitlines() if "maskcut" in line]
    assert [first[2].strip(), second[2].strip()] == ["refuses", "keeps silent"]
    assert float(first[4]) > 0 and float(second[4]) > 0


def test_a_command_that_ends_otherwise_is_no_measurement(benchmarks, monkeypatch):
    import offline

    monkeypatch.setattr(offline, "environment", lambda url, folder: {"PATH": ""})
    with pytest.raises(RuntimeError, match="preset embedded, the network refuses: exit code"):
        offline.seconds_to_fail("embedded", "refuses")


@pytest.mark.parametrize(("network", "reason"), [("refuses", "refused"), ("keeps silent", "timed out")])
def test_nobody_answers(benchmarks, network, reason):
    import offline

    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with offline.server(network) as url, pytest.raises((urllib.error.URLError, TimeoutError), match=reason):
        opener.open(url, timeout=0.2)
