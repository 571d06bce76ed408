"""`make bench-cluster`: the jobs on several Ray nodes of this machine, nodes killed under them; writes a JSON file.

Each scenario ends in facts that can be wrong: where a stage ran, whether the content is the undisturbed one, how long
the gap was. ``--quick`` is what the tests run: small, and with a dead node noticed in a second.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

import node_rates
import several_nodes
from node_rates import build, phantom
from several_nodes import Nodes, until

from medclm import session

HERE = Path(__file__).resolve().parent
TINY = {"vision": "random", "image_size": 32, "patch_size": 8, "scale": 1, "vision_width": 16, "vision_layers": 1,
        "text_width": 16, "text_layers": 2, "heads": 2, "vocabulary": 512}  # fmt: skip


DRAIN_STEPS = 600
"""Steps of the run whose node is drained: enough for Ray to notice while it trains."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--images", type=int, default=None)
    parser.add_argument("--only", choices=["data", "train", "serve"], default=None)
    parser.add_argument("--scaling", action="store_true", help="builds on 1, 2 and 4 nodes of 0.3 of a core each")
    parser.add_argument("--out", type=Path, default=Path("bench-cluster.json"))
    arguments = parser.parse_args()
    if arguments.quick:
        os.environ.update(several_nodes.QUICK_CHECKS)
    results: dict[str, Any] = {"quick": arguments.quick, "cpus": os.cpu_count()}
    with tempfile.TemporaryDirectory(prefix="medclm-nodes-") as name:
        work = Path(name)
        images = arguments.images or (24 if arguments.quick else 200)
        phantom(work, images, 96 if arguments.quick else 256)
        if not arguments.scaling:
            scenarios(work, results, [arguments.only] if arguments.only else ["data", "train", "serve"])
        else:
            results["scaling"] = node_rates.scaling(work)
    arguments.out.write_text(json.dumps(results, indent=2) + "\n")
    print(json.dumps(results, indent=2))


def scenarios(work: Path, results: dict[str, Any], parts: list[str]) -> None:
    """Every job in turn on one cluster: four nodes with a CPU, and one that declares a GPU."""
    with Nodes(dashboard="serve" in parts) as nodes:
        for name in ("cpu-1", "cpu-2", "cpu-3", "cpu-4"):
            nodes.add(name, num_cpus=1)
        nodes.add("gpu-1", num_cpus=0, num_gpus=1)
        run(results, "placement", placement, nodes, work)
        if "data" in parts:
            run(results, "data_kill", data_kill, nodes, work)
            run(results, "spill", spill, nodes, work)
        nodes.kill("gpu-2" if "data" in parts else "gpu-1")  # training would take a declared GPU for a real one
        until(lambda: not session.has_gpus())  # a dead node counts until Ray has noticed
        if "train" in parts:
            run(results, "train_kill", train_kill, nodes, work)
            run(results, "train_drain", train_drain, nodes, work)
        if "serve" in parts:
            run(results, "serve_kill", serve_kill, nodes, work)
            run(results, "serve_yaml", serve_yaml, nodes, work)


def run(results: dict[str, Any], name: str, scenario: Any, *arguments: Any) -> None:
    began = time.monotonic()
    results[name] = scenario(*arguments, results) | {"wall_s": round(time.monotonic() - began, 1)}
    print(f"{name}: {results[name]}", file=sys.stderr, flush=True)


# ---------------------------------------------------------------- data


def placement(nodes: Nodes, work: Path, _results: dict) -> dict[str, Any]:
    """Which nodes each stage ran on, and the content hash that the disturbed builds must have, too."""
    from medclm.data import pipeline

    where = work / "where"
    where.mkdir()
    kept = pipeline.decode, pipeline.Segment, pipeline.Annotate
    pipeline.decode = noted(pipeline.decode, where)  # type: ignore[assignment]
    pipeline.Segment, pipeline.Annotate = noted_class(kept[1], where), noted_class(kept[2], where)  # type: ignore
    try:
        manifest = build(work, "whole", num_gpus=1)
    finally:
        pipeline.decode, pipeline.Segment, pipeline.Annotate = kept  # type: ignore[misc]
    seen: dict[str, set[str]] = {}
    for path in where.iterdir():
        stage, _, node = path.name.partition("@")
        seen.setdefault(stage, set()).add(nodes.name_of(node))
    return {"nodes": {stage: sorted(names) for stage, names in sorted(seen.items())}, "rows": manifest["rows"],
            "content_hash": manifest["content_hash"], "seconds": manifest["seconds"]}  # fmt: skip


def noted(stage: Any, where: Path) -> Any:
    """The stage, which also leaves a file named after itself and its node."""

    def decode(*arguments: Any, **more: Any) -> Any:
        import ray

        (where / f"decode@{ray.get_runtime_context().get_node_id()}").touch()
        return stage(*arguments, **more)

    return decode


def noted_class(stage: type, where: Path) -> type:
    def begin(self: Any, *arguments: Any, **more: Any) -> None:
        import ray

        (where / f"{stage.__name__}@{ray.get_runtime_context().get_node_id()}").touch()
        stage.__init__(self, *arguments, **more)

    return type(stage.__name__, (stage,), {"__init__": begin})


def data_kill(nodes: Nodes, work: Path, results: dict) -> dict[str, Any]:
    """A node with CPUs dies after the first shard, then the one with the GPU; a new one with a GPU joins later."""
    killed: list[str] = []

    def kill(done: int, _total: int) -> None:
        if not killed:
            killed.append("cpu-3")
            nodes.kill("cpu-3")
            killed.append("gpu-1")
            nodes.kill("gpu-1")
            nodes.add("gpu-2", num_cpus=0, num_gpus=1)

    manifest = build(work, "killed", kill, num_gpus=1)
    nodes.add("cpu-3", num_cpus=1)
    return {"killed": killed, "rows": manifest["rows"], "rejected": manifest["rejected"],
            "same_content": manifest["content_hash"] == results["placement"]["content_hash"],
            "seconds": manifest["seconds"], "undisturbed_s": results["placement"]["seconds"]}  # fmt: skip


def spill(nodes: Nodes, work: Path, results: dict) -> dict[str, Any]:
    """A build while the driver holds twice its object store; what was spilled comes back as it was."""
    import numpy as np
    import ray

    count, each = 8, nodes.store_bytes // 4
    held = [ray.put(np.full(each, n, np.uint8)) for n in range(count)]
    manifest = build(work, "spilled", num_gpus=1)
    intact = all((ray.get(one) == n).all() for n, one in enumerate(held))
    return {"store_bytes": nodes.store_bytes, "held_bytes": count * each, "intact": bool(intact),
            "spilled_bytes": several_nodes.spilled_bytes(nodes.context.address_info["gcs_address"]),
            "same_content": manifest["content_hash"] == results["placement"]["content_hash"],
            "seconds": manifest["seconds"]}  # fmt: skip


# ---------------------------------------------------------------- training and serving


def train_kill(nodes: Nodes, work: Path, results: dict) -> dict[str, Any]:
    """Two workers on two nodes, one node killed after a checkpoint; the weights of a run that nobody disturbed."""
    from medclm.train import launch

    config = training(steps=8)
    whole = launch.train(str(work / "whole"), str(work / "run"), config)
    events: dict[str, Any] = {}

    def watch() -> None:
        folder = work / "run-killed" / "checkpoints"
        until(lambda: list(folder.rglob("rank-0.pt")))
        events["node"] = (nodes.busy() or ["cpu-1"])[0]
        events["steps_at_kill"] = len(list(folder.rglob("rank-0.pt"))) * 2
        events["at"] = nodes.kill(events["node"])

    watcher = threading.Thread(target=watch)
    watcher.start()
    killed = launch.train(str(work / "whole"), str(work / "run-killed"), config)
    watcher.join()
    nodes.add(events["node"], num_cpus=1)
    same = digest(whole.model_dir) == digest(killed.model_dir)
    return {"node": events["node"], "steps_at_kill": events["steps_at_kill"], "steps": killed.steps,
            "same_weights": same, "seconds": killed.seconds, "undisturbed_s": whole.seconds}  # fmt: skip


def train_drain(nodes: Nodes, work: Path, results: dict) -> dict[str, Any]:
    """A node is about to be taken away: the run saves at once, goes on, loses the node, and goes on from there."""
    from medclm.train import launch

    config = training(steps=DRAIN_STEPS).model_copy(update={"checkpoint_every": DRAIN_STEPS})
    folder, events = work / "run-drained", {}

    def saved() -> list[Path]:
        return list((folder / "checkpoints").rglob("rank-0.pt"))

    def watch(step: int, steps: int, metrics: dict[str, float]) -> None:
        if "node" not in events and step >= 2:
            events["node"], events["told_at"] = (nodes.busy() or ["cpu-1"])[0], step
            nodes.drain(events["node"], 60)
        if "killed" not in events and saved():
            events["killed_at"], events["killed"] = step, nodes.kill(events["node"])

    drained = launch.train(str(work / "whole"), str(folder), config, watch)
    nodes.add(events["node"], num_cpus=1)
    return {"node": events["node"], "told_at": events["told_at"], "killed_at": events.get("killed_at"),
            "steps": drained.steps, "seconds": drained.seconds}  # fmt: skip


def training(steps: int) -> Any:
    from medclm.config import TrainConfig

    return TrainConfig.model_validate({
        "model": {"tiny": TINY}, "schedule": {"name": "uniform"}, "steps": steps, "batch_size": 4, "workers": 2,
        "checkpoint_every": 2, "log_every": 1, "evaluate_limit": 1, "max_failures": 3,
    })  # fmt: skip


def digest(model: str) -> str:
    return hashlib.sha256((Path(model) / "model.safetensors").read_bytes()).hexdigest()


def serve_kill(nodes: Nodes, work: Path, results: dict) -> dict[str, Any]:
    """Two replicas on two nodes answer four clients, one node is killed, the clients try again where they must."""
    from ray import serve

    from medclm.config import ServeConfig
    from medclm.serve.app import run_app, stop_app

    model, port = trained_model(work), free_port()
    serve.start(proxy_location="HeadOnly", http_options={"host": "127.0.0.1", "port": port})
    config = ServeConfig(model=model, name="nodes", port=port, min_replicas=2, max_replicas=2, max_new_tokens=4)
    address = run_app(config)
    until(lambda: len(nodes.busy()) == 2)
    picture = next((work / "phantom" / "images").iterdir()).read_bytes()
    expected = [ask(address, picture, n)["text"] for n in range(4)]
    with ThreadPoolExecutor(4) as pool:
        clients = [pool.submit(client, address, picture, n, 40) for n in range(4)]
        time.sleep(1)
        node = nodes.busy()[0]
        nodes.kill(node)
        answers = [one.result() for one in clients]
    nodes.add(node, num_cpus=1)
    stop_app("nodes")
    serve.shutdown()
    told = [answer for one in answers for answer in one]
    return {"node": node, "requests": len(told), "answered": sum(a["text"] is not None for a in told),
            "right": sum(a["text"] == expected[n] for n, one in enumerate(answers) for a in one),
            "tried_again": sum(a["tries"] > 1 for a in told), "longest_s": max(a["seconds"] for a in told)}  # fmt: skip


def trained_model(work: Path) -> str:
    """The undisturbed run's model, trained now where the training scenario was left out."""
    if not (work / "run" / "model").is_dir():
        from medclm.train import launch

        launch.train(str(work / "whole"), str(work / "run"), training(steps=1))
    return str(work / "run" / "model")


def serve_yaml(nodes: Nodes, work: Path, results: dict) -> dict[str, Any]:
    """cluster/serve.yaml through `serve deploy`, on a port of its own, without GPUs and with the tiny model."""
    import httpx
    import yaml
    from ray import serve

    document = yaml.safe_load((HERE.parent / "cluster" / "serve.yaml").read_text())
    document["proxy_location"], document["http_options"]["port"] = "HeadOnly", free_port()
    document["applications"][0]["args"] |= {"model": trained_model(work), "num_gpus": 0, "num_cpus": 1, "threads": 1}
    file = work / "serve.yaml"
    file.write_text(yaml.safe_dump(document))
    command = [Path(sys.executable).parent / "serve", "deploy", "--address", nodes.dashboard, str(file)]
    env = {**os.environ, "RAY_AUTH_MODE": "token", "PYTHONPATH": str(HERE.parent)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    began, address = time.monotonic(), f"http://127.0.0.1:{document['http_options']['port']}"
    until(lambda: ready(address))  # Serve knows no route of the application before it is up
    picture = next((work / "phantom" / "images").iterdir()).read_bytes()
    answer = ask(address, picture, 0)
    assert answer["text"], answer
    health = httpx.get(f"{address}/healthz", timeout=10).json()
    serve.shutdown()
    return {"answered": True, "health": health, "ready_s": time.monotonic() - began}


def ready(address: str) -> bool:
    import httpx

    try:
        return httpx.get(f"{address}/readyz", timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def client(address: str, picture: bytes, number: int, requests: int) -> list[dict[str, Any]]:
    return [ask(address, picture, number) for _ in range(requests)]


def ask(address: str, picture: bytes, number: int, tries: int = 60) -> dict[str, Any]:
    """One question, asked again while the server fails: the text (None: never), the tries, the seconds in all."""
    import httpx

    form, began = {"question": f"Is it number {number}?", "mode": "answer"}, time.monotonic()
    for attempt in range(1, tries + 1):
        try:
            response = httpx.post(f"{address}/v1/predict", files={"file": picture}, data=form, timeout=30)
            if response.status_code == 200:
                return {"text": response.json()["text"], "tries": attempt, "seconds": time.monotonic() - began}
            assert response.status_code >= 429, response.text
        except httpx.TransportError:
            pass  # the connection broke: the same as a failed answer
        time.sleep(0.5)
    return {"text": None, "tries": tries, "seconds": time.monotonic() - began}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


if __name__ == "__main__":
    main()
