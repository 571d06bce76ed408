"""The ray.io/v1 resources of KubeRay 1.6 as strict models: an unknown key or a wrong type is an error.

Written after KubeRay's API reference, because its CRD files are on no package index. Pod templates and everything of
Kubernetes itself are checked against Kubernetes' own schemas, which the package ``kubernetes-validate`` carries.
"""

from __future__ import annotations

from typing import Any, Literal

import kubernetes_validate
from pydantic import BaseModel, ConfigDict, Field, model_validator


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Metadata(Strict):
    name: str = Field(pattern=r"^[a-z]([-a-z0-9]{0,48}[a-z0-9])?$")  # KubeRay adds to it, and 63 is the limit
    namespace: str | None = None
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class AutoscalerOptions(Strict):
    version: Literal["v1", "v2"] | None = None
    idleTimeoutSeconds: int | None = None  # noqa: N815
    upscalingMode: Literal["Default", "Aggressive", "Conservative"] | None = None  # noqa: N815
    resources: dict[str, Any] | None = None


class AuthOptions(Strict):
    mode: Literal["disabled", "token"]
    secretName: str | None = None  # noqa: N815
    enableK8sTokenAuth: bool | None = None  # noqa: N815


class Group(Strict):
    rayStartParams: dict[str, str] = {}  # noqa: N815
    template: dict[str, Any]
    resources: dict[str, str] = {}
    labels: dict[str, str] = {}

    @model_validator(mode="after")
    def template_is_a_pods(self) -> Group:
        metadata = {"name": "pod", **self.template.get("metadata", {})}
        assert set(self.template) <= {"metadata", "spec"}
        check_core({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": self.template["spec"]})
        return self


class HeadGroup(Group):
    serviceType: Literal["ClusterIP", "NodePort", "LoadBalancer"] | None = None  # noqa: N815
    enableIngress: bool | None = None  # noqa: N815


class WorkerGroup(Group):
    groupName: str  # noqa: N815
    replicas: int = Field(0, ge=0)
    minReplicas: int = Field(ge=0)  # noqa: N815
    maxReplicas: int = Field(ge=0)  # noqa: N815
    numOfHosts: int = Field(1, ge=1)  # noqa: N815
    idleTimeoutSeconds: int | None = None  # noqa: N815

    @model_validator(mode="after")
    def replicas_are_between(self) -> WorkerGroup:
        assert self.minReplicas <= self.replicas <= self.maxReplicas, self.groupName
        return self


class ClusterSpec(Strict):
    rayVersion: str  # noqa: N815
    enableInTreeAutoscaling: bool = False  # noqa: N815
    autoscalerOptions: AutoscalerOptions | None = None  # noqa: N815
    authOptions: AuthOptions  # noqa: N815
    headGroupSpec: HeadGroup  # noqa: N815
    workerGroupSpecs: list[WorkerGroup]  # noqa: N815


class JobSpec(Strict):
    entrypoint: str
    runtimeEnvYAML: str  # noqa: N815
    submissionMode: Literal["K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"] = "K8sJobMode"  # noqa: N815
    backoffLimit: int = Field(0, ge=0)  # noqa: N815
    activeDeadlineSeconds: int | None = None  # noqa: N815
    shutdownAfterJobFinishes: bool = False  # noqa: N815
    ttlSecondsAfterFinished: int = 0  # noqa: N815
    rayClusterSpec: ClusterSpec  # noqa: N815


class ServiceSpec(Strict):
    serveConfigV2: str  # noqa: N815
    rayClusterConfig: ClusterSpec  # noqa: N815
    rayClusterDeletionDelaySeconds: int | None = None  # noqa: N815
    excludeHeadPodFromServeSvc: bool | None = None  # noqa: N815


SPECS: dict[str, type[Strict]] = {"RayCluster": ClusterSpec, "RayJob": JobSpec, "RayService": ServiceSpec}


def check(document: dict[str, Any]) -> None:
    """One document of a manifest, of KubeRay or of Kubernetes.

    Raises:
        pydantic.ValidationError, kubernetes_validate.ValidationError: it is not one that the cluster would take.
    """
    if document["apiVersion"] == "ray.io/v1":
        assert set(document) == {"apiVersion", "kind", "metadata", "spec"}, set(document)
        Metadata.model_validate(document["metadata"])
        SPECS[document["kind"]].model_validate(document["spec"])
    else:
        check_core(document)


def check_core(document: dict[str, Any]) -> None:
    """A document of Kubernetes itself, strictly: its schemas know every key."""
    kubernetes_validate.validate(document, "1.34", strict=True)
