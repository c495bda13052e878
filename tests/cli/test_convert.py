"""``cuts3d convert`` and predicting with weights of the other format: one line for each mistake."""

import pickle

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("cuts3d_cli.detector")


@pytest.fixture
def theirs(tmp_path):
    """A checkpoint in detectron2's format, without memory behind its tensors."""
    from cuts3d_cli.detector import d2_checkpoint

    shapes = d2_checkpoint.expected_shapes("paper_cascade")
    model = {d2_checkpoint.detectron2_name(key): torch.zeros(()).expand(shape) for key, shape in shapes.items()}
    path = tmp_path / "theirs.pth"
    torch.save({"model": model}, path)
    return path


def one_error(err, *words):
    errors = [line for line in err.splitlines() if "error:" in line]
    assert len(errors) == 1 and all(word in errors[0] for word in words), err
    return True


def test_there_and_back(cuts3d, theirs, tmp_path):
    ours, back = tmp_path / "ours.pth", tmp_path / "back.pth"
    code, _, err = cuts3d("convert", theirs, ours)
    assert code == 0 and "format cuts3d" in err
    code, _, err = cuts3d("convert", "--to", "d2", ours, back)
    assert code == 0 and "detectron2" in err
    first, last = (torch.load(path, weights_only=True)["model"] for path in (theirs, back))
    assert list(first) == list(last) and all(torch.equal(first[key], last[key]) for key in first)


def test_the_wrong_direction(cuts3d, theirs, tmp_path):
    code, _, err = cuts3d("convert", "--to", "d2", theirs, tmp_path / "out.pth")
    assert code == 1 and one_error(err, "is already in the format detectron2 (CutLER)")
    assert not (tmp_path / "out.pth").exists()


def test_an_incomplete_checkpoint(cuts3d, theirs, photo, tmp_path):
    content = torch.load(theirs, weights_only=True)
    del content["model"]["backbone.fpn_output3.norm.bias"]
    torch.save(content, theirs)
    for words in (
        ["convert", theirs, tmp_path / "out"],
        ["predict", "--weights", theirs, "--out", tmp_path / "out", photo],
    ):
        code, _, err = cuts3d(*words)
        assert code == 1 and one_error(err, "theirs.pth", "1 of", "missing", "backbone.fpn_output3.norm.bias")
        assert not (tmp_path / "out").exists()


def test_a_pickle(cuts3d, tmp_path):
    path = tmp_path / "theirs.pkl"
    path.write_bytes(pickle.dumps({"model": {}}))
    code, _, err = cuts3d("convert", path, tmp_path / "out.pth")
    assert code == 1 and one_error(err, "theirs.pkl is a pickle", "where you trust it")


@pytest.mark.parametrize("content", [b"", b"hello", None])
def test_no_checkpoint(cuts3d, tmp_path, content):
    path = tmp_path / "w.pth"
    if content is not None:
        path.write_bytes(content)
    code, _, err = cuts3d("convert", path, tmp_path / "out.pth")
    assert code == 1 and one_error(err, "w.pth")


def test_a_backbone(cuts3d, tmp_path):
    torch.save({"conv1.weight": torch.zeros(3)}, tmp_path / "w.pth")
    code, _, err = cuts3d("convert", tmp_path / "w.pth", tmp_path / "out.pth")
    assert code == 1 and one_error(err, "w.pth", "detectron2's format", "other weights")
