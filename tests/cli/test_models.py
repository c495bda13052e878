"""``cuts3d models``: what is there, and fetching ahead."""

from cuts3d_cli.config.backends import DEPTH, FEATURES, INIT


def test_list_names_every_model_with_what_is_in_the_cache(cuts3d, tmp_path, monkeypatch):
    monkeypatch.setenv("CUTS3D_CACHE", str(tmp_path))
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "dinov2-vits14.safetensors").touch()
    code, out, _ = cuts3d("models", "list")
    lines = {line.split()[0]: line for line in out.splitlines()[2:]}
    assert code == 0 and list(lines) == [*FEATURES, *DEPTH, *INIT]
    assert [name for name, line in lines.items() if str(tmp_path) in line] == ["dinov2-vits14"]


def test_fetch_says_what_is_ready(cuts3d):
    code, out, _ = cuts3d("models", "fetch", "kernel")
    assert code == 0 and out.startswith("kernel: ready")


def test_a_wrong_name_is_one_line(cuts3d):
    code, _, err = cuts3d("models", "fetch", "dinov2")
    assert code == 1 and "model dinov2; expected one of" in err and "dinov2-vits14" in err


def test_without_a_network_fetch_fails_in_one_line(cuts3d, monkeypatch):
    from cuts3d_cli.backends import vit

    vit.forget()
    for name in ("dinov2-vits14", "dinov2-vitb14"):
        code, out, err = cuts3d("models", "fetch", name)
        errors = [line for line in err.splitlines() if "error:" in line]
        assert code == 1 and not out and len(errors) == 1 and name in errors[0] and "weights of" in errors[0]
