"""`--device auto` where a driver reports a GPU: each model takes it if its library can, and falls back by itself if not."""

from pathlib import Path

import pytest
import yaml

from lineupiq.base import cuda_devices
from lineupiq.training.setup import TrainSettings, spec_for


@pytest.fixture
def faked_gpu(monkeypatch):
    "A driver that reports a device which no library here can use."
    from lineupiq import base, boosting_catboost
    from lineupiq.nets import loop

    for place in (base, boosting_catboost, loop):
        monkeypatch.setattr(place, "cuda_devices", lambda: 1)
    monkeypatch.setattr("catboost.utils.get_gpu_device_count", lambda: 0)


@pytest.mark.parametrize("model", ["lightgbm", "catboost", "xgboost", "gru", "voting"])
def test_auto_falls_back_where_the_library_has_no_gpu(faked_gpu, cli, model, monkeypatch):
    monkeypatch.setattr("xgboost.build_info", lambda: {"USE_CUDA": False})
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    answer = cli("train", "--data", "league", "--model", model, "--no-publish", "--no-mlflow", "--time-limit", 2)
    assert answer.code == 0, answer.err[-2000:]
    assert model in {r["model"] for r in answer.value["leaderboard"]}


def test_auto_stays_auto_for_the_model_to_decide(faked_gpu, cli):
    "The run writes down what was asked for; what the driver reports is not what a library can use."
    answer = cli("train", "--data", "league", "--model", "logistic", "--device", "auto", "--no-publish", "--no-mlflow")
    assert yaml.safe_load((Path(answer.value["run_dir"]) / "config.yaml").read_text())["settings"]["device"] == "auto"
    assert spec_for("lightgbm", None, TrainSettings(device="cuda")).config["device"] == "cuda"


@pytest.mark.skipif(cuda_devices() > 0, reason="this machine has a GPU")
@pytest.mark.parametrize("model", ["lightgbm", "catboost", "xgboost", "gru", "voting"])
def test_an_explicit_cuda_that_the_library_cannot_have_is_refused(faked_gpu, cli, model):
    "Neither a traceback nor a training on the CPU that calls itself one on the GPU."
    answer = cli("train", "--data", "league", "--model", model, "--device", "cuda", "--no-publish", "--no-mlflow")
    assert answer.code == 7 and answer.error["type"] == "EnvironmentFault" and "cannot use the GPU" in answer.err


@pytest.mark.skipif(cuda_devices() > 0, reason="this machine has a GPU")
def test_an_explicit_cuda_is_never_a_silent_fallback(cli):
    assert cli("train", "--data", "league", "--model", "lightgbm", "--device", "cuda").code == 7
