"""What clusters are told: Ray takes its configuration, Kubernetes' schemas the manifests; both say what the settings say."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import kubernetes_validate
import pytest
import yaml
from ray.serve.schema import ServeDeploySchema

from core.errors import Exposed, StackError
from core.settings import Settings
from deploy.clusters import learner_job
from deploy.clusters.kubernetes import IMAGE, RAY, cluster_settings, manifests
from deploy.clusters.learner_job import ensure_learner
from deploy.clusters.serve_config import APPLICATION, changed_settings, serve_config
from deploy.reference import ROOT
from tests.deploy.conftest import RunHone

KUBERNETES = ROOT / "deploy" / "kubernetes"
OBJECTS: dict[str, dict[str, Any]] = {
    path.name: yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted(KUBERNETES.glob("*.yaml"))
}
# Kinds of others, whose schemas no package holds.
FOREIGN = {"RayService", "ServiceMonitor", "Kustomization"}


def _pods() -> dict[str, dict[str, Any]]:
    ray = OBJECTS["service.yaml"]["spec"]["rayClusterConfig"]
    return {
        "head": ray["headGroupSpec"]["template"],
        "worker": ray["workerGroupSpecs"][0]["template"],
        "learner": OBJECTS["learner.yaml"]["spec"]["jobTemplate"]["spec"]["template"],
    }


def test_ray_takes_the_configuration_in_the_repository() -> None:
    made = yaml.safe_load((ROOT / "deploy" / "ray" / "serve.yaml").read_text(encoding="utf-8"))
    schema = ServeDeploySchema.model_validate(made)
    assert [application.import_path for application in schema.applications] == [APPLICATION]
    # Ray drops what it does not know without a word; here nothing is dropped.
    assert set(made) <= set(ServeDeploySchema.model_fields)
    assert set(made["applications"][0]) <= set(type(schema.applications[0]).model_fields)
    assert set(made["http_options"]) <= set(type(schema.http_options).model_fields)


def test_the_configuration_says_what_the_settings_say_and_no_secret(hone: RunHone) -> None:
    printed = yaml.safe_load(hone("cluster", "ray").stdout)
    assert ServeDeploySchema.model_validate(printed)
    secrets = {"store_url": "postgresql://hone:hunter2@db/hone", "api_key": "hone_secret"}
    settings = cluster_settings().model_copy(update={"learn_on_drift": False, "slo_latency_s": 0.1, **secrets})
    config = serve_config(settings)
    assert "hunter2" not in str(config)
    assert "hone_secret" not in str(config)
    variables = config["applications"][0]["runtime_env"]["env_vars"]
    assert variables["HONE_LEARN_ON_DRIFT"] == "false"
    assert config["http_options"] == {"host": "0.0.0.0", "port": 8321}


def test_the_variables_make_the_same_settings_again(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = cluster_settings().model_copy(update={"learn_on_drift": False, "log_text": "hash", "gate_alpha": 0.01})
    for name, value in changed_settings(settings).items():
        monkeypatch.setenv(name, value)
    assert Settings() == settings


def test_the_application_has_the_replicas_of_the_settings(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    from serve.service import application

    for name, value in changed_settings(settings.model_copy(update={"replicas": 3})).items():
        monkeypatch.setenv(name, value)
    made: Any = application({})
    assert made._bound_deployment.num_replicas == 3
    monkeypatch.setenv("HONE_HOST", "0.0.0.0")
    monkeypatch.setenv("HONE_AUTH", "off")
    with pytest.raises(Exposed):
        application({})


def test_several_classifiers_are_applications_of_their_own(hone: RunHone, tmp_path: Path) -> None:
    (tmp_path / "intents.env").write_text("# More of them ask.\nHONE_REPLICAS=3\n\nHONE_GATE_MODE=approve\n", encoding="utf-8")
    asked = ["--classifier", "reviews", "--classifier", f"intents={tmp_path / 'intents.env'}"]
    made = yaml.safe_load(hone("cluster", "ray", *asked).stdout)
    schema = ServeDeploySchema.model_validate(made)
    assert [(one.name, one.route_prefix) for one in schema.applications] == [
        ("hone-reviews", "/reviews"),
        ("hone-intents", "/intents"),
    ]
    variables = [one["runtime_env"]["env_vars"] for one in made["applications"]]
    assert [one["HONE_NAME"] for one in variables] == ["reviews", "intents"]
    assert [one.get("HONE_REPLICAS") for one in variables] == [None, "3"]
    assert hone("cluster", "kubernetes", str(tmp_path / "made"), *asked).exit_code == 0
    files = {path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in (tmp_path / "made").iterdir()}
    learner = files["learner-intents"]
    kubernetes_validate.validate(learner, kubernetes_validate.latest_version(), strict=True)
    (container,) = learner["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    assert {entry["name"]: entry["value"] for entry in container["env"]} == {
        "HONE_NAME": "intents",
        "HONE_REPLICAS": "3",
        "HONE_GATE_MODE": "approve",
    }
    applications = yaml.safe_load(files["service"]["spec"]["serveConfigV2"])["applications"]
    # What the first one's settings say, the nodes have from the ConfigMap.
    assert [one.get("runtime_env", {}).get("env_vars", {}).get("HONE_NAME") for one in applications] == [None, "intents"]
    assert files["settings"]["data"]["HONE_NAME"] == "reviews"
    paths = [endpoint["path"] for endpoint in files["monitoring"]["spec"]["endpoints"]]
    assert paths == ["/reviews/metrics", "/intents/metrics"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["a", "a"], "named twice"),
        (["v1"], "v1"),
        (["a=missing.env"], "missing.env"),
        (["a=wrong.env"], "HONE_NONSENSE"),
        (["a=port.env"], "HONE_PORT"),
        (["a=many.env"], "valid integer"),
    ],
)
def test_what_cannot_be_a_classifier_is_told(
    hone: RunHone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, text in {"wrong": "HONE_NONSENSE=1", "port": "HONE_PORT=1", "many": "HONE_REPLICAS=many"}.items():
        Path(f"{name}.env").write_text(text, encoding="utf-8")
    done = hone("cluster", "ray", *(word for one in given for word in ("--classifier", one)))
    assert done.exit_code == 1
    assert said in done.stderr


def test_a_cluster_that_takes_no_jobs_yet_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    class Young(_Jobs):
        refusals = 2

        def submit_job(self, **asked: Any) -> str:
            if self.refusals:
                self.refusals -= 1
                raise RuntimeError("status code 500: No available agent to submit job, please try again later..")
            return super().submit_job(**asked)

    monkeypatch.setattr(learner_job, "_AGAIN_S", 0.0)
    cluster = Young([])
    _, new = ensure_learner(cluster, cluster_settings())
    assert new
    assert len(cluster.jobs) == 1
    monkeypatch.setattr(learner_job, "_AGENT_WITHIN_S", 0.0)
    cluster.refusals = 1_000
    with pytest.raises(StackError, match="took jobs"):
        ensure_learner(cluster, cluster_settings().model_copy(update={"name": "other"}))


def test_each_classifier_has_a_learner_of_its_own() -> None:
    cluster = _Jobs([])
    settings = cluster_settings()
    for name in ("reviews", "intents", "reviews"):
        ensure_learner(cluster, settings.model_copy(update={"name": name}))
    assert [job.metadata["role"] for job in cluster.jobs] == ["hone-reviews-learner", "hone-intents-learner"]
    assert [job.runtime_env["env_vars"]["HONE_NAME"] for job in cluster.jobs] == ["reviews", "intents"]


@pytest.mark.parametrize("name", [name for name, body in OBJECTS.items() if body["kind"] not in FOREIGN])
def test_each_manifest_keeps_to_kubernetes_schema(name: str) -> None:
    kubernetes_validate.validate(OBJECTS[name], kubernetes_validate.latest_version(), strict=True)


@pytest.mark.parametrize(("name", "template"), _pods().items(), ids=_pods())
def test_each_pod_keeps_to_kubernetes_schema_and_has_no_rights(name: str, template: dict[str, Any]) -> None:
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, **template["metadata"]}, "spec": template["spec"]}
    kubernetes_validate.validate(pod, kubernetes_validate.latest_version(), strict=True)
    assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
    for container in pod["spec"]["containers"]:
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert {mount["name"] for mount in container["volumeMounts"]} <= {volume["name"] for volume in pod["spec"]["volumes"]}
        assert container["image"] == IMAGE


def test_the_foreign_kinds_have_the_parts_that_their_operators_read() -> None:
    service = OBJECTS["service.yaml"]
    assert (service["apiVersion"], service["kind"]) == ("ray.io/v1", "RayService")
    config = yaml.safe_load(service["spec"]["serveConfigV2"])
    schema = ServeDeploySchema.model_validate(config)
    assert schema.applications[0].import_path == APPLICATION
    assert service["spec"]["rayClusterConfig"]["rayVersion"] == RAY
    assert f"ray[serve,train]=={RAY}" in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    ports = [
        port
        for template in _pods().values()
        for container in template["spec"]["containers"]
        for port in container.get("ports", ())
    ]
    assert {port["containerPort"] for port in ports if port["name"] == "serve"} == {config["http_options"]["port"]}
    monitor = OBJECTS["monitoring.yaml"]
    assert monitor["spec"]["endpoints"][0]["port"] == "serve"


def test_from_elsewhere_only_the_proxy_is_reached_and_by_the_operator_the_dashboard() -> None:
    spec = OBJECTS["network.yaml"]["spec"]
    assert spec["policyTypes"] == ["Ingress"]
    selected = spec["podSelector"]["matchLabels"].items()
    assert all(selected <= template["metadata"]["labels"].items() for template in _pods().values())
    own, *others = spec["ingress"]
    assert own == {"from": [{"podSelector": spec["podSelector"]}]}
    opened = [(port["port"], rule.get("from")) for rule in others for port in rule["ports"]]
    assert [port for port, who in opened if who is None] == [Settings.model_fields["port"].default]
    assert len(opened) == 2
    assert not any(30_000 <= port <= 31_000 for port, _ in opened)


def test_the_settings_in_the_manifests_are_settings_and_no_secret_is_written_down(monkeypatch: pytest.MonkeyPatch) -> None:
    data = OBJECTS["settings.yaml"]["data"]
    for name, value in data.items():
        monkeypatch.setenv(name, value)
    assert Settings() == cluster_settings()
    assert Settings().authenticated
    kinds = {body["kind"] for body in OBJECTS.values()}
    assert "Secret" not in kinds
    named = set(re.findall(r"hone-[a-z]+", "".join(path.read_text(encoding="utf-8") for path in KUBERNETES.glob("*.yaml"))))
    assert {"hone-settings", "hone-secrets", "hone-metrics", "hone-state"} <= named


def test_kustomize_makes_one_document_of_each(tmp_path: Path, hone: RunHone) -> None:
    assert hone("cluster", "kubernetes", str(tmp_path / "made")).exit_code == 0
    assert {path.name for path in (tmp_path / "made").iterdir()} == set(manifests(cluster_settings()))
    program = shutil.which("kubectl")
    if program is None:
        pytest.skip("kubectl is not installed")
    for folder in (KUBERNETES, tmp_path / "made"):
        done = subprocess.run([program, "kustomize", str(folder)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert len(list(yaml.safe_load_all(done.stdout))) == len(OBJECTS) - 1


@dataclass
class _Jobs:
    """A cluster's jobs, as Ray's client tells of them."""

    jobs: list[Any]

    def list_jobs(self) -> list[Any]:
        return self.jobs

    def submit_job(self, **asked: Any) -> str:
        name = f"job-{len(self.jobs)}"
        self.jobs.append(SimpleNamespace(submission_id=name, status="PENDING", **asked))
        return name


def test_the_learner_is_started_where_it_does_not_work_and_only_there() -> None:
    cluster = _Jobs([SimpleNamespace(submission_id="other", status="RUNNING", metadata=None)])
    settings = cluster_settings().model_copy(update={"store_url": "postgresql://a:hunter2@db/hone"})
    assert ensure_learner(cluster, settings) == ("job-1", True)
    assert ensure_learner(cluster, settings) == ("job-1", False)
    cluster.jobs[-1].status = "FAILED"
    assert ensure_learner(cluster, settings) == ("job-2", True)
    assert "hunter2" not in str(cluster.jobs)
    assert cluster.jobs[-1].entrypoint == "python -m train.learner"
