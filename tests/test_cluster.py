"""A set on other processes: the same numbers, and what a lost worker, a lost scheduler and a wrong address cost."""

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pandas as pd
import pytest

pytest.importorskip("distributed")
ASK = ["train", "--data", "league", "--model", "xgboost,lightgbm,logistic", "--no-mlflow", "--no-publish", "--json"]
ENV = {"OMP_NUM_THREADS": "1", "LINEUPIQ_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def predictions(folder):
    "Test predictions of the one run of a folder."
    [path] = folder.glob("*/predictions/test_predictions.parquet")
    return pd.read_parquet(path).sort_values(["model", "row"], ignore_index=True)


@pytest.fixture
def alone(cli, tmp_path, monkeypatch):
    "The same training without a cluster."
    for k, v in ENV.items():
        monkeypatch.setenv(k, v)
    assert (done := cli(*ASK, "--output", tmp_path / "alone")).code == 0, done.err
    return predictions(tmp_path / "alone")


def begun(tmp_path, address, *more):
    "A command that trains on a scheduler, and is not waited for."
    command = [sys.executable, "-m", "lineupiq", *ASK, "--output", str(tmp_path / "there"), "--cluster", address, *more]
    return subprocess.Popen(
        command,
        env={**os.environ, **ENV, "LINEUPIQ_LEDGER": str(tmp_path / "looks.jsonl")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
    )


def at_work(cluster, seconds=120):
    "A nanny whose worker has a task."
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for state in cluster.scheduler.workers.values():
            if state.processing:
                return next(n for n in cluster.workers.values() if n.worker_address == state.address)
        time.sleep(0.02)
    raise AssertionError("no task began")


def test_two_processes_say_the_same(alone, cli, tmp_path):
    done = cli(*ASK, "--output", tmp_path / "there", "--cluster", "local:2")
    assert done.code == 0, done.err
    pd.testing.assert_frame_equal(predictions(tmp_path / "there"), alone, check_exact=True)
    assert json.loads(done.out)


def test_a_search_finds_the_same(tmp_path):
    "Trials as tasks: the same proposals, scores, prunings and rounds as here with the same batch."
    import optuna
    from lineupiq.core.cluster import ClusterPlan, on_cluster
    from lineupiq.data.sources import load_panel
    from lineupiq.tuning.objective import development_panel
    from lineupiq.tuning.search import tune_model
    from lineupiq.tuning.settings import SearchSettings

    dev = development_panel(load_panel("league"), "2019-01-01")
    ask = {
        model: SearchSettings(n_trials=6, n_splits=3, config=config, storage=f"sqlite:///{tmp_path}/there.db")
        for model, config in (("xgboost", {"num_boost_round": 60}), ("logistic", {}))
    }
    with on_cluster(ClusterPlan("local:2")):
        found = {model: tune_model(dev, model, how) for model, how in ask.items()}
    for model, there in found.items():
        storage = f"sqlite:///{tmp_path}/{model}.db"
        kept = optuna.create_study(study_name="here", storage=storage, direction="minimize")
        for what in ("lineupiq", "jobs"):  # the question, and how the machine is used: a trial at a time for each of two workers
            kept.set_user_attr(what, there.study.user_attrs[what])
        alone = tune_model(dev, model, replace(ask[model], storage=storage, study="here"))
        columns = [c for c in there.trials if c != "seconds"]
        pd.testing.assert_frame_equal(there.trials[columns], alone.trials[columns], check_exact=True)
        assert (there.params, there.score) == (alone.params, alone.score)


def test_a_search_that_was_begun_here_goes_on_there(tmp_path, monkeypatch):
    "In the way in which it began: a study keeps how many trials it asks for at once, and a cluster that is named is used."
    from lineupiq.core.cluster import Cluster, ClusterPlan, on_cluster
    from lineupiq.data.sources import load_panel
    from lineupiq.tuning.objective import development_panel
    from lineupiq.tuning.search import tune_model
    from lineupiq.tuning.settings import SearchSettings

    dev, queues, opened = development_panel(load_panel("league"), "2019-01-01"), [], Cluster.open_tasks
    monkeypatch.setattr(Cluster, "open_tasks", lambda self, *a: queues.append(a[0].__name__) or opened(self, *a))
    ask = lambda place, n: SearchSettings(n_trials=n, n_splits=3, storage=f"sqlite:///{tmp_path}/{place}.db", study=place)  # noqa: E731
    tune_model(dev, "logistic", ask("both", 2))
    with on_cluster(ClusterPlan("local:1")):
        both = tune_model(dev, "logistic", ask("both", 5))
    alone = tune_model(dev, "logistic", ask("alone", 5))
    columns = [c for c in alone.trials if c != "seconds"]
    pd.testing.assert_frame_equal(both.trials[columns], alone.trials[columns], check_exact=True)
    assert set(queues) == {"score_trial"}


@pytest.mark.parametrize(
    ("place", "code", "words"),
    [
        ("local:0", 2, "no processes"),
        ("eight machines", 2, "cannot be read"),
        ("tcp://8.8.8.8:8786", 2, "can run anything"),
        ("nothing.yaml", 2, "nothing.yaml"),
    ],
)
def test_wrong_places_are_refused_before_anything_is_read(cli, tmp_path, place, code, words):
    done = cli(*ASK, "--output", tmp_path / "there", "--cluster", place)
    assert (done.code, words in done.err, (tmp_path / "there").exists()) == (code, True, False), done.err


@pytest.fixture
def scheduler():
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, host="127.0.0.1", dashboard_address="127.0.0.1:0", env=ENV
    ) as cluster:
        yield cluster


@pytest.mark.slow
def test_a_killed_worker_costs_time_alone(alone, tmp_path, scheduler):
    process = begun(tmp_path, scheduler.scheduler_address)
    os.kill(at_work(scheduler).pid, signal.SIGKILL)
    said, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors
    pd.testing.assert_frame_equal(predictions(tmp_path / "there"), alone, check_exact=True)


@pytest.mark.slow
def test_a_run_goes_on_after_its_scheduler_was_killed(alone, cli, tmp_path):
    script = (
        "from distributed import LocalCluster; import time; c = LocalCluster(n_workers=2, threads_per_worker=1, host='127.0.0.1', "
        "dashboard_address='127.0.0.1:0'); print(c.scheduler_address, flush=True); time.sleep(600)"
    )
    owner = subprocess.Popen(
        [sys.executable, "-c", f"if __name__ == '__main__':\n    {script}"],
        env={**os.environ, **ENV},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        process = begun(tmp_path, owner.stdout.readline().strip())
        end = time.monotonic() + 300
        while time.monotonic() < end and not list((tmp_path / "there").glob("*/models/*")):
            time.sleep(0.05)
    finally:
        os.killpg(owner.pid, signal.SIGKILL)
    said, errors = process.communicate(timeout=300)
    assert process.returncode in (0, 8), errors
    [run] = (tmp_path / "there").glob("*_*")
    if process.returncode:
        assert "scheduler" in errors
        assert (done := cli("train", "--resume", run, "--output", tmp_path / "there")).code == 0, done.err
    pd.testing.assert_frame_equal(predictions(tmp_path / "there"), alone, check_exact=True)


def test_a_replay_lives_through_the_same(cli, tmp_path, monkeypatch):
    "Trainings that are certain to be asked for are made ahead on the workers; what the policies do with them is the same."
    for k, v in ENV.items():
        monkeypatch.setenv(k, v)
    ask = ["replay", "--data", "league", "--model", "logistic", "--from", "2020", "--to", "2020", "--policy", "monthly,never", "--json"]
    told = [
        json.loads(done.out)
        for where in ([], ["--cluster", "local:2"])
        if (done := cli(*ask, "--output", tmp_path / f"r{len(where)}", *where)).code == 0
    ]
    assert len(told) == 2
    for said in told:
        del said["seconds"]
        for line in said["policies"]:
            del line["seconds"]
    assert told[0] == told[1]


def test_an_experiment_finds_the_same(cli, tmp_path, monkeypatch):
    "One connection for all cells, and each fold of each model a task."
    for k, v in ENV.items():
        monkeypatch.setenv(k, v)
    boards = []
    for where in ([], ["--cluster", "local:2", "--jobs", "2"]):  # cells are processes that share the workers
        folder = tmp_path / f"e{len(where)}"
        (file := tmp_path / f"e{len(where)}.yaml").write_text(
            f"experiment: {{name: grid}}\nmodels: [logistic, xgboost]\ndata: {{source: league}}\ntraining: {{walk_forward: "
            f"'2018:2020'}}\nmlflow: {{tracking_uri: 'off'}}\noutput: {{base_dir: {folder}}}\n"
        )
        done = cli("experiment", "--config", file, "--json", *where)
        assert done.code == 0, done.err
        boards.append(pd.DataFrame(json.loads(done.out)["scores"])[["model", "score", "skill", "skill_low", "skill_high"]])
    pd.testing.assert_frame_equal(*boards, check_exact=True)


def logloss(frame):
    "Of test rows with two classes, by model."
    columns = [c for c in frame if c.startswith("prob_")]
    chosen = frame[columns].to_numpy()[range(len(frame)), frame["y"].astype(int)] if "y" in frame else None
    return frame.assign(loss=-pd.Series(chosen).map(math.log)).groupby("model")["loss"].mean()


def test_a_fit_that_divides_its_rows(cli, tmp_path, alone):
    """Each booster is fitted by both workers on half of the rows each; the other model is a task as ever. Beside one machine, the same loss
    but for the bins."""
    done = cli(*ASK, "--output", tmp_path / "one", "--cluster", "local:2", "--distributed")
    assert done.code == 0, done.err
    one, same = predictions(tmp_path / "one"), ["logistic", "prior", "ewma"]
    pd.testing.assert_frame_equal(
        one[one["model"].isin(same)].reset_index(drop=True), alone[alone["model"].isin(same)].reset_index(drop=True), check_exact=True
    )
    apart = (logloss(one) - logloss(alone)).abs()
    assert (apart < 0.02).all(), apart
    assert (apart[["xgboost", "lightgbm"]] > 0).all(), "the rows were not divided"


@pytest.mark.slow
def test_a_divided_fit_repeats(cli, tmp_path):
    for name in ("one", "two"):
        done = cli(*ASK, "--output", tmp_path / name, "--cluster", "local:2", "--distributed")
        assert done.code == 0, done.err
    one, two = predictions(tmp_path / "one"), predictions(tmp_path / "two")
    # the order of LightGBM's machines, which decides who finds the bins of which columns, is Dask's own
    repeats = [frame[frame["model"] != "lightgbm"].reset_index(drop=True) for frame in (one, two)]
    pd.testing.assert_frame_equal(*repeats, rtol=1e-3)
    apart = (logloss(one) - logloss(two)).abs()
    assert apart["lightgbm"] < 0.02, apart


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ((), "without a cluster"),
        (("--cluster", "local:1"), "no model of these can divide"),
        (("--cluster", "local:1", "--time-limit", "5"), "contradict each other"),
    ],
)
def test_what_cannot_be_divided_is_said(cli, tmp_path, more, words):
    ask = [a.replace("xgboost,lightgbm,", "") for a in ASK] if "no model" in words else ASK
    done = cli(*ask, "--output", tmp_path, "--distributed", *more)
    assert done.code == 2 and words in done.err, done.err


@pytest.mark.slow
def test_a_divided_fit_begins_again_without_a_lost_worker(tmp_path, scheduler):
    "Two workers share a fit; one is killed, and the run ends well."
    process = begun(tmp_path, scheduler.scheduler_address, "--distributed", "--model", "xgboost")
    nanny = at_work(scheduler)
    os.kill(nanny.pid, signal.SIGKILL)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert len(predictions(tmp_path / "there"))


BRIDGE = "10.231.77"  # of the private network between the namespaces


@pytest.fixture
def machines(tmp_path):
    "What comes before the command of each of two workers that have a network and a view of the folders of their own, and their addresses."
    (hidden := tmp_path / "there").mkdir()
    names = [f"lineupiq{k}" for k in (1, 2)]
    ip = lambda *words: subprocess.run(["ip", *" ".join(map(str, words)).split()], check=True, capture_output=True)  # noqa: E731
    try:
        ip("link add lineupiq0 type bridge")
        ip(f"addr add {BRIDGE}.1/24 dev lineupiq0")
        ip("link set lineupiq0 up")
        for k, name in enumerate(names, 2):
            ip("netns add", name)
            ip(f"link add {name} type veth peer name eth0 netns", name)
            ip("link set", name, "master lineupiq0 up")
            for words in (f"addr add {BRIDGE}.{k}/24 dev eth0", "link set eth0 up", "link set lo up"):
                ip("-n", name, words)
        own = f'mount -t tmpfs none {hidden} && exec "$@"'  # as on a machine without the run's folder
        yield [(["ip", "netns", "exec", n, "unshare", "-m", "sh", "-c", own, "sh"], f"{BRIDGE}.{k}") for k, n in enumerate(names, 2)]
    except (OSError, subprocess.CalledProcessError) as err:
        pytest.skip(f"no network namespaces here: {err}")
    finally:
        for words in (*(["netns", "del", n] for n in names), ["link", "del", "lineupiq0"]):
            subprocess.run(["ip", *words], capture_output=True)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs network namespaces")
def test_workers_with_addresses_and_folders_of_their_own(alone, tmp_path, machines):
    "A scheduler, and two workers in networks of their own that do not see the run's folder."
    env, dask = {**os.environ, **ENV}, [sys.executable, "-m", "dask"]
    quiet = {"env": env, "cwd": tmp_path, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    place = f"{BRIDGE}.1"
    started = [subprocess.Popen([*dask, "scheduler", "--host", place, "--port", "8799", "--no-dashboard"], **quiet)]
    try:
        for before, address in machines:
            more = ["--host", address, "--nthreads", "1", "--no-dashboard", "--local-directory", str(tmp_path / address)]
            started.append(subprocess.Popen([*before, *dask, "worker", f"tcp://{place}:8799", *more], **quiet))
        seen = "from distributed import Client; c = Client('tcp://{}:8799', timeout=60); c.wait_for_workers(2, 60); print(*c.ncores())"
        told = subprocess.run([sys.executable, "-c", seen.format(place)], env=env, capture_output=True, text=True, timeout=180)
        assert all(address in told.stdout for _, address in machines), told.stderr[-500:]
        process = begun(tmp_path, f"tcp://{place}:8799")
        said, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
    finally:
        for p in started:
            p.terminate()
        for p in started:
            p.wait(30)
    pd.testing.assert_frame_equal(predictions(tmp_path / "there"), alone, check_exact=True)


@pytest.fixture
def certified(tmp_path):
    "The configuration of Dask by which a scheduler, its workers and its clients know each other."
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    subject = ["-subj", "/CN=lineupiq", "-addext", "subjectAltName=IP:127.0.0.1"]
    keys = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-keyout", str(key), "-out", str(cert), *subject]
    subprocess.run(keys, check=True, capture_output=True)
    base = "DASK_DISTRIBUTED__COMM__TLS__"
    who = {
        f"{base}{role}__{what}": str(path) for role in ("SCHEDULER", "WORKER", "CLIENT") for what, path in (("KEY", key), ("CERT", cert))
    }
    return {f"{base}CA_FILE": str(cert), **who}


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes its certificates with openssl")
def test_a_scheduler_that_knows_its_callers(alone, tmp_path, certified, monkeypatch):
    "With the certificates of Dask's own configuration a run is as ever; without them the scheduler is not reached."
    env, place = {**os.environ, **ENV, **certified}, "tls://127.0.0.1:8798"
    quiet = {"env": env, "cwd": tmp_path, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    dask = [sys.executable, "-m", "dask"]
    started = [
        subprocess.Popen([*dask, "scheduler", "--host", place, "--no-dashboard"], **quiet),
        subprocess.Popen([*dask, "worker", place, "--nthreads", "1", "--no-dashboard"], **quiet),
    ]
    try:
        for name, value in certified.items():
            monkeypatch.setenv(name, value)
        said, errors = (known := begun(tmp_path, place)).communicate(timeout=300)
        assert known.returncode == 0, errors
        pd.testing.assert_frame_equal(predictions(tmp_path / "there"), alone, check_exact=True)
        for name in certified:
            monkeypatch.delenv(name)
        said, errors = (stranger := begun(tmp_path, place)).communicate(timeout=300)
        assert stranger.returncode == 7, (stranger.returncode, errors)
    finally:
        for p in started:
            p.terminate()
        for p in started:
            p.wait(30)


@pytest.mark.slow
def test_a_queue_of_a_computing_centre(alone, cli, tmp_path, monkeypatch):
    "SLURM's class of dask-jobqueue, with programs in the place of SLURM's own that begin a job's script at once."
    pytest.importorskip("dask_jobqueue")
    (programs := tmp_path / "bin").mkdir()
    begin = f'cp "$1" "{tmp_path}/job.$$" && (sh "{tmp_path}/job.$$" >"{tmp_path}/job.$$.log" 2>&1 & echo "Submitted batch job $!")'
    for name, body in (("sbatch", begin), ("scancel", 'kill "$@" 2>/dev/null; true')):
        (programs / name).write_text(f"#!/bin/sh\n{body}\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(programs), prepend=os.pathsep)
    queue = tmp_path / "queue.yaml"
    queue.write_text(
        "slurm: {cores: 1, processes: 1, memory: 2GB, walltime: '00:10:00', n_workers: 2, scheduler_options: {host: 127.0.0.1}}\n"
    )
    monkeypatch.setattr("lineupiq.core.cluster.WORKER_PATIENCE", {"queue": 60})
    done = cli(*ASK, "--output", tmp_path / "there", "--cluster", queue)
    assert done.code == 0, (done.err, *(p.read_text()[-500:] for p in tmp_path.glob("job.*.log")))
    pd.testing.assert_frame_equal(predictions(tmp_path / "there"), alone, check_exact=True)


@pytest.mark.slow
def test_every_target_and_a_search_on_a_cluster(cli, tmp_path, monkeypatch):
    "Horizons side by side, and the command of a search: the same scores as here."
    for k, v in ENV.items():
        monkeypatch.setenv(k, v)
    told = []
    for where in ([], ["--cluster", "local:2"]):
        monkeypatch.chdir((tmp_path / f"w{len(where)}").mkdir() or tmp_path / f"w{len(where)}")
        monkeypatch.setenv("LINEUPIQ_MODELS_DIR", str(tmp_path / f"w{len(where)}" / "models"))
        ask = ["train-all", "--data", "noise-bars", "--horizon", "3,5", "--model", "logistic", "--jobs", "2"]
        assert (done := cli(*ask, *where)).code == 0, done.err
        files = sorted((tmp_path / f"w{len(where)}").rglob("test_predictions.parquet"))
        told.append(pd.concat(pd.read_parquet(f).sort_values(["model", "row"]) for f in files).sort_values(["model", "row", "y"]))
    columns = [c for c in told[0] if c.startswith("prob") or c in ("model", "row")]
    one, two = (frame[columns].sort_values(columns, ignore_index=True) for frame in told)
    pd.testing.assert_frame_equal(one, two, check_exact=True)
    done = cli("tune", "--data", "league", "--model", "logistic", "--n-trials", "3", "--output", tmp_path / "t", "--cluster", "local:1")
    assert done.code == 0, done.err
