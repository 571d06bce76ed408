"""Everything in cluster/: it parses, its keys exist, its versions are the pinned ones."""

from __future__ import annotations

import importlib.resources
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml
from pydantic import BaseModel, ValidationError

import medclm
from medclm import config
from medclm.errors import UsageError
from tests.cluster import kuberay

ROOT = Path(__file__).resolve().parent.parent.parent
CLUSTER = ROOT / "cluster"
MANIFESTS = sorted(CLUSTER.rglob("*.yaml"))
KUBERAY = sorted((CLUSTER / "kuberay").glob("ray*.yaml"))
"""Those of KubeRay; beside them lie storage.yaml and networkpolicy.yaml."""
RAY_UP = sorted(CLUSTER.glob("ray-cluster*.yaml"))


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


def documents(path: Path) -> list[dict]:
    return list(yaml.safe_load_all(path.read_text()))


def cluster_spec(document: dict) -> dict:
    spec = document["spec"]
    return spec.get("rayClusterSpec") or spec.get("rayClusterConfig") or spec


def containers(document: dict) -> list[dict]:
    spec = cluster_spec(document)
    groups = [spec["headGroupSpec"], *spec["workerGroupSpecs"]]
    return [one for group in groups for one in group["template"]["spec"]["containers"]]


def test_every_manifest_parses():
    assert len(MANIFESTS) >= 20
    for path in MANIFESTS:
        assert all(isinstance(document, dict) for document in documents(path)), path


def test_serve_config():
    check_serve(read(CLUSTER / "serve.yaml"))


def test_the_builder_takes_the_arguments_of_the_yaml_as_serve_hands_them_over():
    """`serve deploy` calls the builder through this function, with the plain dict of the file."""
    from ray.serve._private.api import call_user_app_builder_with_args_if_necessary

    from medclm.serve.app import build_app

    application = read(CLUSTER / "serve.yaml")["applications"][0]
    assert application["import_path"] == "medclm.serve.app:build_app"
    found = call_user_app_builder_with_args_if_necessary(build_app, application["args"])
    assert found._bound_deployment.num_replicas == application["args"]["api_replicas"]
    with pytest.raises(ValueError, match="no_such_setting"):
        call_user_app_builder_with_args_if_necessary(build_app, {"model": "x", "no_such_setting": 1})


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


@pytest.mark.parametrize("path", sorted((CLUSTER / "kuberay").glob("*.yaml")), ids=lambda path: path.name)
def test_kubernetes_would_take_it(path):
    for document in documents(path):
        kuberay.check(document)


@pytest.mark.parametrize(
    ("name", "where", "key", "value"),
    [
        ("raycluster", ["spec"], "rayVersions", "2.60.0"),
        ("raycluster", ["spec", "workerGroupSpecs", 0], "minReplicas", 99),
        ("raycluster", ["spec", "workerGroupSpecs", 0], "replicas", "1"),
        ("raycluster", ["spec", "headGroupSpec", "template", "spec", "containers", 0], "imagePullPolice", "Always"),
        ("raycluster", ["spec", "headGroupSpec", "template", "spec", "volumes", 1, "emptyDir"], "size", "1Gi"),
        ("raycluster", ["spec", "authOptions"], "mode", "tokens"),
        ("rayjob-train", ["spec"], "submissionMode", "K8sMode"),
        ("rayservice", ["spec"], "serveConfig", ""),
        ("networkpolicy", ["spec", "ingress", 0], "form", []),
        ("storage", ["spec"], "accessMode", "ReadWriteMany"),
    ],
)
def test_a_misspelt_key_is_found(name, where, key, value):
    document = documents(CLUSTER / "kuberay" / f"{name}.yaml")[0]
    place = document
    for step in where:
        place = place[step]
    place[key] = value
    with pytest.raises((ValidationError, kubernetes_validate.ValidationError)):
        kuberay.check(document)


@pytest.mark.parametrize("path", KUBERAY, ids=lambda path: path.name)
def test_versions_token_labels_and_images(path):
    """Our image and no registry's address; pods that the network policy knows; a GPU where the CUDA image is."""
    document = read(path)
    spec = cluster_spec(document)
    assert spec["rayVersion"] == pinned("ray")
    assert spec["authOptions"] == {"mode": "token"}
    for group in [spec["headGroupSpec"], *spec["workerGroupSpecs"]]:
        assert group["template"]["metadata"]["labels"] == {"app.kubernetes.io/part-of": "medclm"}
    for container in containers(document):
        image, tag = container["image"].split(":")
        assert image == "medclm"
        assert tag.rpartition("-")[0] == medclm.__version__
        limits = container["resources"]["limits"]
        assert limits == container["resources"]["requests"]
        assert ("nvidia.com/gpu" in limits) == (tag.endswith("-cuda"))


@pytest.mark.parametrize("path", KUBERAY, ids=lambda path: path.name)
def test_shared_memory_is_what_ray_wants_and_fits_the_pod(path):
    """Ray's object store takes 30 % of the memory; pages of /dev/shm count in the container's limit."""
    for group in [cluster_spec(read(path))["headGroupSpec"], *cluster_spec(read(path))["workerGroupSpecs"]]:
        pod = group["template"]["spec"]
        size = next(volume["emptyDir"]["sizeLimit"] for volume in pod["volumes"] if "emptyDir" in volume)
        memory = pod["containers"][0]["resources"]["limits"]["memory"]
        assert 0.25 <= int(size.removesuffix("Gi")) / int(memory.removesuffix("Gi")) <= 0.6


def test_claims_and_secrets_exist():
    made = {(one["kind"], one["metadata"]["name"]) for one in documents(CLUSTER / "kuberay" / "storage.yaml")}
    for path in KUBERAY:
        text = path.read_text()
        claims, secrets = re.findall(r"claimName: ([\w-]+)", text), re.findall(r"secretRef: {name: ([\w-]+)", text)
        assert {("PersistentVolumeClaim", n) for n in claims} | {("Secret", n) for n in secrets} == made


def test_rayservice_carries_the_serve_config():
    document = read(CLUSTER / "kuberay" / "rayservice.yaml")
    assert yaml.safe_load(document["spec"]["serveConfigV2"]) == read(CLUSTER / "serve.yaml")


def job(name: str) -> tuple[dict, list[str]]:
    """A RayJob and the words of its command after ``python -m medclm.cli``."""
    document = read(CLUSTER / "kuberay" / f"rayjob-{name}.yaml")
    words = document["spec"]["entrypoint"].split()
    assert words[:3] == ["python", "-m", "medclm.cli"]
    return document, words[3:]


def gpus_of(document: dict) -> int:
    groups = cluster_spec(document)["workerGroupSpecs"]
    limits = [(g["replicas"], g["template"]["spec"]["containers"][0]["resources"]["limits"]) for g in groups]
    return sum(count * int(limit.get("nvidia.com/gpu", 0)) for count, limit in limits)


def overrides(words: list[str]) -> list[str]:
    return [word for word in words if "=" in word]


@pytest.mark.parametrize("name", ["data", "train", "tune"])
def test_rayjobs_are_commands_that_exist(name):
    """The command line takes every option; the job's environment is the one of `medclm submit`."""
    import typer
    from typer.main import get_command

    from medclm import cli

    document, words = job(name)
    command, rest = get_command(cli.app), words
    while hasattr(command, "commands"):
        command, rest = command.commands[rest[0]], rest[1:]
    command.make_context(name, list(rest), resilient_parsing=False)
    with pytest.raises((typer.BadParameter, Exception), match="No such option"):
        command.make_context(name, [*rest, "--no-such-option"])
    environment = yaml.safe_load(document["spec"]["runtimeEnvYAML"])["env_vars"]
    assert environment == read(CLUSTER / "runtime_env.yaml")["env_vars"]


def test_rayjobs_ask_for_the_gpus_that_they_start():
    document, words = job("data")
    built = config.load(config.BuildConfig, None, overrides(words), images="i", annotations="a", out="o")
    assert built.segmenter_actors == gpus_of(document) == 2
    document, words = job("train")
    trained = config.load(config.TrainConfig, None, overrides(words))
    assert trained.workers == gpus_of(document) == 8
    document, words = job("tune")
    tuned = config.load(config.TuneConfig, None, overrides(words))
    assert tuned.concurrent * tuned.train.workers == gpus_of(document) == 4


TRAINING = [path for path in sorted((CLUSTER / "configs").glob("*.yaml")) if "model" in read(path)]
"""The other one, ablation.yaml, is of `medclm ablate`."""


def test_the_ablation_config_loads():
    assert config.load(config.AblationConfig, CLUSTER / "configs" / "ablation.yaml").train.steps == 300


def dotted(document: dict, prefix: str = "") -> list[str]:
    found = []
    for key, value in document.items():
        found += dotted(value, f"{prefix}{key}.") if isinstance(value, dict) else [prefix + key]
    return found


@pytest.mark.parametrize("path", TRAINING, ids=lambda path: path.name)
def test_run_configs_load(path):
    loaded = config.load(config.TrainConfig, path)
    assert loaded.batch_size % (loaded.workers * loaded.accumulate) == 0
    assert set(config.keys(config.TrainConfig)) >= set(dotted(read(path)))
    with pytest.raises(UsageError, match="unknown"):
        config.load(config.TrainConfig, path, ["optim.learning_rate=1"])


def test_dockerfile_installs_the_pinned_versions():
    text = (CLUSTER / "Dockerfile").read_text()
    installs = [line for line in text.splitlines() if "pip install" in line]
    assert installs
    assert all("--constraint constraints.txt" in line for line in installs)
    assert re.search(r"^FROM python:3\.11-slim$", text, re.MULTILINE)


def test_dockerfile_passes_hadolint():
    hadolint = Path(sys.executable).parent / "hadolint"
    done = subprocess.run([hadolint, "--no-color", CLUSTER / "Dockerfile"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "")


def test_what_the_dockerfile_copies_exists_and_is_not_ignored():
    lines = (CLUSTER / "Dockerfile").read_text().splitlines()
    copied = [name for line in lines if line.startswith("COPY ") for name in line.split()[1:-1]]
    assert copied
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert set(copied) == kept
    assert all((ROOT / name).exists() for name in copied)


def test_no_registry_addresses_and_no_paths_of_one_machine():
    for path in [*MANIFESTS, CLUSTER / "Dockerfile", CLUSTER / "README.md"]:
        text = path.read_text()
        assert not re.search(r"https?://(?!HEAD:|127\.0\.0\.1)", text), path
        assert not re.search(r"/(work|root|Users)/|/home/(?!ray\b)|/tmp/", text), path


def test_readme_names_what_exists():
    text = (CLUSTER / "README.md").read_text()
    for name in re.findall(r"cluster/([\w./-]+\.yaml|Dockerfile)", text):
        assert (CLUSTER / name).is_file(), name
    for path in CLUSTER.iterdir():
        assert path.name in text or path.name == "README.md", path
