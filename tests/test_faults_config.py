"""Bad configurations: every row of the fault table G1–G11, through the functions and through the command."""

import json
import os
import subprocess
import sys
import time
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import yaml
from conftest import good_frame, refused
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lineupiq.base import ConfigError, did_you_mean
from lineupiq.core.config import INTERNAL, config_yaml, read_yaml
from lineupiq.data.sources import load_panel
from lineupiq.data.tables import table_config
from lineupiq.registry import registry
from lineupiq.training.fitting import SplitPlan, plan_folds
from lineupiq.training.request import training_changes, training_config, training_yaml
from lineupiq.workflows.configs import check_config_file, model_file

MODELS = ("xgboost", "lightgbm", "catboost", "random_forest", "logistic", "svm", "ridge", "prior", "last_value", "ewma")


@pytest.fixture
def file(tmp_path):
    "A file with some text or bytes."

    def write(text, name="c.yaml"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


@pytest.fixture
def check(cli, file):
    "`lineupiq config check` of a text, and `lineupiq train` with it: both must refuse it alike, and nothing may run."

    def run(text, *words, model="xgboost", code=2, kind="ConfigError"):
        path = file(text)
        answer = refused(cli("config", "check", path, "--model", model), code, kind, *words)
        assert answer.value["error"] == refused(cli("train", "--config", path, "--model", model), code, kind, *words).value["error"]
        assert answer.runs() == []
        return answer

    return run


def test_G1_unknown_key(file):
    path = file(
        "model:\n  name: xgboost\nhyperparameters:\n  n_estimatros: 5\n  max_dept: 3\ntraining:\n  patience: 0\ndatasett: {}\ndataset:\n  "
        "sequence_lenght: 3\n"
    )
    with pytest.raises(ConfigError) as said:
        check_config_file(path)
    lines = str(said.value).splitlines()
    for line in (
        "train.xgboost.n_estimatros: unknown key; did you mean 'n_estimators'? (c.yaml:4)",
        "train.xgboost.max_dept: unknown key; did you mean 'max_depth'? (c.yaml:5)",
        "datasett: unknown section; did you mean 'dataset'? (c.yaml:8)",
        "dataset.sequence_lenght: unknown key; did you mean 'sequence_length'? (c.yaml:10)",
    ):
        assert f"  - {line}" in lines, lines
    # all of them at once
    assert any("train.xgboost.patience: expected greater than or equal to 1, found 0 (c.yaml:7)" in line for line in lines)
    assert f"  where: {path}" in lines


def test_G1_cli(check, cli, file, table):
    check(
        "n_estimatros: 5\nmax_dept: 3\n",
        "train.xgboost.n_estimatros: unknown key; did you mean 'n_estimators'? (c.yaml:1)",
        "train.xgboost.max_dept",
        "(c.yaml:2)",
    )
    path = file("training:\n  splitt: {}\n  gpu: {prefer_gpus: true}\n")
    refused(
        cli("train", "--training-config", path),
        2,
        "ConfigError",
        "training.splitt: unknown key; did you mean 'split'? (c.yaml:2)",
        "training.gpu.prefer_gpus",
        "(c.yaml:3)",
    )
    refused(cli("config", "check", path), 2, "ConfigError", "training.splitt: unknown key; did you mean 'split'? (c.yaml:2)")
    refused(
        cli("train", "--data", table(good_frame(), simbol="shop"), "--model", "ridge"),
        2,
        "ConfigError",
        "simbol: unknown key; did you mean 'symbol'?",
        "table.yaml:",
    )


def test_G2_wrong_type(file):
    assert model_file(file("lr: 1e-3\n".replace("lr", "learning_rate")), "xgboost")[0] == {"learning_rate": 0.001}
    assert type(read_yaml("t", "a: 1e-3")["a"]) is float and read_yaml("t", "a: 1E+3\nb: -.5e2\nc: 1.\n") == {
        "a": 1000.0,
        "b": -50.0,
        "c": 1.0,
    }
    with pytest.raises(ConfigError, match="learning_rate: expected a valid number, found 'fast'"):
        model_file(file("learning_rate: fast\n"), "xgboost")


def test_G2_cli(check, cli, file):
    check(
        "learning_rate: '1e-3'\nmax_depth: 3.5\n",
        "learning_rate: expected a valid number, found '1e-3' (c.yaml:1)",
        "max_depth: expected a valid integer",
        "found 3.5 (c.yaml:2)",
    )
    assert cli("config", "check", file("learning_rate: 1e-3\n"), "--model", "xgboost").code == 0


BAD_NUMBERS = {
    "learning_rate: -1": "greater than 0, found -1",
    "learning_rate: .nan": "finite number, greater than 0, found nan",
    "learning_rate: .inf": "finite number, greater than 0, found inf",
    "subsample: 1.5": "less than or equal to 1, found 1.5",
    "n_estimators: 0": "greater than or equal to 1, found 0",
    "max_nan_share: -.inf": "finite number, at least 0, at most 1, found -inf",
    "max_bin: 1": "greater than or equal to 2, found 1",
    "random_seed: 4294967296": "less than 4294967296",
}


@pytest.mark.parametrize("line", BAD_NUMBERS)
def test_G3_out_of_range(file, line):
    with pytest.raises(ConfigError) as said:
        model_file(file(line), "xgboost")
    assert BAD_NUMBERS[line] in str(said.value) and "(c.yaml:1)" in str(said.value)


def test_G3_cli(check, cli, file):
    for line, words in BAD_NUMBERS.items():
        check(line + "\n", words, "(c.yaml:1)")
    path = file("training:\n  random_seed: -1\n  split:\n    n_splits: 1\n    val: .nan\n    test: 1.0\n    embargo: -1D\n")
    for command in (["train", "--training-config", path], ["config", "check", path]):
        refused(
            cli(*command),
            2,
            "ConfigError",
            "training.split.n_splits: expected a whole number from 2 up, found 1 (c.yaml:4)",
            "val: expected 0 ≤ share < 1, found nan (c.yaml:5)",
            "test: expected 0 ≤ share < 1, found 1.0",
            "random_seed: expected a whole number from 0 to",
            "embargo: expected a duration",
        )
    refused(cli("train", "--n-splits", "1"), 2, "ConfigError", "--n-splits: expected a whole number from 2 up, found 1")
    refused(cli("train", "--val", "nan"), 2, "ConfigError", "--val: expected a finite number, at least 0, less than 1, found nan")
    refused(
        cli("train", "--seed", "-1", "--model", "logistic", "--data", "league"),
        2,
        "ConfigError",
        "--seed: expected greater than or equal to 0, found -1",
    )


def test_G4_duplicate_key(file):
    with pytest.raises(ConfigError, match=r"the key 'max_depth' is there twice[\s\S]*c\.yaml:3 and line 1"):
        read_yaml(file("max_depth: 3\ngamma: 0.1\nmax_depth: 4\n"))


def test_G4_cli(check):
    check("max_depth: 3\ngamma: 0.1\nmax_depth: 4\n", "the key 'max_depth' is there twice", "c.yaml:3 and line 1")
    check("model: {name: xgboost, name: ridge}\n", "'name' is there twice")


@pytest.mark.parametrize(
    "tag",
    ["!!python/object/apply:os.system", "!!python/object/new:subprocess.check_call", "!!python/name:os.system", "!custom", "!!binary"],
)
def test_G5_unsafe_tag(check, tmp_path, tag):
    canary = tmp_path / "canary"
    argument = f"['touch {canary}']" if "name" not in tag else "''"
    check(f"max_depth: {tag} {argument}\n", "unsafe tag", "c.yaml:1", "plain values")
    assert not canary.exists()


BOMBS = {
    "aliases": "a: &a [x]\n"
    + "".join(f"{c}: &{c} [{', '.join(['*' + p] * 9)}]\n" for p, c in zip("abcdefghijklm", "bcdefghijklmn", strict=True)),
    "few aliases": "a: &a ["
    + "x, " * 900
    + "]\n"
    + "".join(f"{c}: &{c} [*{p}, *{p}]\n" for p, c in zip("abcdefghijklmnopqrstuvwx", "bcdefghijklmnopqrstuvwxy", strict=True)),
    "brackets": "a: " + "[" * 5000 + "]" * 5000,
    "braces": "a: " + "{b: " * 5000,
    "indents": "".join(" " * i + "a:\n" for i in range(1000)),
    "dashes": "- " * 5000 + "x",
    "size": "a: " + "x" * (1 << 20),
    "values": "a: [" + "1, " * 300_000 + "]",
    "questions": "? " * 5000 + "a",
}
MEASURE = """
import resource, sys, time
from lineupiq.base import ConfigError
from lineupiq.core.config import read_yaml
read_yaml("warm", "a: 1")
before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
try:
    value = read_yaml(sys.argv[1]); print("read")
except ConfigError as err:
    print("refused", err.what)
print(time.perf_counter() - start, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


@pytest.mark.parametrize("bomb", BOMBS)
def test_G6_bombs(file, bomb):
    path = file(BOMBS[bomb])
    said = subprocess.run([sys.executable, "-c", MEASURE, str(path)], capture_output=True, text=True, timeout=60)
    word, figures = said.stdout.splitlines()
    seconds, growth = map(float, figures.split())
    assert word.startswith("refused"), word
    assert seconds < 1 and growth < 100, (seconds, growth)


def test_G6_cli(check):
    check(BOMBS["aliases"], "more than 10000 values", "c.yaml:5")
    check("a: &a x\nb: [" + "*a, " * 101 + "]", "more than 100 aliases")
    check(BOMBS["brackets"], "nested deeper than 50", "c.yaml:1")
    check(BOMBS["size"], "over 1 MiB")
    check(BOMBS["few aliases"], "more than 10000 values")


NOT_MAPPINGS = {
    "": ("an empty configuration", "c.yaml:1"),
    "# nothing\n": ("an empty configuration", "c.yaml:1"),
    "- 1\n- 2\n": ("no mapping at the top", "c.yaml:1", "a list"),
    "just text": ("no mapping at the top", "c.yaml:1"),
    b"\x7fELF\x00\x01": ("not a text file", "c.yaml:1"),
    b"a: 1\nb: \xff\xfe\n": ("not UTF-8 text", "c.yaml:2", "0xff"),
    "a: 1\n\tb: 2\n": ("not YAML", "c.yaml:2"),
    "a: [1\nb: 2\n": ("not YAML", "c.yaml:2"),
    "a: 1\n---\nb: 2\n": ("not YAML", "c.yaml:2"),
}


@pytest.mark.parametrize("text", NOT_MAPPINGS)
def test_G7_not_a_mapping(file, text):
    with pytest.raises(ConfigError) as said:
        read_yaml(file(text))
    assert all(word in str(said.value) for word in NOT_MAPPINGS[text]), str(said.value)


def test_G7_cli(check, cli, tmp_path):
    for text, words in NOT_MAPPINGS.items():
        check(text, *words)
    refused(cli("config", "check", tmp_path / "none.yaml"), 2, "ConfigError", "cannot read the configuration", "none.yaml")
    refused(cli("config", "check", tmp_path), 2, "ConfigError", "cannot read the configuration")


@pytest.mark.parametrize("value", ["no", "off", "yes", "012", "0x1F", "0o17", "12:30", "1_000", "2021-01-01"])
def test_G8_nothing_is_coerced(check, value):
    assert read_yaml("t", f"a: {value}")["a"] == value  # text stays text
    check(
        f"learning_rate: {value}\nmax_depth: {value}\nearly_stopping: {value}\n",
        "learning_rate: expected a valid number",
        "max_depth: expected a valid integer",
        "early_stopping: expected a valid boolean",
        f"found '{value}'",
    )


def test_G8_cli(check):
    check(
        "random_seed: true\nmin_child_weight: false\n",
        "random_seed: expected a valid integer, found True",
        "min_child_weight: expected a valid number, found False",
    )
    check("objective: 5\n", "objective: expected a valid string, found 5")


def test_G9_unknown_model():
    with pytest.raises(ConfigError) as said:
        registry().get_model("xgbost")
    assert "did you mean 'xgboost'?" in str(said.value) and all(name in said.value.expected for name in MODELS)


def test_G9_cli(cli, file):
    plain, named = file("max_depth: 3", "plain.yaml"), file("model: {name: xgbost}", "named.yaml")
    for command in (
        ["train", "--model", "xgbost"],
        ["config", "check", plain, "--model", "xgbost"],
        ["config", "check", named],
        ["train", "--model", "xgbost", "--config", plain],
    ):
        refused(
            cli(*command), 2, "ConfigError", "Model 'xgbost' not found; did you mean 'xgboost'?", "boosting:lightgbm", "classical:ridge"
        )
    refused(cli("train", "--data", "sp50"), 2, "ConfigError", "unknown source 'sp50'; did you mean 'sp500'?", "nfl-games")


def test_G10_contradictions(file):
    with pytest.raises(ConfigError, match="patience: 5 and early_stopping_rounds: 9 are two names"):
        model_file(file("patience: 5\nearly_stopping_rounds: 9\n"), "xgboost")
    for plan, words in (
        (SplitPlan(val=0.6, test_share=0.5), "val: 0.6 and test_share: 0.5"),
        (SplitPlan(walk_forward="2006:2010", test="2011"), "walk_forward and test/train_until"),
    ):
        with pytest.raises(ConfigError, match=words):
            plan.check()
    panel = load_panel("noise-bars", n=400, horizon=5)
    with pytest.raises(ConfigError, match=r"embargo and the span of the data[\s\S]*embargo: 9999D.*time: "):
        plan_folds(panel, SplitPlan(embargo="9999D"))
    with pytest.raises(ConfigError, match="train_until, test_from and test_to contradict"):
        plan_folds(
            panel, SplitPlan(train_until=str(panel.times[300])[:10], test=f"{str(panel.times[100])[:10]}:{str(panel.times[200])[:10]}")
        )


def test_G10_cli(check, cli, file, table):
    check("patience: 5\nearly_stopping_rounds: 9\n", "patience: 5 and early_stopping_rounds: 9", "(c.yaml:1)")
    check("model_params: {}\nhyperparameters: {}\n", "model_params and hyperparameters")
    check("hyperparameters: {max_depth: 3}\ntraining: {max_depth: 4}\n", "training.max_depth: 'max_depth' is in two sections")
    refused(
        cli("train", "--model", "xgboost", "--config", file("early_stopping: true\n"), "--val", "0"),
        2,
        "ConfigError",
        "early_stopping: true and val: 0 contradict each other",
    )
    refused(cli("train", "--test", "2023:2021"), 2, "ConfigError", "test runs backwards", "2023:2021")
    refused(
        cli("train", "--walk-forward", "2006:2010", "--test", "2011"),
        2,
        "ConfigError",
        "walk_forward and test/train_until contradict each other",
    )
    refused(
        cli("train", "--training-config", file("training: {split: {val: 0.6, test: 0.5}}\n")),
        2,
        "ConfigError",
        "training.split.val: 0.6 and training.split.test: 0.5",
    )
    refused(
        cli("train", "--data", table(good_frame()), "--model", "ridge", "--embargo", "5000D"),
        2,
        "ConfigError",
        "embargo: 5000D",
        "time: 2021-01-01",
    )
    refused(
        cli("train", "--data", table(good_frame(), drop_missing_target=True, upcoming=True), "--model", "ridge"),
        2,
        "ConfigError",
        "drop_missing_target and upcoming",
    )
    refused(
        cli("train", "--data", table(good_frame(), label_end="day", label_lag="1D"), "--model", "ridge"),
        2,
        "ConfigError",
        "label_end and label_lag",
    )


def test_G11_secrets(file, monkeypatch):
    monkeypatch.delenv("LINEUPIQ_NOT_SET", raising=False)
    with pytest.raises(ConfigError, match="the variable LINEUPIQ_NOT_SET is not set"):
        read_yaml("t", "slack_webhook: ${LINEUPIQ_NOT_SET}")
    for text in (
        "password: hunter2",
        "db: {api_key: hunter2}",
        "token: [hunter2]",
        "access-key: hunter2",
        "uri: postgresql://me:hunter2@host/db",
        "secret: 22222",
    ):
        with pytest.raises(ConfigError, match="a secret in a configuration file") as said:
            read_yaml("t", text)
        assert "hunter2" not in str(said.value) and "22222" not in str(said.value)
    monkeypatch.setenv("LINEUPIQ_SECRET", "hunter2")
    assert read_yaml("t", "password: ${LINEUPIQ_SECRET}") == {"password": "hunter2"}
    with pytest.raises(ConfigError, match=r"found '\$\{LINEUPIQ_SECRET\}'") as said:  # under the wrong key it is still a secret
        model_file(file("learning_rate: ${LINEUPIQ_SECRET}\n"), "xgboost")
    assert "hunter2" not in str(said.value)


def test_G11_cli(check, monkeypatch):
    monkeypatch.delenv("LINEUPIQ_NOT_SET", raising=False)
    monkeypatch.setenv("LINEUPIQ_SECRET", "hunter2")
    check("objective: ${LINEUPIQ_NOT_SET}\n", "the variable LINEUPIQ_NOT_SET is not set", "objective")
    for text in (
        "extra_params: {password: hunter2}\n",
        "max_depth: ${LINEUPIQ_SECRET}\n",
        "model: {name: '${LINEUPIQ_SECRET}'}\n",
        "training: ${LINEUPIQ_SECRET}\n",
    ):
        answer = check(text)
        assert "hunter2" not in answer.out + answer.err


# --- anything at all ---------------------------------------------------------------------------------------------------------------------

KEYS = sorted(
    {f.name for name in MODELS for f in fields(registry().get_model(name).Config)}
    | {"model", "hyperparameters", "training", "dataset", "model_params", "name"}
)
SCALARS = st.one_of(
    st.integers(),
    st.floats(),
    st.booleans(),
    st.none(),
    st.text(max_size=8),
    st.sampled_from(["no", "012", "12:30", "1e-3", "${HOME}", "${X_Y}", "!!x", "&a", "*a", "{", "[", "\t"]),
)
TREES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.one_of(st.sampled_from(KEYS), st.text(max_size=6)), inner, max_size=4)
    ),
    max_leaves=12,
)


@st.composite
def texts(draw):
    "YAML from the schema, whole or with a few characters changed."
    body = draw(st.dictionaries(st.one_of(st.sampled_from(KEYS), st.text(max_size=6)), TREES, max_size=6))
    text = (
        yaml.safe_dump(body, allow_unicode=True)
        if draw(st.booleans())
        else config_yaml((cls := registry().get_model(draw(st.sampled_from(MODELS)))).Config, cls.name, cls.family)
    )
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, max(0, len(text) - 1)))
        text = (
            text[:at]
            + draw(
                st.one_of(
                    st.sampled_from([":", "-", "\t", "\n", "  ", "{", "]", "'", '"', "&a ", "*a", "!!str ", "? ", "%", "\x00", "é"]),
                    st.text(max_size=2),
                )
            )
            + text[at + draw(st.integers(0, 3)) :]
        )
    return text


def survives(text):
    "Valid, or a `ConfigError`, in less than a second; what is valid is the same when it is written and read again."
    started = time.perf_counter()
    try:
        value = read_yaml("fuzz", text)
        again = yaml.safe_dump(json.loads(json.dumps(value)), allow_unicode=True)
        if "${" not in text and "." not in again and "e" not in again.lower().split(":")[-1]:
            assert read_yaml("again", again) == value
    except ConfigError:
        pass
    for model in ("xgboost", "ridge"):
        path = Path(os.environ["FUZZ_FILE"])
        path.write_text(text, encoding="utf-8", errors="surrogatepass")
        for read in (
            lambda: check_config_file(path),
            lambda: model_file(path, model),
            lambda: training_changes(path),
            lambda: table_config(path),
        ):
            try:
                read()
            except ConfigError as err:
                assert str(err)
            except Exception as err:
                from lineupiq.base import BadName

                if not isinstance(err, BadName):
                    raise
    assert time.perf_counter() - started < 8  # nine readings


@settings(max_examples=300, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(text=texts())
def test_G_fuzz(text, tmp_path_factory):
    os.environ["FUZZ_FILE"] = str(tmp_path_factory.getbasetemp() / "fuzz.yaml")
    survives(text)


@pytest.mark.slow
@settings(max_examples=20_000, deadline=None, suppress_health_check=list(HealthCheck))
@given(text=texts())
def test_G_fuzz_twenty_thousand(text, tmp_path_factory):
    os.environ["FUZZ_FILE"] = str(tmp_path_factory.getbasetemp() / "fuzz.yaml")
    survives(text)


def one_edit(word, rng):
    "A letter dropped, doubled, changed, or swapped with its neighbour."
    at = int(rng.integers(1, len(word) - 1))
    letter = chr(97 + int(rng.integers(0, 26)))
    return [
        word[:at] + word[at + 1 :],
        word[:at] + word[at] + word[at:],
        word[:at] + letter + word[at + 1 :],
        word[: at - 1] + word[at] + word[at - 1] + word[at + 1 :],
    ][int(rng.integers(0, 4))]


def test_G_fuzz_suggestions():
    rng, right, total = np.random.default_rng(0), 0, 0
    for name in MODELS:
        known = [f.name for f in fields(registry().get_model(name).Config)]
        for key in known:
            for _ in range(5):
                typo = one_edit(key, rng) if len(key) > 3 else key
                if typo not in known:
                    total += 1
                    right += f"'{key}'" in did_you_mean(typo, known)
    assert total > 500 and right / total >= 0.95, (right, total)


@pytest.mark.parametrize("name", MODELS)
def test_defaults_round_trip(file, name):
    cls = registry().get_model(name)
    params, _ = model_file(file(config_yaml(cls.Config, cls.name, cls.family)), name)
    assert cls.Config(**params) == cls.Config() and set(params) | set(INTERNAL) == {f.name for f in fields(cls.Config)}
    assert training_config(file(training_yaml(), "t.yaml")) == training_config()


def test_what_is_no_regular_file(cli, tmp_path):
    "A pipe would be waited for and a device read for ever: both are refused at once."
    from lineupiq.core.config import read_yaml

    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", "/dev/zero"):
        with pytest.raises(ConfigError, match="not a regular file"):
            read_yaml(path)
    refused(
        cli("train", "--data", "noise-bars", "--model", "prior", "--training-config", tmp_path / "pipe"),
        2,
        "ConfigError",
        "not a regular file",
    )


@pytest.mark.parametrize(
    "ask", [None, 5, [1], "a", {"config": 5}, {"training_config": 5}, {"resume": 5}, {"output": 5}, {"seed": "x"}, {"horizon": "soon"}]
)
def test_requests_from_anything(ask):
    from lineupiq.workflows.requests import TrainRequest

    with pytest.raises(ConfigError):
        TrainRequest.from_mapping(ask)


@pytest.mark.parametrize("ask", [{"model": "xgboost"}, {"model": 5}, {"split": 5}, {"source": "sp500"}, {"config": "a"}])
def test_requests_made_by_hand(ask):
    "A request that went through no schema is held to its fields by check()."
    from lineupiq.workflows.requests import TrainRequest

    with pytest.raises(ConfigError):
        TrainRequest(**ask).check()


def test_a_wrong_family_and_a_huge_number(tmp_path):
    from lineupiq.workflows.configs import model_file

    for text, word in (
        ("model: {name: xgboost, family: neural}\n", "another family"),
        ("model: {name: xgboost}\nhyperparameters: {max_depth: 1000000000000}\n", "max_depth"),
    ):
        (tmp_path / "m.yaml").write_text(text)
        with pytest.raises(ConfigError, match=word):
            model_file(tmp_path / "m.yaml", "xgboost")
