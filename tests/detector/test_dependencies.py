"""What makes a training or a round be repeated."""

import json

from cuts3d_cli.config import resolve
from cuts3d_cli.training import selftrain, train


def first(**values):
    config = resolve({"train": values})
    return train.dependencies(config.train, config.seed)


def second(number=1, **values):
    config = resolve(values)
    return selftrain.dependencies(config.selftrain, config.train, config.seed, number)


def test_a_training_depends_on_the_content_of_its_initial_weights(tmp_path):
    path = tmp_path / "weights.pth"
    path.write_bytes(b"one")
    before = first(init=str(path))
    path.touch()
    assert first(init=str(path)) == before
    path.write_bytes(b"two")
    assert first(init=str(path)) != before
    assert first(workers=4, checkpoint_every=3) == first() != first(lr=0.03)
    json.dumps(before)


def test_a_round_depends_on_what_it_uses_alone():
    assert second(train={"lr": 0.5}) == second(), "it has a rate of its own"
    assert second(train={"momentum": 0.5}) != second() != second(seed=1)
    assert second(selftrain={"rounds": 5, "target_threshold": 0.1}) == second() != second(2)
    flat = {"score_threshold": 0.7, "score_step": 0.0}
    assert second(selftrain=flat) == second() and second(2, selftrain=flat) != second(2), "the same threshold"


def test_a_record_tells_the_algorithm(tmp_path, monkeypatch):
    (tmp_path / "masks.json").write_text("{}")
    made = train.provenance(tmp_path / "masks.json", resolve({}).train, 0, None, {"type": "x"})
    assert train.made_by_this_algorithm(made)
    monkeypatch.setattr(train, "ALGORITHM", 99)
    assert not train.made_by_this_algorithm(made)
