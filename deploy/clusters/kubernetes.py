"""Hone on Kubernetes with KubeRay: the manifests of ``deploy/kubernetes``, made from the settings and held against them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml

from core.settings import Settings
from deploy.clusters.serve_config import changed_settings, serve_config

RAY = "2.60.0"
IMAGE = "hone:0.1.0"
_STATE = "/var/lib/hone"
_LABELS = {"app.kubernetes.io/name": "hone"}
_SECRET, _METRICS_SECRET = "hone-secrets", "hone-metrics"
# KubeRay finds the proxies by this name.
_PROXY = "serve"
_DASHBOARD_PORT = 8265
_AGENT_PORT = 52365


def cluster_settings() -> Settings:
    """Return the settings that the manifests in the repository are made for; not those of whoever makes them."""
    fields = Settings.model_fields.items()
    defaults = {name: field.default for name, field in fields if field.default_factory is None}
    return Settings.model_validate({**defaults, "HONE_HOME": _STATE, "host": "0.0.0.0", "replicas": 2})  # noqa: S104 - a pod's own


def manifests(settings: Settings, *others: Settings) -> dict[str, str]:
    """Return the files of a kustomize base, by name; ``others`` are classifiers beside the first, on the same nodes."""
    every = (settings, *others)
    objects = {
        "settings.yaml": _object("v1", "ConfigMap", "hone-settings", data=changed_settings(settings)),
        "state.yaml": _state(),
        "service.yaml": _ray_service(every),
        **{f"{_learner_name(one)}.yaml": _learner(one, settings) for one in every},
        "network.yaml": _network(settings),
        "disruption.yaml": _disruption(),
        "monitoring.yaml": _monitoring(every),
    }
    files = {name: to_yaml(body) for name, body in objects.items()}
    base = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization", "resources": sorted(objects)}
    return {**files, "kustomization.yaml": to_yaml(base)}


def _object(version: str, kind: str, name: str, **body: Any) -> dict[str, Any]:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name, "labels": _LABELS}, **body}


def _state() -> dict[str, Any]:
    # Replicas on several nodes and the learner share it.
    spec = {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "20Gi"}}}
    return _object("v1", "PersistentVolumeClaim", "hone-state", spec=spec)


def _ray_service(every: Sequence[Settings]) -> dict[str, Any]:
    settings = every[0]
    head = {
        # The head places and watches; what answers runs on workers, so that the loss of the head stops nobody.
        "rayStartParams": {"num-cpus": "0", "dashboard-host": "0.0.0.0"},  # noqa: S104 - closed by network.yaml
        "template": {"metadata": {"labels": _LABELS}, "spec": _pod(settings, "ray-head", {"cpu": "1", "memory": "4Gi"})},
    }
    workers = {
        "groupName": "replicas",
        "replicas": 2,
        "minReplicas": 2,
        "maxReplicas": 2,
        "rayStartParams": {},
        "template": {"metadata": {"labels": _LABELS}, "spec": _pod(settings, "ray-worker", {"cpu": "2", "memory": "6Gi"})},
    }
    spec = {
        "serveConfigV2": to_yaml(serve_config(*every, environment=False)),
        # The new cluster is made beside the old one and takes over when it answers.
        "upgradeStrategy": {"type": "NewCluster"},
        "rayClusterConfig": {"rayVersion": RAY, "headGroupSpec": head, "workerGroupSpecs": [workers]},
    }
    return _object("ray.io/v1", "RayService", "hone", spec=spec)


def _pod(settings: Settings, name: str, room: dict[str, str]) -> dict[str, Any]:
    container = _container(name, room)
    container["ports"] = [{"containerPort": settings.port, "name": _PROXY}]
    if name == "ray-head":
        container["ports"] += [
            {"containerPort": port, "name": what} for what, port in (("gcs", 6379), ("dashboard", _DASHBOARD_PORT))
        ]
    # Those that KubeRay would put there ask with a program that the image does not have.
    container["livenessProbe"] = _probe(_AGENT_PORT, "/api/local_raylet_healthz", failures=30)
    ready = (_AGENT_PORT, "/api/local_raylet_healthz") if name == "ray-head" else (settings.port, "/-/healthz")
    container["readinessProbe"] = _probe(*ready, failures=3)
    return {"securityContext": _unprivileged(), "containers": [container], "volumes": _volumes()}


def _probe(port: int, path: str, *, failures: int) -> dict[str, Any]:
    code = f"import urllib.request as u; u.urlopen('http://127.0.0.1:{port}{path}', timeout=4)"
    return {
        "exec": {"command": ["python", "-c", code]},
        "initialDelaySeconds": 10,
        "periodSeconds": 10,
        "timeoutSeconds": 5,
        "failureThreshold": failures,
    }


def _container(name: str, room: dict[str, str]) -> dict[str, Any]:
    return {
        "name": name,
        "image": IMAGE,
        "envFrom": [{"configMapRef": {"name": "hone-settings"}}, {"secretRef": {"name": _SECRET}}],
        "resources": {"requests": room, "limits": {"memory": room["memory"]}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "state", "mountPath": _STATE},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - a volume of the pod's own
            {"name": "shm", "mountPath": "/dev/shm"},  # noqa: S108 - Ray's object store
        ],
    }


def _volumes() -> list[dict[str, Any]]:
    return [
        {"name": "state", "persistentVolumeClaim": {"claimName": "hone-state"}},
        {"name": "tmp", "emptyDir": {}},
        {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "1Gi"}},
    ]


def _unprivileged() -> dict[str, Any]:
    profile = {"type": "RuntimeDefault"}
    return {"runAsNonRoot": True, "runAsUser": 10001, "runAsGroup": 10001, "fsGroup": 10001, "seccompProfile": profile}


def _learner_name(settings: Settings) -> str:
    return f"learner-{settings.name}" if settings.name else "learner"


def _learner(settings: Settings, first: Settings) -> dict[str, Any]:
    container = _container("learner", {"cpu": "100m", "memory": "512Mi"})
    common = changed_settings(first)
    own = {name: value for name, value in changed_settings(settings).items() if common.get(name) != value}
    if own:
        container["env"] = [{"name": name, "value": value} for name, value in own.items()]
    container["command"] = ["python", "-m", "deploy.clusters.learner_job", "--address", "http://hone-head-svc:8265"]
    pod = {
        "restartPolicy": "Never",
        "securityContext": _unprivileged(),
        "automountServiceAccountToken": False,
        "containers": [container],
        "volumes": _volumes(),
    }
    job = {"backoffLimit": 0, "activeDeadlineSeconds": 120, "template": {"metadata": {"labels": _LABELS}, "spec": pod}}
    spec = {
        # Looks every minute whether the learner still works in the cluster, and starts it there if not.
        "schedule": "* * * * *",
        "concurrencyPolicy": "Forbid",
        "successfulJobsHistoryLimit": 1,
        "failedJobsHistoryLimit": 3,
        "jobTemplate": {"spec": job},
    }
    return _object("batch/v1", "CronJob", f"hone-{_learner_name(settings)}", spec=spec)


def _network(settings: Settings) -> dict[str, Any]:
    own = {"podSelector": {"matchLabels": _LABELS}}
    operator = {
        "namespaceSelector": {},
        "podSelector": {"matchLabels": {"app.kubernetes.io/name": "kuberay-operator"}},
    }
    spec = {
        "podSelector": {"matchLabels": _LABELS},
        "policyTypes": ["Ingress"],
        "ingress": [
            # Among themselves the nodes of Ray need every port.
            {"from": [own]},
            # From anywhere else: the proxy, which asks for keys. Replicas' own ports, Ray's and the dashboard stay closed.
            {"ports": [{"port": settings.port, "protocol": "TCP"}]},
            # KubeRay's operator deploys through the dashboard's port.
            {"from": [operator], "ports": [{"port": _DASHBOARD_PORT, "protocol": "TCP"}]},
        ],
    }
    return _object("networking.k8s.io/v1", "NetworkPolicy", "hone", spec=spec)


def _disruption() -> dict[str, Any]:
    selector = {"matchLabels": {**_LABELS, "ray.io/node-type": "worker"}}
    return _object("policy/v1", "PodDisruptionBudget", "hone", spec={"maxUnavailable": 1, "selector": selector})


def _told_apart(settings: Settings) -> list[dict[str, str]]:
    # What dashboards and alerts tell deployments and models apart by.
    labels = {"deployment": settings.app_name, "model": settings.name}
    return [{"targetLabel": name, "replacement": value} for name, value in labels.items()]


def _monitoring(every: Sequence[Settings]) -> dict[str, Any]:
    # Any replica answers for the whole cluster, so one target is enough: the stable service that KubeRay makes.
    endpoints = [
        {
            "port": _PROXY,
            "path": f"{one.route_prefix}/metrics",
            "interval": "15s",
            "authorization": {"credentials": {"name": _METRICS_SECRET, "key": "key"}},
            **({"relabelings": _told_apart(one)} if one.name else {}),
        }
        for one in every
    ]
    selector = {"matchLabels": {"ray.io/serve": "hone-serve"}}
    return _object("monitoring.coreos.com/v1", "ServiceMonitor", "hone", spec={"selector": selector, "endpoints": endpoints})


class _Block(yaml.SafeDumper):
    """Writes what has lines as lines."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - the signature is PyYAML's
        return True


def _write_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Block.add_representer(str, _write_text)


def to_yaml(body: object) -> str:
    """Return ``body`` as a YAML document in the order it has."""
    return yaml.dump(body, Dumper=_Block, sort_keys=False, allow_unicode=True, width=120)
