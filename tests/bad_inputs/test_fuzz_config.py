"""Random values at random keys of the configuration: usable, or one error that names the key."""

import copy
import json

import yaml
from fuzz import fuzzed
from hypothesis import given
from hypothesis import strategies as st
from workflow_support import ROOT

from hones_core.settings import Settings, SettingsError, load_settings, plain

EXAMPLES = 300
DEFAULT = yaml.safe_load((ROOT / "config.yaml").read_text())


def places(section, where=()) -> list[tuple]:
    """The path of every value, sections and lists among them."""
    found = [where] if where else []
    if isinstance(section, dict):
        for key, value in section.items():
            found += places(value, (*where, key))
    elif isinstance(section, list):
        for index, value in enumerate(section):
            found += places(value, (*where, index))
    return found


PLACES = places(DEFAULT)
NUMBER = st.integers() | st.floats() | st.sampled_from([0, 1, -1, 2**64, 10**400, 1e-320])
TEXT = st.text(max_size=8) | st.sampled_from(["", "..", "vqa", "hones", "cpu", "\0", "x" * 5000])
LEAF = st.none() | st.booleans() | NUMBER | TEXT | st.binary(max_size=3) | st.dates()
KEY = TEXT | st.integers() | st.none() | st.booleans() | st.dates()
VALUE = st.recursive(
    LEAF,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEY, inner, max_size=3),
    max_leaves=8,
)


def at(config, where: tuple):
    for part in where:
        config = config[part]
    return config


@fuzzed(EXAMPLES)
@given(data=st.data())
def test_a_random_value_is_taken_or_refused_by_name(data):
    config = copy.deepcopy(DEFAULT)
    where = data.draw(st.sampled_from(PLACES))
    section, key = at(config, where[:-1]), where[-1]
    kind = data.draw(st.sampled_from(["another value", "taken away", "another key"]))
    if kind == "another value":
        section[key] = data.draw(VALUE)
    elif kind == "taken away":
        del section[key]
    elif isinstance(section, dict):
        section[data.draw(KEY)] = section.pop(key)
    try:
        found = load_settings(config, ["config.yaml"])
    except SettingsError as error:
        head, *lines = str(error).splitlines()
        assert head == "the configuration (config.yaml) is not usable:"
        assert lines and all(len(line) < 500 for line in lines)
        assert any(str(part) in str(error) for part in where if isinstance(part, str))
    else:
        assert isinstance(found, Settings)
        json.dumps(plain(found), allow_nan=False)  # what Snakemake's params take


@fuzzed(EXAMPLES // 4)
@given(VALUE)
def test_a_whole_configuration_of_anything_is_refused(config):
    try:
        load_settings(config)
    except SettingsError as error:
        assert "is not usable" in str(error)
    else:
        raise AssertionError(f"{config!r} was taken for a configuration")


def test_the_default_has_values_of_every_kind_to_change():
    assert len(PLACES) > 150 and {type(at(DEFAULT, where)) for where in PLACES} >= {dict, list}
