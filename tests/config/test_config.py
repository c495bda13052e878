import re
import shlex
from pathlib import Path

import click
import pytest
import yaml

from cuts3d_cli.cli import options
from cuts3d_cli.cli.main import COMMANDS, cli
from cuts3d_cli.cli.options import MadeFrom, build_config, config_options
from cuts3d_cli.config import (
    Config,
    Section,
    load,
    merge_values,
    preset_names,
    preset_of_images,
    preset_values,
    resolve,
)
from cuts3d_cli.config.backends import BY_BACKEND, backend_defaults, feature_names
from cuts3d_cli.config.loading import read_values
from cuts3d_cli.config.ranges import allowed, expected, plain_type
from cuts3d_cli.config.text import config_text
from cuts3d_cli.errors import ConfigError, DamagedError
from cuts3d_cli.store.files import fingerprint
from cuts3d_cli.store.settings import check_settings
from cuts3d_cli.workflow import settings, settings_file

ROOT = Path(__file__).parents[2]
SECTIONS = {
    name: getattr(Config(), name) for name in Config.model_fields if isinstance(getattr(Config(), name), Section)
}


def test_shipped_file_is_what_the_models_say():
    expected = config_text(resolve({}))
    assert (ROOT / "config.yaml").read_text() == expected, "run `cuts3d init --overwrite`"


@pytest.mark.parametrize("name", preset_names())
def test_a_written_file_gives_the_same_configuration(name, tmp_path):
    config = resolve({"preset": name})
    (tmp_path / "c.yaml").write_text(config_text(config, preset=name))
    again = load(tmp_path / "c.yaml")
    assert again.model_dump(exclude={"preset"}) == config.model_dump(exclude={"preset"})


@pytest.mark.parametrize("name", preset_names())
def test_presets_hold_only_what_differs(name):
    default = Config().model_dump(mode="json")
    for section, values in preset_values(name).items():
        for key, value in values.items():
            assert default[section][key] != value, f"{name}: {section}.{key} is the default"


def test_depth_is_not_predicted_for_features_that_are_made_of_it():
    assert resolve({"preset": "rgbd"}).depth.backend == "files"
    assert resolve({"features": {"backend": "geometry"}, "depth": {"backend": "auto"}}).depth.backend == "files"
    assert resolve({"preset": "rgbd", "depth": {"backend": "embedded"}}).depth.backend == "embedded"
    assert resolve({"preset": "photo"}).depth.backend == resolve({}).depth.backend == "auto"


@pytest.mark.parametrize("name", ["paper", "paper-dino"])
def test_paper_presets_hold_the_values_of_its_tables(name):
    """Tables 15 to 17."""
    config = resolve({"preset": name})
    cut, confidence, train, rounds = config.localcut, config.confidence, config.train, config.selftrain
    assert (cut.n_instances, cut.tau_ncut, cut.tau_knn) == (3, 0.13, 0.115)
    assert (confidence.tau_knn_min, confidence.n_thresholds, confidence.sc_min) == (0.05, 6, 0.5)
    assert config.spatial_importance.beta == 0.45
    assert (train.lr, train.batch_size, train.iterations, train.warmup_iterations) == (0.01, 4, 160_000, 1000)
    assert train.copy_paste_scale == (0.3, 1.0) and train.momentum == 0.9
    assert (rounds.rounds, rounds.lr, rounds.batch_size, rounds.iterations) == (3, 0.005, 8, 80_000)
    assert rounds.copy_paste_scale == (0.5, 1.0) and (rounds.score_threshold, rounds.score_step) == (0.75, 0.05)
    tables = config.experiments
    assert (tables.iterations, tables.lr_steps) == (train.iterations, train.lr_steps)
    assert (tables.round_iterations, tables.round_lr_steps) == (rounds.iterations, rounds.lr_steps)


@pytest.mark.parametrize("name", preset_names())
def test_no_preset_mixes_the_paper_s_detector_with_a_short_schedule(name):
    config, short = resolve({"preset": name}), Config()
    if config.train.detector == "paper_cascade":
        assert config.finetune.fractions[0] == 0.01 and min(config.finetune.iterations) == 3600
        assert config.selftrain.target_iterations == 14_000 > short.selftrain.target_iterations


@pytest.mark.parametrize("name", preset_names())
def test_a_preset_without_cuts_in_3d_asks_for_no_confidence(name):
    config = resolve({"preset": name})
    if not config.localcut.local_cut:
        assert (config.train.loss, config.train.alpha_blend, config.train.copy_paste_select) == (
            "none",
            "none",
            "random",
        )


def test_a_preset_adds_to_the_one_it_extends():
    paper, dino = preset_values("paper"), preset_values("paper-dino")
    assert dino == merge_values(paper, {"features": {"backend": "dino-vitb8"}})


def test_every_field_is_explained():
    for section in SECTIONS.values():
        for key, field in type(section).model_fields.items():
            assert field.description, key


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"localcut": {"tau_kn": 1}}, "unknown key localcut.tau_kn; .*did you mean tau_knn"),
        ({"features": {"backend": "dino-vitb9"}}, "features.backend: no backend .* -> did you mean dino-vitb"),
        ({"depth": {"backend": "zoedpeth"}}, "depth.backend: no backend has this name; .*did you mean zoedepth"),
        ({"locacut": {}}, "unknown key locacut; .*did you mean localcut"),
        ({"localcut": {"tau_knn": -1}}, "file.yaml: localcut.tau_knn; expected a number from 1e-06 to 1000; found -1"),
        ({"localcut": {"tau_knn": "x"}}, "localcut.tau_knn; expected a number from 1e-06 to 1000; found 'x'"),
        (
            {"localcut": {"capacity": "cubic"}},
            "localcut.capacity; expected one of inverse, distance, unit;",
        ),
        ({"features": {"image_size": 100}}, "yaml: features.image_size must be a multiple of features.patch_size: 100"),
        ({"preset": "papr"}, "preset; expected one of .*paper.*; found 'papr'"),
        ({"localcut": 3}, "localcut; expected settings by name; found 3"),
        ({"device": "gpu"}, r"device; expected auto \(a GPU where there is one\), cpu, cuda or cuda:N; found 'gpu'"),
    ],
)
def test_a_mistake_is_one_line_with_its_key(values, message):
    with pytest.raises(ConfigError, match=message) as caught:
        resolve(values, source="file.yaml")
    assert "\n" not in str(caught.value)


NUMBERS = [(name, key) for name, section in SECTIONS.items() for key, field in type(section).model_fields.items()
           if plain_type(field.annotation) in (int, float)]  # fmt: skip


@pytest.mark.parametrize(("name", "key"), NUMBERS, ids=".".join)
def test_every_number_has_a_range_that_is_held_to(name, key):
    """Unbounded above, a size takes all memory or never ends; backends know how many blocks they have."""
    field = type(SECTIONS[name]).model_fields[key]
    limits = dict(limit.split() for limit in allowed(field).split(", "))
    kind = plain_type(field.annotation)
    assert limits.keys() & {"<=", "<"} or (name, key) == ("features", "block")
    for sign, limit in limits.items():
        beyond = kind(limit) + (0 if sign in "<>" else 1 if sign == "<=" else -1)
        with pytest.raises(
            ConfigError, match=rf"{name}\.{key}( \(and 1 more\))?; expected {re.escape(expected(field))}"
        ):
            resolve({name: {key: beyond}})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"features": {"image_size": 100_000}}, r"features.image_size; expected .* 16 to 4096; found 100000"),
        (
            {"features": {"image_size": 4096, "patch_size": 1}},
            "image_size 4096 with .* gives 4096 patches .* 512",
        ),
        ({"train": {"lr_steps": [400, 0]}}, r"train.lr_steps; expected a list, each a whole number from 1 .*found 0"),
        (
            {"evaluate": {"max_dets": [0, 10, 100]}},
            r"evaluate.max_dets; expected 3 values, each a whole",
        ),
        ({"train": {"copy_paste_scale": [0.1, 1e9]}}, r"train.copy_paste_scale; expected 2 values, each .* up to 10"),
        ({"experiments": {"seeds": [2**32]}}, r"experiments.seeds; .*found 4294967296"),
        ({"seed": 2**32}, r"seed; expected a whole number from 0 to 4294967295; found 4294967296"),
        ({"data": {"n_shards": 100_001}}, r"data.n_shards; .*found 100001"),
    ],
)
def test_sizes_that_cannot_work_are_refused(values, message):
    with pytest.raises(ConfigError, match=message):
        resolve(values)


@pytest.mark.parametrize(
    ("text", "message"),
    [("a: [", "expected YAML"), ("- 1", "expected a mapping"), (None, "found none"), ("seed: 1:30", "1:30 is 90")],
)
def test_a_bad_file_is_one_line(tmp_path, text, message):
    if text is not None:
        (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        load(tmp_path / "c.yaml")


def test_values_win_over_the_preset():
    config = resolve({"preset": "maskcut", "localcut": {"n_instances": 1}})
    assert config.localcut.n_instances == 1 and not config.localcut.local_cut


SAMPLE_KEYS = {"depth_maps", "annotations", "val_images", "val_depth_maps", "val_annotations"}


@pytest.mark.parametrize("preset", preset_names())
def test_own_images_take_nothing_of_the_sample(preset):
    given = {"images": "mine", "annotations": "mine.json"}
    config = resolve({"preset": preset, "data": given})
    data = config.data.model_dump()
    assert data.items() >= given.items() and data["n_shards"] == data["val_shards"] == 1
    assert {key for key, value in data.items() if value is None} - {"ignore_labels"} == SAMPLE_KEYS - {"annotations"}
    assert resolve({"data": {**given, "n_shards": 3, "depth_maps": "maps"}}).data.n_shards == 3
    # as the workflow hands its settings to the report
    assert resolve(yaml.safe_load(config.model_dump_json(exclude_unset=True))) == config


def test_own_held_out_images_take_nothing_of_the_sample_s():
    data = resolve({"data": {"val_images": "mine"}}).data
    assert (data.val_depth_maps, data.val_annotations) == (None, None)
    assert data.annotations == Config().data.annotations and data.n_shards == Config().data.n_shards


@pytest.mark.parametrize("data", [{}, {"n_shards": 3}, {"images": "./sample/train/images/"}])
def test_the_sample_keeps_what_belongs_to_it(data):
    found = resolve({"data": data}).data.model_dump()
    assert all(found[key] == Config().data.model_dump()[key] for key in SAMPLE_KEYS)


def test_own_images_on_the_command_line_take_nothing_of_the_sample(tmp_path):
    (tmp_path / "c.yaml").write_text("run: there\n")
    options = {"config_file": tmp_path / "c.yaml", "assignments": ("data.images=mine", "data.val_images=others")}
    data = build_config(options).data
    assert (data.images, data.val_images) == ("mine", "others")
    empty = {key for key, value in data.model_dump().items() if value is None}
    assert empty - {"ignore_labels"} == SAMPLE_KEYS - {"val_images"}


def test_merge_leaves_its_inputs_alone():
    base, top = {"a": {"x": 1, "y": 2}}, {"a": {"y": 3}, "b": 4}
    assert merge_values(base, top) == {"a": {"x": 1, "y": 3}, "b": 4}
    assert base == {"a": {"x": 1, "y": 2}}


def test_fingerprint_ignores_order_and_sees_values():
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1}) != fingerprint({"a": 1, "b": 3})


@pytest.mark.parametrize("name", SECTIONS)
@pytest.mark.parametrize("preset", preset_names())
def test_assignments_of_the_workflow_give_the_section_back(name, preset):
    section = getattr(resolve({"preset": preset}), name)
    seen = {}

    @click.command()
    @config_options
    def command(**options):
        seen.update(build_config(options).model_dump()[name])

    command.main(["--preset", preset, *shlex.split(settings(name, section))], standalone_mode=False)
    assert seen == section.model_dump()


@pytest.mark.parametrize("preset", preset_names())
def test_the_file_that_jobs_read_is_the_configuration(preset, tmp_path):
    config = resolve({"preset": preset, "run": str(tmp_path / "run"), "train": {"weight_decay": 5e-05}})
    path = settings_file(config)
    assert load(path) == config
    path.write_text(path.read_text().replace("5e-05", "6e-05").replace("5.0e-05", "6.0e-05"))
    with pytest.raises(DamagedError, match="settings"):
        check_settings(path, read_values(path))
    assert settings_file(config) == path and load(path) == config  # written again
    check_settings(path, read_values(path))
    assert settings_file(config.model_copy(update={"seed": 1})) != path and load(path) == config


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_every_command(name):
    command = cli.get_command(click.Context(cli), name)
    text = command.get_help(click.Context(command, info_name=name))
    assert "Examples:" in text and "--help" in text


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_of_a_run_takes_a_configuration(name):
    """So that a script can give the same options to each step; those left out make or need no run's results."""
    names = {parameter.name for parameter in cli.get_command(click.Context(cli), name).params}
    assert ("config_file" in names) != (name in {"init", "prepare", "convert", "benchmarks", "models", "export"})


def test_merge_checks_the_configuration_it_is_given(cuts3d, tmp_path):
    code, _, err = cuts3d("merge", "--run", tmp_path, "--config", ROOT / "config.yaml")
    assert code == 1 and "no image list" in err
    code, _, err = cuts3d("merge", "--run", tmp_path, "--set", "localcut.tau_kn=1")
    assert code == 1 and "unknown key localcut.tau_kn" in err


def test_config_yaml_is_yaml_with_every_section():
    assert set(SECTIONS) <= set(yaml.safe_load((ROOT / "config.yaml").read_text()))


def test_the_crf_s_own_confidence_needs_the_crf():
    with pytest.raises(ConfigError, match=r"crf.confidence crf .* needs crf.enabled: true"):
        resolve({"crf": {"confidence": "crf", "enabled": False}})


@pytest.mark.parametrize(("section", "values", "key"), [
    ("features", {"facet": "query"}, "facet"),
    ("features", {"backend": "dinov2-vits14", "kernel_dims": 64}, "kernel_dims"),
    ("features", {"backend": "dinov2-vits14", "focal": 0.9}, "focal"),
    ("depth", {"backend": "files", "weights": "head.safetensors"}, "weights"),
    ("depth", {"backend": "zoedepth", "kind": "inverse"}, "kind"),
])  # fmt: skip
def test_a_setting_that_the_backend_does_not_read_is_an_error(section, values, key):
    with pytest.raises(ConfigError, match=f"{section}.{key} has no effect with {section}.backend"):
        resolve({section: values})


def test_naming_a_backend_is_enough():
    """Size, patch, facet and threshold follow the backend; what is given, and null, mean what they say."""
    config = resolve({"preset": "embedded", "features": {"backend": "dinov2-vits14"}})
    assert (config.features.image_size, config.features.patch_size, config.features.grid) == (840, 14, 60)
    assert config.features.facet == "query" and config.localcut.tau_ncut == config.baseline.tau_ncut == 0.6
    given = {"features": {"backend": "dinov2-vits14", "image_size": 476, "facet": None}, "localcut": {"tau_ncut": 0.2}}
    config = resolve({"preset": "embedded", **given})
    assert (config.features.grid, config.features.facet, config.localcut.tau_ncut) == (34, "query", 0.2)
    assert resolve({"localcut": {"tau_ncut": None}}).localcut.tau_ncut == Config().localcut.tau_ncut == 0.13


def test_what_a_preset_chose_for_its_backend_does_not_hold_for_another():
    assert resolve({"preset": "tokencut"}).features.patch_size == 16
    other = resolve({"preset": "tokencut", "features": {"backend": "dinov2-vits14"}})
    assert (other.features.patch_size, other.localcut.tau_ncut, other.localcut.n_instances) == (14, 0.6, 1)
    same = resolve({"preset": "tokencut", "features": {"backend": "dino-vits16"}})
    assert same.localcut.tau_ncut == 0.2


def test_a_written_file_leaves_to_the_backend_what_is_its_own(tmp_path):
    text = config_text(resolve({}))
    (tmp_path / "c.yaml").write_text(text.replace("backend: kernel", "backend: dinov2-vits14"))
    config = load(tmp_path / "c.yaml")
    assert (config.features.grid, config.features.facet, config.localcut.tau_ncut) == (60, "query", 0.6)


def test_every_backend_has_defaults_for_every_key_of_its_own():
    for name in feature_names():
        assert {section: tuple(keys) for section, keys in backend_defaults(name).items()} == BY_BACKEND
        config = resolve({"features": {"backend": name}})
        assert config.features.grid > 0


def test_the_preset_follows_the_images(tmp_path):
    assert resolve({}).preset == resolve({"data": {"images": "sample/train/images/"}}).preset == "embedded"
    assert resolve({"data": {"images": str(tmp_path)}}).preset == "photo"
    assert resolve({"preset": "paper", "data": {"images": str(tmp_path)}}).preset == "paper"
    ours = [Path("sample/train/images/x.png"), Path("sample/val/images").resolve()]
    assert preset_of_images(ours) == "embedded" and preset_of_images([*ours, tmp_path]) == "photo"
    assert build_config({}, images=[tmp_path]).features.backend == "dinov2-vits14"
    assert build_config({"preset": "embedded"}, images=[tmp_path]).features.backend == "kernel"
    assert build_config({"config_file": ROOT / "config.yaml"}, images=[tmp_path]).features.backend == "kernel"
    assert build_config({}, images=ours).features.backend == "kernel"
    (tmp_path / "small.yaml").write_text("report: {n_images: 3}")
    assert build_config({"config_file": tmp_path / "small.yaml"}, images=[tmp_path]).preset == "photo"


def test_what_lies_there_decides_and_what_contradicts_it_is_refused(tmp_path):
    """The settings of the results that a command goes on from hold, and others given for them have no effect."""
    made = {"features": {"backend": "kernel"}, "localcut": {"tau_knn": 0.2, "local_cut": True}}
    before = MadeFrom(made, {"features": "features", "localcut": "localcut"}, "cuts3d")
    config = build_config({}, images=[tmp_path], made_from=before)
    assert (config.localcut.tau_ncut, config.localcut.tau_knn) == (0.13, 0.2)
    assert build_config({}, images=[tmp_path]).localcut.tau_ncut == 0.6
    assert build_config({"assignments": ("localcut.tau_knn=0.2",)}, made_from=before).localcut.tau_knn == 0.2
    with pytest.raises(ConfigError, match=r"localcut\.tau_knn 0\.1 .* expected 0.2, which localcut ran with -> rerun"):
        build_config({"assignments": ("localcut.tau_knn=0.1",)}, made_from=before)
    with pytest.raises(ConfigError, match=r"features\.backend dino-vitb8 has no effect"):
        build_config({"preset": "maskcut"}, made_from=before)


def test_what_is_asked_for_in_other_ways_is_refused_too():
    """Through a setting that a method takes its own from, and by null."""
    made = {"features": {"backend": "kernel", "weights": None}, "localcut": {"tau_ncut": 0.15}}
    before = MadeFrom(made, {"features": "features", "localcut": "localcut"}, "maskcut")
    preset = {"preset": "embedded"}
    assert build_config({**preset, "assignments": ("baseline.tau_ncut=0.15",)}, made_from=before)
    with pytest.raises(ConfigError, match=r"localcut\.tau_ncut 0\.5 has no effect on the existing results"):
        build_config({**preset, "assignments": ("baseline.tau_ncut=0.5",)}, made_from=before)
    own = MadeFrom({"localcut": {"tau_ncut": 0.3}}, {"localcut": "localcut"}, "cuts3d")
    with pytest.raises(ConfigError, match=r"localcut\.tau_ncut 0\.13 has no effect"):
        build_config({**preset, "assignments": ("localcut.tau_ncut=null",)}, made_from=own)


def test_a_configuration_is_resolved_once_where_nothing_lies_below_it(tmp_path, monkeypatch):
    resolved = []
    monkeypatch.setattr(options, "resolve", lambda values, **more: resolved.append(values) or resolve(values, **more))
    nothing = MadeFrom({}, {}, "cuts3d")
    made = MadeFrom({"localcut": {"tau_knn": 0.2}}, {"localcut": "localcut"}, "cuts3d")
    below = {"method": "cuts3d", "made_from": made}
    for more, n in (({}, 1), ({"method": "cuts3d"}, 1), (below, 3)):  # 3: one is of nothing asked for, to compare with
        resolved.clear()
        build_config({"assignments": ("crf.iterations=3",)}, images=[tmp_path], **more)
        assert len(resolved) == n, more
    assert build_config({}, images=[tmp_path], made_from=nothing) == build_config({}, images=[tmp_path])


@pytest.mark.parametrize("assignment", ["localcut.tau_ncut=0.5", "localcut.local_cut=true", "crf.unary=confidence"])
def test_a_setting_that_the_method_sets_itself_is_refused(assignment):
    with pytest.raises(ConfigError, match="has no effect with --method maskcut"):
        build_config({"preset": "embedded", "assignments": (assignment,)}, method="maskcut")


def test_the_finder_is_the_method_s_to_set():
    with pytest.raises(ConfigError, match="finder; expected none, as it is set by the method"):
        resolve({"finder": "foo"})


@pytest.mark.parametrize("path", ["sample/val/images", ROOT / "sample/train/images", "elsewhere"])
def test_configuration_and_command_line_agree_on_the_sample(path, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert resolve({"data": {"images": str(path)}}).preset == preset_of_images([Path(path)])


@pytest.mark.parametrize(
    ("values", "hint"),
    [
        ({"n_instances": 6}, "did you mean localcut.n_instances?"),
        ({"min_iou": 0.1}, "did you mean crf.min_iou?"),
        ({"image_size": 96}, "did you mean crf.image_size or features.image_size or"),
        ({"localcutt": {}}, "did you mean localcut?"),
        ({"preset": "rgdb"}, "did you mean rgbd?"),
    ],
)
def test_a_key_without_its_section_and_a_misspelled_preset_are_told(values, hint):
    with pytest.raises(ConfigError) as caught:
        resolve(values)
    assert hint in str(caught.value)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"localcut": {"tau_knn": True}}, "localcut.tau_knn; expected a number from 1e-06 to 1000; found True"),
        ({"seed": False}, "seed; expected a whole number from 0 to 4294967295; found False"),
        ({"preset": False}, "config key preset; expected one of .*; found False"),
    ],
)
def test_true_and_false_are_no_numbers_and_no_preset(values, told):
    with pytest.raises(ConfigError, match=told):
        resolve(values)
    assert resolve({"localcut": {"sharpen": True}, "preset": None}).localcut.sharpen
