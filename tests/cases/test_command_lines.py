"""Bad inputs, one a line; and fuzzed command lines: each ends with a code that says why, never with a bug, and leaves nothing behind."""

import os
import shlex
from collections import Counter

import numpy as np
import pytest
from command_lines import HEAVY, NAME, World, answer, case, commands, option_for, quick, run, variables

FUZZ = int(os.environ.get("LINEUPIQ_FUZZ", "20000"))  # command lines of the long run

BAD = r"""
train --data nowhere.yaml --model ridge                                       | 2 | cannot read the configuration
train --data odd/folder --model ridge                                         | 2 | unknown source 'odd/folder'
train --data odd/pipe --model ridge                                           | 2 | unknown source 'odd/pipe'
train --data odd/socket --model ridge                                         | 2 | unknown source
train --data odd/loop --model ridge                                           | 2 | unknown source
train --data odd/dangling --model ridge                                       | 2 | unknown source
train --data /dev/zero --model ridge                                          | 2 | unknown source
train --data odd/empty.yaml --model ridge                                     | 2 | an empty configuration
train --data odd/latin1.yaml --model ridge                                    | 2 | not UTF-8 text; byte 0xfc
train --data odd/deep.yaml --model ridge                                      | 2 | nested deeper than 50
train --data odd/aliases.yaml --model ridge                                   | 2 | more than 10000 values
train --data odd/tags.yaml --model ridge                                      | 2 | unsafe tag; os.mkdir
train --data odd/self.yaml --model ridge                                      | 2 | an alias of what is not there yet
train --data odd/twice.yaml --model ridge                                     | 2 | the key 'seed' is there twice
train --data odd/list.yaml --model ridge                                      | 2 | no mapping at the top
train --data table.yaml --model xgbost                                        | 2 | did you mean 'xgboost'
train --data table.yaml --model logistic                                      | 2 | cannot do the task 'regression'
train --data table.yaml --model ""                                            | 2 | which one is trained is not said
train --data table.yaml --model ridge --horizon 5                             | 2 | a table says its horizon in the YAML
train --data table.yaml --model ridge --seed -1                               | 2 | --seed: expected greater than or equal to 0
train --data table.yaml --model ridge --seed 4294967296                       | 2 | --seed: expected less than 4294967296
train --data table.yaml --model ridge --seed 1e3                              | 2 | --seed; valid integer
train --data table.yaml --model ridge --val nan                               | 2 | --val: expected a finite number
train --data table.yaml --model ridge --val 1                                 | 2 | --val: expected less than 1
train --data table.yaml --model ridge --test-share 1e400                      | 2 | --test-share: expected a finite number; found inf
train --data table.yaml --model ridge --intervals 1                           | 2 | 0 < level < 1
train --data table.yaml --model ridge --n-splits 1                            | 2 | --n-splits: expected a whole number from 2 up
train --data table.yaml --model ridge --n-splits 99999999999999999999         | 2 | --n-splits: expected a whole number of at most 64 bits
train --data table.yaml --model ridge --seq-len 0                             | 2 | --seq-len: expected greater than or equal to 1
train --data table.yaml --model ridge --embargo 7X                            | 2 | embargo is not a length of time
train --data table.yaml --model ridge --embargo -1D                           | 2 | embargo is not a length of time
train --data table.yaml --model ridge --embargo 9999999999D                   | 2 | embargo is not a length of time
train --data table.yaml --model ridge --walk-forward 2021-03-01               | 3 | too few times between the ends of walk_forward
train --data table.yaml --model ridge --walk-forward 2021-03-01:2021-02-01    | 2 | walk_forward runs backwards
train --data table.yaml --model ridge --test 2021-02-30:2021-03-01            | 2 | test is not a range
train --data table.yaml --model ridge --train-until 9999-12-31                | 2 | train_until is not a range
train --data table.yaml --model ridge --metric rmsee                          | 2 | did you mean 'rmse'
train --data table.yaml --model ridge --calibrate magic                       | 2 | unknown calibration 'magic'
train --data table.yaml --model ridge --exclude-neutrals                      | 2 | of which 0 is the neutral one
train --data games.yaml --model logistic --calibrate sigmoid --val 0          | 2 | calibration needs validation rows
train --data table.yaml --model ridge --device tpu                            | 2 | --device: expected 'auto', 'cpu' or 'cuda'
train --data table.yaml --model ridge --time-limit 0                          | 2 | --time-limit: expected greater than 0
train --data table.yaml --model ridge --time-limit inf                        | 2 | --time-limit: expected a finite number
train --data table.yaml --model ridge --acknowledge nobody                    | 2 | neither a model that is trained nor a column
train --data table.yaml --model ridge --optimize --use-best                   | 2 | contradict each other
train --data table.yaml --model ridge --n-trials 3                            | 2 | belong to optimize
train --data table.yaml --model ridge --use-best --best odd/deep.json         | 4 | not a JSON file that this library wrote
train --data table.yaml --model ridge --config nowhere.yaml                   | 2 | cannot read the configuration
train --data table.yaml --model ridge --config gate.yaml                      | 2 | min_rows: unknown key (gate.yaml:1)
train --data table.yaml --model ridge --config odd/pipe                       | 2 | not a regular file
train --data table.yaml --model ridge --training-config odd/list.yaml         | 2 | no mapping at the top
train --data table.yaml --model ridge --output rows.csv                       | 7 | cannot write
train --data table.yaml --model ridge --output /proc/1/none                   | 7 | cannot write; /proc/1/none
train --data table.yaml --model ridge --part huge                             | 2 | --part: expected 'major', 'minor' or 'patch'
train --resume nobody                                                         | 2 | no such run 'nobody'
train --resume rows.csv                                                       | 2 | no such run 'rows.csv'
train --data bars --path bars --model prior --horizon 0                       | 2 | --horizon: expected whole numbers from 1 up
train --data bars --path bars --model prior --symbol NOBODY                   | 3 | symbols that are not in the bars
train --data bars --path bars --model prior --timezone Mars/Base              | 2 | unknown time zone
train --data bars --path bars --model prior --time-unit fortnight             | 2 | --time-unit: expected
train --data bars --path odd/empty.csv --model prior                          | 3 | an empty file
train --data bars --path odd/binary.csv --model prior                         | 3 | not a text file
train --data bars --path odd/pipe --model prior                               | 3 | not a regular file
train --data nfl-players --position GK --target goals --model ridge           | 2 | unknown position 'GK'
train --data nfl-players --model ridge                                        | 2 | needs a position and a target
train --data noise-bars --source-option n=x --model prior                     | 2 | n has a place of its own
tune --data table.yaml --model ridge --n-trials 0                             | 2 | --n-trials: expected greater than or equal to 1
tune --data table.yaml --model ridge --n-trials 1 --space odd/list.yaml       | 2 | no mapping at the top
tune --data table.yaml --model ridge --n-trials 1 --sampler magic             | 2 | unknown sampler 'magic'
tune --data table.yaml --model ridge --n-trials 1 --pruner magic              | 2 | unknown pruner 'magic'
tune --data table.yaml --model ridge --n-trials 1 --outer 1                   | 2 | --outer: expected greater than or equal to 2
tune --data table.yaml --model ridge --n-trials 1 --choice worst              | 2 | unknown choice 'worst'
experiment --config nobody                                                    | 2 | cannot read the configuration
experiment --config table.yaml                                                | 2 | label: unknown key (table.yaml:5)
experiment --config odd/deep.yaml                                             | 2 | nested deeper than 50
models --family nobody                                                        | 2 | no models of family 'nobody'
models --check nobody                                                         | 2 | Model 'nobody' not found
sources nobody                                                                | 2 | unknown source 'nobody'
sources bars --check bars                                                     | 2 | a source to show and one to check
sources --horizon 5                                                           | 2 | --horizon is for a source that is checked
predict --model nobody                                                        | 4 | no model 'nobody'
predict --model NAME:9.9.9                                                    | 4 | has no version 9.9.9
predict --model NAME:latest                                                   | 2 | not a version
predict --model NAME@nowhere                                                  | 2 | unknown stage 'nowhere'
predict --model ../x                                                          | 2 | there is no such model
predict --model {stopped}                                                     | 2 | the run did not finish
predict --model odd/folder                                                    | 2 | no model is there
predict --model NAME --output new.xlsx                                        | 2 | it must end in .csv or .parquet
predict --model NAME --path nowhere.csv                                       | 3 | no such file or folder
predict --model NAME --data games.yaml                                        | 2 | another task than the model
evaluate --run nowhere                                                        | 2 | no such run
evaluate --run {run} --model nobody                                           | 2 | the run has no model 'nobody'
evaluate --run {run} --since yesterday                                        | 2 | since is not a time
evaluate --run {run} --since 2999-01-01 --path later.csv                      | 2 | beyond the times that can be compared
export --run {run} --output new.txt                                           | 2 | must end in .onnx
export --run {run} --output new.onnx --format pmml                            | 2 | --format: expected 'onnx'
validate NAME --window 7X                                                     | 2 | --window: expected a length of time
validate NAME --config odd/list.yaml                                          | 2 | no mapping at the top
promote NAME                                                                  | 5 | was not validated
promote NAME 9.9.9 --force --reason x                                         | 4 | has no version 9.9.9
promote NAME 1.1.0 --force                                                    | 2 | promote with force needs a reason
promote ../NAME                                                               | 2 | cannot become a path
rollback NAME                                                                 | 4 | no version that was in production before
archive nobody                                                                | 4 | no model 'nobody'
prune NAME 1.0.0                                                              | 4 | is in production and is not removed
prune NAME --keep -1                                                          | 2 | keep must be a whole number from 0 up
history --at yesterday                                                        | 2 | not a point in time
sign NAME 1.0.0 --key rows.csv                                                | 2 | others can read the signing key
sign NAME 1.0.0 --key odd/pipe                                                | 2 | there is no signing key
sign --new-key keys/key                                                       | 2 | there is a key already
verify nobody                                                                 | 4 | no model 'nobody'
drift NAME --config odd/tags.yaml                                             | 2 | unsafe tag
drift NAME --window 0D --path later.csv                                       | 2 | --window: expected a length of time greater than 0
retrain                                                                       | 2 | takes a NAME or --all
retrain NAME --schedule often                                                 | 2 | --schedule: expected a length of time
retrain NAME --decay 2                                                        | 2 | --decay: expected less than 1
retrain NAME --notify nobody                                                  | 2 | unknown destination
job nobody                                                                    | 2 | unknown job 'nobody'
job odd/job.ipynb                                                             | 2 | not a notebook
job odd/loop.ipynb                                                            | 2 | links that lead to each other
job train -p nobody=1                                                         | 2 | nobody: unknown parameter
job train -p data                                                             | 2 | data: expected name=value
job train --timeout nan                                                       | 2 | --timeout is not a length of time
LINEUPIQ_NUM_THREADS=x job drift -p name=NAME                                 | 2 | not a thread count
LINEUPIQ_TRACKING_URI=- retrain NAME                                          | 2 | store of files is no longer maintained
LINEUPIQ_MODELS_DIR=new promote nobody                                        | 4 | no model 'nobody'
LINEUPIQ_MODELS_DIR=new archive no:body                                       | 2 | cannot become a path
audit cv --data table.yaml --splitter magic                                   | 2 | no such splitter
audit leak --data table.yaml --model ridge --plant magic                      | 2 | unknown plant 'magic'
audit leak --data table.yaml --model ridge --rows 5                           | 2 | --rows: expected greater than or equal to 200
audit leak --run {run} --data table.yaml                                      | 2 | --run: it says itself what it read
version show NAME 1.0                                                         | 2 | not a version
version bump NAME --part huge                                                 | 2 | unknown part of a version 'huge'
track sync --uri file:mlruns                                                  | 2 | store of files is no longer maintained
config show nobody                                                            | 2 | no defaults for 'nobody'
config check odd/aliases.yaml                                                 | 2 | more than 10000 values
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    "One folder for all; each case puts it back."
    with quick():
        yield World(tmp_path_factory.mktemp("lines") / "world")


@pytest.fixture(scope="module")
def lines_of(world):
    "Seed → case."
    tree, names = commands(), variables()
    return lambda seed: case(seed, world, tree, names)


def test_bad_inputs(world):
    lines = [[part.strip() for part in line.split(" | ")] for line in BAD.strip().splitlines()]
    assert len(lines) >= 98
    faults = []
    for line, code, words in lines:
        for word, meant in {"NAME": NAME, **world.words}.items():
            line = line.replace(word, meant)
        argv = shlex.split(line)
        env = dict(argv.pop(0).split("=", 1) for word in argv[:1] if word.partition("=")[0].isupper())
        with world.entered(env):
            before = world.seen()
            said = answer(argv)
            left = [n for n in world.seen() if n not in before]
            world.restore()
        if (
            said.code != int(code)
            or "Traceback" in said.err
            or "Traceback" in said.out
            or left
            or not all(w in said.err for w in words.split("; "))
        ):
            faults.append((line, said.code, said.err[-300:], left))
    assert not faults, faults


def fuzz(cases, world):
    "Counts by exit code, and the faults."
    seen, faults = Counter(), []
    for one in cases:
        said, wrong = run(one, world)
        seen[said.code] += 1
        if wrong:
            faults.append((str(one), wrong, said.err[-2000:]))
            print(*faults[-1], sep="\n   ")  # a list in an assertion is cut
    return seen, faults


def test_every_command_and_option_is_fuzzed(lines_of):
    "What a line says comes from the command's own tree."
    tree, rng = commands(), np.random.default_rng(0)
    options = [p for params in tree.values() for p in params if p.param_type_name == "option"]
    assert len(options) > 200 and all(
        {option_for(rng, p)[0].partition("=")[0] for _ in range(30)} >= {*p.opts, *p.secondary_opts} for p in options
    )
    argvs = [lines_of(seed).argv for seed in range(3000)]
    assert all(any(tuple(argv[: len(path)]) == path for argv in argvs) for path in tree)


def test_some_command_lines(world, lines_of):
    light = [c for c in map(lines_of, range(500)) if c.argv and c.argv[0] not in (*HEAVY, "evaluate", "export", "validate", "drift")]
    seen, faults = fuzz(light[:120], world)
    assert not faults, faults
    assert seen[0] > 15 and seen[2] > 40, seen


@pytest.mark.slow
def test_many_command_lines(world, lines_of):
    seen, faults = fuzz(map(lines_of, range(FUZZ)), world)
    print(dict(seen))
    assert not faults, (len(faults), faults[:10])
