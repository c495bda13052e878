"""What a run scores, and what scores depend on."""

import os

from cuts3d_cli.config import resolve
from cuts3d_cli.evaluation.plan import evaluations, predicting, scoring

DATA = {"images": "mine", "annotations": "a.json"}
HELD_OUT = {"val_images": "held", "val_annotations": "b.json"}


def test_what_a_run_scores():
    def scored(**data):
        return set(evaluations(resolve({"data": DATA | data, "selftrain": {"rounds": 1}}), ["maskcut", "cuts3d"]))

    assert scored(annotations=None) == set()
    assert scored() == {"maskcut_train", "cuts3d_train"}
    assert scored(**HELD_OUT) == scored() | {"maskcut_val", "cuts3d_val", "round0_val", "round1_val"}
    assert scored(val_images="held") == scored(), "held-out images without labels have no scores"


def test_which_detectors_predict():
    def found(rounds=1, detector="embedded_cascade", **data):
        values = {"data": DATA | data, "selftrain": {"rounds": rounds}, "train": {"detector": detector}}
        return predicting(resolve(values))

    assert found() == [] and found(**HELD_OUT) == [0, 1] and found(val_images="held") == [1]
    assert found(detector=None, **HELD_OUT) == []


def test_scores_depend_on_what_labels_hold(tmp_path):
    def depends(labels, **data):
        return scoring(resolve({"data": {"images": "mine", **data}}), labels)

    (tmp_path / "labels/day").mkdir(parents=True)
    file = tmp_path / "labels/day/a.png"
    file.write_bytes(b"x")
    assert depends("nowhere.json") == depends(None)
    for labels in (tmp_path / "labels", file):
        first = depends(str(labels))
        assert first == depends(str(labels)) != depends(None)
        assert (depends(str(labels), ignore_labels=[0]) != first) == labels.is_dir()
        file.write_bytes(b"y" + file.read_bytes())
        assert depends(str(labels)) != first
        second = depends(str(labels))
        os.utime(file, (1e9, 1e9))
        assert depends(str(labels)) != second, "an older file too"
