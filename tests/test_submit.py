"""Submitting to a real Ray head with token authentication, started here on its own ports and stopped by its process.

Slow for a unit test (half a minute on a quiet machine): a Ray head takes 6 s to start and each job 3 to 8 s.
"""

from __future__ import annotations

import os
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from medclm import raycluster, submit
from medclm.errors import MedclmError, UsageError

ROOT = Path(__file__).resolve().parent.parent
TOKEN = "0123456789abcdef" * 4
STAND_IN = """
import sys, time
print("stand-in", *sys.argv[1:], flush=True)
if "sleep" in sys.argv:
    time.sleep(300)
sys.exit(3 if "fail" in sys.argv else 0)
"""


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
    """Address of a Ray head that asks for TOKEN."""
    folder = tempfile.mkdtemp(prefix="mr", dir="/tmp")  # short: Ray's socket paths have 107 bytes
    names = [
        *("port", "dashboard-port", "ray-client-server-port", "dashboard-agent-listen-port"),
        *("dashboard-agent-grpc-port", "runtime-env-agent-port", "metrics-export-port"),
        *("object-manager-port", "node-manager-port"),
    ]
    ports = dict(zip(names, free_ports(len(names)), strict=True))
    argv = [str(Path(sys.executable).parent / "ray"), "start", "--head", "--block", "--disable-usage-stats"]
    argv += [f"--{name}={port}" for name, port in ports.items()]
    argv += [f"--temp-dir={folder}", "--num-cpus=4", "--object-store-memory=100000000", "--dashboard-host=127.0.0.1"]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])  # as in an activated environment
    env = {**os.environ, "PATH": path, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN}
    with open(Path(folder) / "head.log", "w") as log:
        process = subprocess.Popen(argv, env=env, stdout=log, stderr=log, start_new_session=True)
    try:
        address = f"http://127.0.0.1:{ports['dashboard-port']}"
        wait_until_up(address, process, Path(folder) / "head.log")
        yield address
    finally:
        end_session(process.pid)
        process.wait(10)
        shutil.rmtree(folder, ignore_errors=True)


def wait_until_up(address: str, process: subprocess.Popen, log: Path) -> None:
    import requests

    for _ in range(120):
        assert process.poll() is None, log.read_text()
        try:
            answer = requests.get(f"{address}/api/jobs/", headers={"Authorization": f"Bearer {TOKEN}"}, timeout=5)
            if answer.ok:
                return
        except requests.ConnectionError:
            pass
        time.sleep(0.5)
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


def test_job_runs_the_sent_copy_and_its_exit_code_comes_back(head, token, stand_in, capfd):
    said: list[str] = []
    result = submit.submit(["data", "build", "--name", "a b"], head, root=stand_in, say=said.append)
    assert (result.status, result.exit_code, result.files) == ("SUCCEEDED", 0, 3)
    assert "stand-in data build --name a b" in capfd.readouterr().out
    assert said[0] == "working directory: 3 files, 0.0 MiB (limit 100 MiB)"
    assert said[1] == result.line
    assert "stand-in data build --name a b" in submit.logs(result.submission_id, head)
    assert not Path(shlex.split(result.line)[shlex.split(result.line).index("--working-dir") + 1]).exists()


def test_a_failing_job_is_followed_from_another_process(head, token, stand_in):
    lines: list[str] = []
    submitted = submit.submit(["fail"], head, follow=False, root=stand_in, say=lambda _line: None)
    job = submit.follow(submitted.submission_id, head, say=lines.append)
    assert (job.status, job.exit_code) == ("FAILED", 3)
    assert "stand-in fail" in lines


def test_the_same_command_is_refused_while_it_runs_and_can_be_stopped(head, token, stand_in):
    said: list[str] = []
    first = submit.submit(["train", "sleep"], head, follow=False, root=stand_in, say=said.append)
    assert (first.status, first.exit_code) == ("SUBMITTED", 0)
    with pytest.raises(MedclmError, match="running already") as caught:
        submit.submit(["train", "sleep"], head, root=stand_in, say=said.append)
    assert f"--follow {first.submission_id}" in str(caught.value)
    job = submit.stop(first.submission_id, head)
    assert (job.status, job.exit_code) == ("STOPPED", 1)
    again = submit.submit(["train", "sleep"], head, dry_run=True, root=stand_in, say=said.append)
    assert again.submission_id == f"{first.submission_id}-2", "an ended job's command gets the next id"


def test_a_data_build_and_a_training_run_as_jobs(head, token, tmp_path):
    from medclm.data import shards
    from medclm.samples.phantom import write_phantom

    write_phantom(tmp_path / "phantom", 6, seed=1, size=64)
    (tmp_path / "empty").mkdir()
    command = ["data", "build", "--images", f"{tmp_path}/phantom/images", "--out", f"{tmp_path}/built"]
    command += [
        "--annotations",
        f"{tmp_path}/phantom/annotations.json",
        "--segmenter",
        f"masks:{tmp_path}/phantom/masks",
    ]
    result = submit.submit(command, head, root=tmp_path / "empty", say=print)
    assert result.exit_code == 0
    assert shards.read_manifest(f"{tmp_path}/built")["rows"] == 6
    tiny = {"image_size": 32, "vision_width": 16, "vision_layers": 1, "text_width": 16, "text_layers": 2, "heads": 2}
    settings = [f"model.tiny.{key}={value}" for key, value in tiny.items()]
    command = ["train", "--data", f"{tmp_path}/built", "--out", f"{tmp_path}/run", "steps=2", "batch_size=2", *settings]
    result = submit.submit(command, head, root=tmp_path / "empty", say=print)
    assert result.exit_code == 0
    assert (tmp_path / "run" / "model" / "model.safetensors").is_file()


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
