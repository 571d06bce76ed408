"""Submitting to a real Ray head with token authentication and a second node, started here on ports of their own.

Slow for a unit test: a head takes 6 s to start and each job 3 to 8 s, so the jobs here are few.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from medclm import doctor, raycluster, submit
from medclm.errors import MedclmError, UsageError
from tests.hand_dataset import make_record, write_dataset

ROOT = Path(__file__).resolve().parent.parent
TOKEN = "0123456789abcdef" * 4
STAND_IN = """
import sys, time
print("stand-in", *sys.argv[1:], flush=True)
if "sleep" in sys.argv:
    time.sleep(300)
sys.exit(3 if "fail" in sys.argv else 0)
"""

SMALL = {"vision": "random", "image_size": 32, "patch_size": 8, "scale": 1, "vision_width": 16, "vision_layers": 1,
         "text_width": 16, "text_layers": 2, "heads": 2, "vocabulary": 400}  # fmt: skip


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


@pytest.fixture(scope="module")
def head():
    with two_nodes(gpus=1) as address:
        yield address


@contextmanager
def two_nodes(gpus: int) -> Iterator[str]:
    """Address of a Ray head that asks for TOKEN, with a second node that declares ``gpus`` it has not."""
    folder = tempfile.mkdtemp(prefix="mr", dir="/tmp")  # short: Ray's socket paths have 107 bytes
    names = ["port", "dashboard-port", "ray-client-server-port", "dashboard-agent-listen-port"]
    names += ["dashboard-agent-grpc-port", "runtime-env-agent-port", "metrics-export-port"]
    names += ["object-manager-port", "node-manager-port"]
    ports = dict(zip(names, free_ports(len(names)), strict=True))
    address = f"http://127.0.0.1:{ports['dashboard-port']}"
    started: list[subprocess.Popen] = []
    options = [*(f"--{name}={port}" for name, port in ports.items()), f"--temp-dir={folder}", "--num-cpus=4"]
    try:
        started.append(start(folder, "head", "--head", "--dashboard-host=127.0.0.1", *options))
        wait_until(address, "/api/jobs/", lambda _: True, started[0], Path(folder) / "head.log")
        joining = ["--num-cpus=1", f"--num-gpus={gpus}", f"--address=127.0.0.1:{ports['port']}"]
        started.append(start(folder, "second", *joining))
        both = lambda text: text.count('"ALIVE"') >= 2  # noqa: E731
        wait_until(address, "/nodes?view=summary", both, started[1], Path(folder) / "second.log")
        yield address
    finally:
        for process in started:
            end_session(process.pid)
            process.wait(10)
        shutil.rmtree(folder, ignore_errors=True)


def start(folder: str, name: str, *options: str) -> subprocess.Popen:
    """``ray start`` with a log file of its name; it stays in the foreground of a session of its own."""
    argv = [str(Path(sys.executable).parent / "ray"), "start", "--block", "--disable-usage-stats"]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])  # as in an activated environment
    env = {**os.environ, "PATH": path, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN}
    with open(Path(folder) / f"{name}.log", "w") as log:
        command = [*argv, *options, "--object-store-memory=100000000"]
        return subprocess.Popen(command, env=env, stdout=log, stderr=log, start_new_session=True)


def wait_until(address: str, path: str, enough: Callable[[str], bool], process: subprocess.Popen, log: Path) -> None:
    import requests

    for _ in range(240):
        assert process.poll() is None, log.read_text()
        try:
            answer = requests.get(address + path, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=5)
            if answer.ok and enough(answer.text):
                return
        except requests.ConnectionError:
            pass
        time.sleep(0.25)
    raise AssertionError(log.read_text())


def end_session(session: int) -> None:
    """Ends the processes of the session that was started for the head: nothing else is in it."""
    import psutil

    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == session:
                process.kill()
        except (psutil.NoSuchProcess, ProcessLookupError):
            continue


@pytest.fixture
def token(monkeypatch, tmp_path):
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH", *raycluster.ADDRESS_VARIABLES):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("RAY_AUTH_TOKEN", TOKEN)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return monkeypatch


@pytest.fixture
def stand_in(tmp_path):
    """A working directory whose own medclm/cli.py prints, sleeps or fails: the copy that travels is what runs."""
    root = tmp_path / "project"
    (root / "medclm").mkdir(parents=True)
    (root / "medclm" / "__init__.py").write_text("")
    (root / "medclm" / "cli.py").write_text(STAND_IN)
    (root / "cluster").mkdir()
    (root / "cluster" / "runtime_env.yaml").write_text("env_vars: {OMP_NUM_THREADS: '1'}\n")
    return root


def test_the_line_of_a_dry_run_runs_the_sent_copy_when_it_is_pasted(head, token, stand_in, monkeypatch):
    said: list[str] = []
    result = submit.submit(["data", "build", "--name", "a b"], head, dry_run=True, root=stand_in, say=said.append)
    assert (result.status, result.files) == ("DRY-RUN", 3)
    assert said == ["working directory: 3 files, 0.0 MiB (limit 100 MiB)", result.line]
    monkeypatch.setenv("PATH", os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    done = subprocess.run(result.line, shell=True, capture_output=True, text=True, timeout=120)
    assert "stand-in data build --name a b" in done.stdout, done.stderr
    assert "stand-in data build --name a b" in submit.logs(result.submission_id, head)
    lines: list[str] = []
    job = submit.follow(result.submission_id, head, say=lines.append)
    assert (job.status, job.exit_code) == ("SUCCEEDED", 0)
    assert "stand-in data build --name a b" in lines
    again = submit.submit(["data", "build", "--name", "a b"], head, dry_run=True, root=stand_in, say=said.append)
    assert again.submission_id == f"{result.submission_id}-2", "an ended job's command gets the next id"


def test_a_failing_job_gives_its_exit_code_and_leaves_no_copy(head, token, stand_in):
    result = submit.submit(["fail"], head, root=stand_in, say=lambda _line: None)
    assert (result.status, result.exit_code) == ("FAILED", 3)
    argv = shlex.split(result.line)
    assert not Path(argv[argv.index("--working-dir") + 1]).exists()


def test_the_same_command_is_refused_while_it_runs_and_can_be_stopped(head, token, stand_in):
    said: list[str] = []
    first = submit.submit(["train", "sleep"], head, follow=False, root=stand_in, say=said.append, quiet=True)
    assert (first.status, first.exit_code) == ("SUBMITTED", 0)
    with pytest.raises(MedclmError, match="running already") as caught:
        submit.submit(["train", "sleep"], head, root=stand_in, say=said.append)
    assert f"--follow {first.submission_id}" in str(caught.value)
    job = submit.stop(first.submission_id, head)
    assert (job.status, job.exit_code) == ("STOPPED", 1)


def test_a_data_build_as_a_job_of_two_nodes(head, token, tmp_path):
    from medclm.data import shards
    from medclm.samples.phantom import write_phantom

    write_phantom(tmp_path / "phantom", 6, seed=1, size=64)
    (tmp_path / "empty").mkdir()
    images, masks = f"{tmp_path}/phantom/images", f"masks:{tmp_path}/phantom/masks"
    command = ["data", "build", "--images", images, "--annotations", f"{tmp_path}/phantom/annotations.json"]
    command += ["--segmenter", masks, "--out", f"{tmp_path}/built", "num_gpus=0"]
    result = submit.submit(command, head, root=tmp_path / "empty", say=print)
    assert result.exit_code == 0
    assert shards.read_manifest(f"{tmp_path}/built")["rows"] == 6


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_training_tuning_evaluating_and_serving_as_jobs(token, tmp_path):
    """The chain as jobs of one cluster, each on what the one before it has written."""
    records = [make_record(n, ("validate", "test", "train", "train")[n % 4], n % 2 == 0) for n in range(24)]
    data, run, empty = write_dataset(tmp_path / "hand", records), f"{tmp_path}/run", tmp_path / "empty"
    empty.mkdir()
    train = {
        "model": {"tiny": SMALL}, "steps": 4, "batch_size": 4, "evaluate_every": 2, "evaluate_limit": 2,
    }  # fmt: skip
    (tmp_path / "train.yaml").write_text(json.dumps(train))
    space = {"train": train, "space": {"loss.localization": {"values": [0.1, 30.0]}},
             "search": "grid", "grace_steps": 2, "compare": {"seeds": []}}  # fmt: skip
    (tmp_path / "tune.yaml").write_text(json.dumps(space))
    port = free_ports(1)[0]
    with two_nodes(gpus=0) as address:

        def job(*command: str, **more: bool) -> submit.JobResult:
            return submit.submit(list(command), address, root=empty, say=print, **more)

        training = job("train", "--config", f"{tmp_path}/train.yaml", "--data", data, "--out", run)
        assert training.exit_code == 0
        assert (Path(run) / "model" / "config.json").exists()
        tuning = job("tune", "--config", f"{tmp_path}/tune.yaml", "--data", data, "--out", f"{tmp_path}/tuned")
        assert tuning.exit_code == 0
        assert len(pq.read_table(tmp_path / "tuned" / "trials.parquet")) == 2
        asked = ["eval", "--model", f"{run}/model", "--benchmark", f"medclm:{data}", "--limit", "2"]
        assert job(*asked, "--max-new-tokens", "8", "--out", f"{tmp_path}/scores").exit_code == 0
        assert json.loads((tmp_path / "scores" / "eval.json").read_text())["benchmarks"]
        serving = job("serve", "--model", f"{run}/model", "--port", str(port), follow=False)
        assert healthy(f"http://127.0.0.1:{port}/healthz", 120), submit.logs(serving.submission_id, address)
        assert submit.stop(serving.submission_id, address).status == "STOPPED"


def healthy(url: str, limit_s: float) -> bool:
    """Whether the server says that it is well before the time is over."""
    import requests

    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        try:
            if requests.get(url, timeout=5).ok:
                return True
        except (requests.ConnectionError, requests.Timeout):
            pass
        time.sleep(0.5)
    return False


def test_doctor_asks_every_node(head, token, tmp_path):
    """The second node's declared GPU is not there; all else is one machine's, so it is equal on both."""
    storage = tmp_path / "storage"
    storage.mkdir()
    found = doctor.diagnose(head, str(storage))
    checks = {check.name: check for check in found.checks}
    assert "nodes" in checks, checks["ray cluster"]
    assert [(node.cpus, node.gpus) for node in found.nodes] == [(4, 0), (1, 1)]
    assert all(node.versions == found.nodes[0].versions for node in found.nodes)
    assert all(abs(node.skew_s) <= node.skew_error_s + 0.05 for node in found.nodes)
    names = ("ray cluster", "ray token", "node versions", "node clocks", "node storage")
    assert {name: checks[name].status for name in names} == dict.fromkeys(names, "ok")
    assert checks["nodes"].detail == "2, 5 CPUs and 1 GPUs declared"
    gpus = sum(len(node.gpu_names) for node in found.nodes)
    assert checks["node gpus"].status == ("ok" if gpus else "fail")
    assert list(storage.iterdir()) == [], "the storage test cleans up"


@pytest.mark.parametrize("words", ["data build", "train", "tune", "eval", "serve"])
def test_every_long_command_can_be_submitted(token, stand_in, words):
    command = [*words.split(), "--out", "s3://bucket/x"]
    line = submit.submit(command, "http://127.0.0.1:9", dry_run=True, root=stand_in, say=lambda _line: None).line
    assert line.endswith(f"-- python -m medclm.cli {words} --out s3://bucket/x")


def test_wrong_and_missing_tokens_are_explained(head, token, stand_in):
    token.setenv("RAY_AUTH_TOKEN", "wrong")
    with pytest.raises(MedclmError, match="refuses the Ray token"):
        submit.submit(["train"], head, root=stand_in, say=lambda _line: None)
    token.delenv("RAY_AUTH_TOKEN")
    with pytest.raises(MedclmError, match="none was found") as caught:
        submit.submit(["train"], head, dry_run=True, root=stand_in, say=lambda _line: None)
    assert "ray get-auth-token" in str(caught.value)


def test_unknown_job_is_an_error(head, token):
    with pytest.raises(MedclmError, match="does not know this job"):
        submit.logs("medclm-none", head)


def test_dry_run_needs_no_cluster_and_prints_the_line(token, stand_in):
    said: list[str] = []
    result = submit.submit(
        ["medclm", "data", "build", "--out", "s3://b/c d"],
        "http://127.0.0.1:9",
        dry_run=True,
        root=stand_in,
        say=said.append,
    )
    argv = shlex.split(result.line)
    assert said[-1] == result.line
    assert argv[:2] == ["env", "RAY_AUTH_MODE=token"]
    assert argv[3:7] == ["job", "submit", "--address", "http://127.0.0.1:9"]
    assert argv[argv.index("--") + 1 :] == ["python", "-m", "medclm.cli", "data", "build", "--out", "s3://b/c d"]
    folder = Path(argv[argv.index("--working-dir") + 1])
    assert sorted(path.name for path in folder.rglob("*") if path.is_file()) == [
        "__init__.py",
        "cli.py",
        "runtime_env.yaml",
    ]
    assert argv[argv.index("--runtime-env") + 1] == str(folder / "cluster/runtime_env.yaml")
    assert TOKEN not in result.line
    shutil.rmtree(folder)


def test_job_id_depends_on_the_command_alone():
    assert submit.job_id(["data", "build", "x"]) == submit.job_id(["data", "build", "x"])
    assert submit.job_id(["data", "build", "x"]).startswith("medclm-data-build-")
    assert submit.job_id(["train", "x"]) != submit.job_id(["train", "y"])


@pytest.mark.parametrize("command", [[], ["medclm"], ["--help"], ["submit", "--", "train"]])
def test_commands_that_cannot_be_submitted(command):
    with pytest.raises(UsageError):
        submit.submit(command, "http://127.0.0.1:9", dry_run=True)
