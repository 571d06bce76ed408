"""Everything in cluster/: it parses, its keys exist, its versions are the pinned ones."""

from __future__ import annotations

import importlib.resources
import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from pydantic import BaseModel, ValidationError

from medclm import config
from medclm.errors import UsageError

ROOT = Path(__file__).resolve().parent.parent.parent
CLUSTER = ROOT / "cluster"
MANIFESTS = sorted(CLUSTER.rglob("*.yaml"))
KUBERAY = sorted((CLUSTER / "kuberay").glob("*.yaml"))
RAY_UP = sorted(CLUSTER.glob("ray-cluster*.yaml"))

CLUSTER_KEYS = {
    "suspend", "managedBy", "autoscalerOptions", "headServiceAnnotations", "enableInTreeAutoscaling", "authOptions",
    "gcsFaultToleranceOptions", "headGroupSpec", "rayVersion", "workerGroupSpecs", "upgradeStrategy",
}  # fmt: skip
KUBERAY_KEYS = {
    "RayCluster": CLUSTER_KEYS,
    "RayJob": {
        "activeDeadlineSeconds", "backoffLimit", "rayClusterSpec", "submitterPodTemplate", "metadata",
        "clusterSelector", "submitterConfig", "managedBy", "deletionStrategy", "entrypoint", "runtimeEnvYAML", "jobId",
        "submissionMode",
        "entrypointResources", "entrypointNumCpus", "entrypointNumGpus", "ttlSecondsAfterFinished",
        "shutdownAfterJobFinishes", "suspend",
    },
    "RayService": {
        "rayClusterDeletionDelaySeconds", "serviceUnhealthySecondThreshold", "deploymentUnhealthySecondThreshold",
        "serveService", "upgradeStrategy", "serveConfigV2", "rayClusterConfig", "excludeHeadPodFromServeSvc",
    },
    "headGroupSpec": {
        "template", "headService", "enableIngress", "resources", "labels", "rayStartParams", "serviceType",
    },
    "workerGroupSpec": {
        "suspend", "groupName", "replicas", "minReplicas", "maxReplicas", "idleTimeoutSeconds", "resources", "labels",
        "rayStartParams", "template", "scaleStrategy", "numOfHosts",
    },
}  # fmt: skip
"""Field names of the ray.io/v1 resources, from KubeRay's API reference (1.6)."""


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def pinned(package: str) -> str:
    match = re.search(rf"^{package}==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert match, package
    return match[1]


def unknown_keys(given: Any, parsed: Any, path: str = "") -> list[str]:
    """Keys of a document that the model made of it does not have: Ray's schemas drop them without a word."""
    if isinstance(given, dict) and isinstance(parsed, BaseModel):
        fields = type(parsed).model_fields
        found = [f"{path}{key}" for key in given if key not in fields]
        for key in given.keys() & fields.keys():
            found += unknown_keys(given[key], getattr(parsed, key), f"{path}{key}.")
        return found
    if isinstance(given, list) and isinstance(parsed, list):
        return [key for a, b in zip(given, parsed, strict=True) for key in unknown_keys(a, b, path)]
    return []


def check_serve(document: dict) -> None:
    """A Serve config: Ray's schema without unknown keys, the builder imports, its arguments are a ServeConfig."""
    from ray.serve.schema import ServeDeploySchema

    parsed = ServeDeploySchema.model_validate(document)
    assert unknown_keys(document, parsed) == []
    for application in parsed.applications:
        assert application.import_path == "medclm.serve.app:build_app"
        config.ServeConfig.model_validate(application.args)


def cluster_spec(document: dict) -> dict:
    spec = document["spec"]
    return spec.get("rayClusterSpec") or spec.get("rayClusterConfig") or spec


def containers(document: dict) -> list[dict]:
    spec = cluster_spec(document)
    groups = [spec["headGroupSpec"], *spec["workerGroupSpecs"]]
    return [one for group in groups for one in group["template"]["spec"]["containers"]]


def test_every_manifest_parses():
    assert len(MANIFESTS) >= 9
    for path in MANIFESTS:
        assert isinstance(read(path), dict), path


def test_serve_config():
    check_serve(read(CLUSTER / "serve.yaml"))


def test_serve_builder_exists():
    from medclm.serve.app import build_app

    assert callable(build_app)


@pytest.mark.parametrize(
    ("where", "key"), [([], "http_option"), (["applications", 0], "route"), (["http_options"], "prt")]
)
def test_unknown_serve_keys_are_found(where, key):
    document = read(CLUSTER / "serve.yaml")
    place = document
    for step in where:
        place = place[step]
    place[key] = 1
    with pytest.raises((AssertionError, ValidationError)):
        check_serve(document)


def test_unknown_deployment_options_and_arguments_are_found():
    document = read(CLUSTER / "serve.yaml")
    document["applications"][0]["deployments"] = [{"name": "Model", "num_replica": 2}]
    with pytest.raises((AssertionError, ValidationError)):
        check_serve(document)
    document = read(CLUSTER / "serve.yaml")
    document["applications"][0]["args"]["max_batchsize"] = 8
    with pytest.raises(ValidationError):
        check_serve(document)


@pytest.mark.parametrize("path", RAY_UP, ids=lambda path: path.name)
def test_ray_up_files_fit_rays_schema(path):
    schema = json.loads((importlib.resources.files("ray") / "autoscaler" / "ray-schema.json").read_text())
    document = read(path)
    jsonschema.validate(document, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**document, "max_worker": 1}, schema)
    if document["provider"]["type"] == "local":
        assert document["max_workers"] == len(document["provider"]["worker_ips"])
    else:
        assert document["head_node_type"] in document["available_node_types"]
    starts = document["head_start_ray_commands"] + document["worker_start_ray_commands"]
    assert all("RAY_AUTH_MODE=token" in line for line in starts if "ray start" in line)


@pytest.mark.parametrize("path", RAY_UP, ids=lambda path: path.name)
def test_ray_up_files_send_what_exists(path):
    for source in read(path)["file_mounts"].values():
        assert source.startswith("~/.ray/") or source == "README.md" or (ROOT / source).exists(), source


def test_runtime_env_is_one_for_ray():
    from ray.runtime_env import RuntimeEnv

    document = read(CLUSTER / "runtime_env.yaml")
    assert not {"working_dir", "py_modules"} & set(document), "medclm submit sends the working directory"
    assert RuntimeEnv(**document).env_vars()["OMP_NUM_THREADS"] == "1"


@pytest.mark.parametrize("path", KUBERAY, ids=lambda path: path.name)
def test_kuberay_keys_and_versions(path):
    document = read(path)
    assert document["apiVersion"] == "ray.io/v1"
    assert set(document["spec"]) <= KUBERAY_KEYS[document["kind"]]
    spec = cluster_spec(document)
    assert set(spec) <= CLUSTER_KEYS
    assert set(spec["headGroupSpec"]) <= KUBERAY_KEYS["headGroupSpec"]
    for group in spec["workerGroupSpecs"]:
        assert set(group) <= KUBERAY_KEYS["workerGroupSpec"]
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
    assert spec["rayVersion"] == pinned("ray")
    assert spec["authOptions"] == {"mode": "token"}


@pytest.mark.parametrize("path", KUBERAY, ids=lambda path: path.name)
def test_pods_use_our_image_and_the_gpu_groups_ask_for_gpus(path):
    import medclm

    for container in containers(read(path)):
        image, tag = container["image"].split(":")
        assert image == "medclm", "no registry address"
        assert tag.rpartition("-")[0] == medclm.__version__
        limits = container["resources"]["limits"]
        assert limits == container["resources"]["requests"]
        assert ("nvidia.com/gpu" in limits) == (tag.endswith("-cuda"))


def test_rayservice_carries_the_serve_config():
    document = read(CLUSTER / "kuberay" / "rayservice.yaml")
    assert yaml.safe_load(document["spec"]["serveConfigV2"]) == read(CLUSTER / "serve.yaml")


def test_rayjob_runs_a_train_command_that_the_configuration_takes():
    document = read(CLUSTER / "kuberay" / "rayjob-train.yaml")
    words = document["spec"]["entrypoint"].split()
    assert words[:4] == ["python", "-m", "medclm.cli", "train"]
    overrides = [word for word in words if "=" in word]
    loaded = config.load(config.TrainConfig, overrides=overrides)
    gpus = sum(int(container["resources"]["limits"].get("nvidia.com/gpu", 0)) for container in containers(document))
    assert loaded.workers == gpus == 8
    assert loaded.batch_size % (loaded.workers * loaded.accumulate) == 0


@pytest.mark.parametrize("path", sorted((CLUSTER / "configs").glob("*.yaml")), ids=lambda path: path.name)
def test_run_configs_load(path):
    loaded = config.load(config.TrainConfig, path)
    assert loaded.batch_size % (loaded.workers * loaded.accumulate) == 0
    with pytest.raises(UsageError, match="unknown"):
        config.load(config.TrainConfig, path, ["optim.learning_rate=1"])


def test_dockerfile_installs_the_pinned_versions():
    text = (CLUSTER / "Dockerfile").read_text()
    installs = [line for line in text.splitlines() if "pip install" in line]
    assert installs
    assert all("--constraint constraints.txt" in line for line in installs)
    assert re.search(r"^FROM python:3\.11-slim$", text, re.MULTILINE)


def test_no_registry_addresses_and_no_paths_of_one_machine():
    for path in [*MANIFESTS, CLUSTER / "Dockerfile", CLUSTER / "README.md"]:
        text = path.read_text()
        assert not re.search(r"https?://(?!127\.0\.0\.1)", text), path
        assert not re.search(r"/(work|root|Users)/|/home/(?!ray\b)|/tmp/", text), path


def test_readme_names_what_exists():
    text = (CLUSTER / "README.md").read_text()
    for name in re.findall(r"cluster/([\w./-]+\.yaml|Dockerfile)", text):
        assert (CLUSTER / name).is_file(), name
    for path in CLUSTER.iterdir():
        assert path.name in text or path.name == "README.md", path
