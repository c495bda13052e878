import pytest
import yaml

from cuts3d_cli.yaml_text import parsed_yaml


@pytest.mark.parametrize(
    "text", ["a: 1\nb: {c: [1, 2.5, null, true]}", "", "x: &x {k: 1}\ny: {<<: *x, l: 2}", "1: a\n'2': b",
     "a: [0, 007, -0, 0x1F, 0b11, 08, 1_000, 1e3, .5, '010', '1:30', 12:99, a:1, 1:]"],
)  # fmt: skip
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
        ("k: 010", "010 is 8 in YAML: write 8 or 10 for the number, or '010' for the text in line 1, column 4"),
        ("k: [-0_17]", "-0_17 is -15 in YAML: write -15 or -17 for the number"),
        ("010: k", "010 is 8 in YAML"),
        ("k: 1:30", "1:30 is 90 in YAML: write 90 for the number, or '1:30' for the text"),
        ("k: 1:30.5", "1:30.5 is 90.5 in YAML: write 90.5 for"),
        ("k: !!int x", "invalid literal"),
        ("[" * 3000, "nested too deeply"),
        ("a: !!python/object:os.system x", "could not determine a constructor"),
    ],
)
def test_what_is_none_is_a_value_error_in_one_line(text, reason):
    with pytest.raises(ValueError, match=reason) as found:
        parsed_yaml(text)
    assert "\n" not in str(found.value)
