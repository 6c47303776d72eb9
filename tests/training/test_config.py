from dataclasses import asdict

import pytest
import yaml

from scssl.errors import SettingsError
from scssl.training import Config, choose_config, from_dict, get_preset, list_presets, merge, override


def test_presets_survive_a_round_trip_through_yaml():
    for preset in list_presets():
        plain = yaml.safe_load(yaml.safe_dump(_lists(asdict(preset.config))))
        assert from_dict(Config, plain) == preset.config


def _lists(value):
    if isinstance(value, dict):
        return {key: _lists(item) for key, item in value.items()}
    return list(value) if isinstance(value, tuple) else value


@pytest.mark.parametrize(
    ("assignment", "read", "expected"),
    [
        ("training.epochs=3", lambda c: c.training.epochs, 3),
        ("optimiser.learning_rate=1e-4", lambda c: c.optimiser.learning_rate, 1e-4),
        ("optimiser.weight_decay=0", lambda c: c.optimiser.weight_decay, 0.0),
        ("architecture.hidden=[128, 64]", lambda c: c.architecture.hidden, (128, 64)),
        ("architecture.source_decoder=false", lambda c: c.architecture.source_decoder, False),
        ("task.rate=0.25", lambda c: c.task["rate"], 0.25),
    ],
)
def test_a_setting_can_be_changed(assignment, read, expected):
    changed = override(Config(), [assignment])
    assert read(changed) == expected
    assert read(Config()) != expected if "task" not in assignment else True


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("training.epoch=3", "did you mean 'epochs'"),
        ("trainin.epochs=3", "did you mean 'training'"),
        ("zzz=3", "choose one of"),
        ("training.epochs", "not of the form"),
        ("training.epochs=three", "must be a whole number"),
        ("training.epochs=true", "must be a whole number"),
        ("training.precision=fp16", "one of: auto, fp32, bf16"),
        ("optimiser.learning_rate=fast", "must be a number"),
        ("architecture.hidden=512", "must be a list"),
        ("architecture.source_decoder=maybe", "true or false"),
        ("pretext.name=masked", "has no settings of its own"),
        ("training=5", "must be a mapping"),
        ("architecture.hidden=[1", "cannot be read"),
        ("architecture.hidden=!!python/object/apply:os.system [ls]", "cannot be read"),
        ("architecture.hidden=[0]", "at least 1"),
        ("architecture.hidden=[512, -5]", "at least 1"),
        ("architecture.hidden=[100000000]", "at most 65,536"),
        ("architecture.n_latent=0", "at least 1"),
        ("architecture.dropout=1", "less than 1"),
        ("architecture.dropout=.nan", "less than 1"),
        ("architecture.source_dropout=-0.1", "0 or more"),
        ("optimiser.learning_rate=-1", "above 0"),
        ("optimiser.learning_rate=.nan", "above 0"),
        ("optimiser.weight_decay=-1", "0 or more"),
        ("optimiser.gradient_clip=.inf", "0 or more"),
        ("training.epochs=0", "from 1"),
        ("training.batch_size=-1", "from 1"),
        ("training.min_steps=0", "from 1"),
        ("training.patience=-1", "from 0"),
        ("training.seed=-1", "from 0"),
        ("training.seed=99999999999999999999999", "from 0 to"),
        ("target_sum=0", "above 0"),
        ("target_sum=.nan", "above 0"),
    ],
)
def test_a_wrong_setting_is_explained(assignment, message):
    with pytest.raises(SettingsError, match=message):
        override(Config(), [assignment])


def test_a_yaml_file_is_laid_over_the_preset(tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text("training: {epochs: 7}\narchitecture:\n  n_latent: 16\n")
    config = merge(get_preset("richter2024"), file)
    assert config.training.epochs == 7
    assert config.architecture.n_latent == 16
    assert config.training.batch_size == 8192


@pytest.mark.parametrize(
    ("text", "message"),
    [("- 1", "must hold settings by name"), ("a: [", "not a YAML"), ("lr: 3", "c.yaml has no setting 'lr'")],
)
def test_a_bad_settings_file_is_named(tmp_path, text, message):
    file = tmp_path / "c.yaml"
    file.write_text(text)
    with pytest.raises(SettingsError, match=message):
        merge(Config(), file)


def test_a_missing_settings_file_is_named(tmp_path):
    with pytest.raises(SettingsError, match="no such settings file"):
        merge(Config(), tmp_path / "none.yaml")


def test_later_choices_win_and_leave_the_rest(tmp_path):
    (tmp_path / "c.yaml").write_text("training: {epochs: 9, seed: 4}")
    config = choose_config(
        preset="small", config=tmp_path / "c.yaml", epochs=3, seed=5, overrides=["training.epochs=2"]
    )
    assert (config.training.epochs, config.training.seed) == (2, 5)
    assert config.training.batch_size == get_preset("small").training.batch_size


def test_an_unknown_preset_lists_those_that_exist():
    with pytest.raises(SettingsError, match="richter2024"):
        get_preset("richter")
