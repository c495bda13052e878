import pytest
import yaml

from cuts3d_cli.yaml_text import parsed_yaml


@pytest.mark.parametrize(
    "text", ["a: 1\nb: {c: [1, 2.5, null, true]}", "", "x: &x {k: 1}\ny: {<<: *x, l: 2}", "1: a\n'2': b"]
)
def test_yaml_is_read_as_usual(text):
    assert parsed_yaml(text) == yaml.safe_load(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: 1\nb: 2\na: 3", "key a is given twice.*line 3"),
        ("s:\n  k: 1\n  k: 2", "key k is given twice"),
        ("a: [1", "expected ',' or ']'"),
        ("a:\t1\n\tb: 2", "found character"),
        ("d: 2024-13-40", "month must be in"),
        ("[" * 3000, "nested too deeply"),
        ("a: !!python/object:os.system x", "could not determine a constructor"),
    ],
)
def test_what_is_none_is_a_value_error_in_one_line(text, reason):
    with pytest.raises(ValueError, match=reason) as found:
        parsed_yaml(text)
    assert "\n" not in str(found.value)
