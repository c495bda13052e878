import json
import logging

import pytest

from cuts3d_cli import __version__
from cuts3d_cli.config import EvaluateConfig
from cuts3d_cli.errors import Cuts3dError
from cuts3d_cli.log import logger
from cuts3d_cli.stages import evaluate


@pytest.fixture
def files(predictions, truth, tmp_path):
    (tmp_path / "p.json").write_text(json.dumps(predictions))
    (tmp_path / "gt.json").write_text(json.dumps(truth))
    return tmp_path / "p.json", tmp_path / "gt.json", tmp_path / "out" / "result.json"


def test_writes_what_it_returns_with_provenance(files):
    predictions, annotations, out = files
    config = EvaluateConfig(max_dets=(1, 2, 5), iou_types=["segm"])
    result = evaluate.run(predictions, annotations, config=config, out=out)
    assert json.loads(out.read_text()) == result
    assert list(result["metrics"]) == ["segm"]
    assert result["metrics"]["segm"]["AR5"] == pytest.approx(1)
    provenance = result["provenance"]
    assert provenance["version"] == __version__
    assert provenance["config"] == config.model_dump(mode="json")
    assert provenance["predictions_info"] == {"kind": "predictions", "fingerprint": "f00"}
    assert provenance["predictions_digest"] != provenance["annotations_digest"]
    assert "result" in evaluate.format_table({"result": result})


def test_nothing_is_written_on_an_error(files):
    predictions, annotations, out = files
    annotations.write_text("[]")
    with pytest.raises(Cuts3dError):
        evaluate.run(predictions, annotations, config=EvaluateConfig(), out=out)
    assert not out.exists()


def test_notes_are_logged(files, truth, caplog, monkeypatch):
    predictions, annotations, _ = files
    truth["annotations"][0]["category_id"] = 2
    annotations.write_text(json.dumps(truth))
    monkeypatch.setattr(logger, "propagate", True)
    with caplog.at_level(logging.WARNING, logger="cuts3d"):
        evaluate.run(predictions, annotations, config=EvaluateConfig())
    assert "2 categories" in caplog.text
