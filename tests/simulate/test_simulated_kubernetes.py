"""The simulated Kubernetes API: the documented answers, and that it says what it is."""

import json
import urllib.error
import urllib.request

import pytest

from verismo.adapt.scalingevents import read_events, verify_gap
from verismo.model.errors import OperatorError
from verismo.simulate.cluster import Cluster
from verismo.simulate.kubernetes import SERVER, running_cluster

SCALE = "/apis/apps/v1/namespaces/prod/deployments/reader/scale"
MERGE = "application/merge-patch+json"


class Clock:
    def __init__(self):
        self.now_s = 1_790_000_000.0

    def __call__(self):
        return self.now_s


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def cluster(clock):
    cluster = Cluster("token", clock)
    cluster.deploy("prod", "reader", 3)
    return cluster


@pytest.fixture
def ask(cluster):
    with running_cluster(cluster) as url:

        def ask(method, path, body=None, media=MERGE, token="token"):
            headers = {"authorization": f"Bearer {token}", "connection": "close"}
            if body is not None:
                headers["content-type"] = media
                body = json.dumps(body).encode() if isinstance(body, dict) else body
            request = urllib.request.Request(url + path, body, headers, method=method)
            try:
                with urllib.request.urlopen(request, timeout=5) as response:
                    assert response.headers["server"] == SERVER
                    return response.status, json.load(response)
            except urllib.error.HTTPError as error:
                with error:
                    return error.code, json.load(error)

        yield ask


def test_it_says_that_it_is_simulated(ask):
    assert "simulated" in SERVER
    assert "simulated" in ask("GET", "/version")[1]["gitVersion"]
    ask("PATCH", SCALE, {"spec": {"replicas": 4}})
    [event] = ask("GET", "/api/v1/namespaces/prod/events")[1]["items"]
    assert event["metadata"]["annotations"] == {"simulated": "true"}


def test_a_scale_is_a_scale(ask):
    status, scale = ask("GET", SCALE)
    assert (status, scale["kind"], scale["apiVersion"]) == (200, "Scale", "autoscaling/v1")
    assert scale["spec"] == {"replicas": 3}


def test_no_replicas_are_left_out_as_kubernetes_does(ask, cluster):
    cluster.deploy("prod", "reader", 0)
    assert ask("GET", SCALE)[1]["spec"] == {}


def test_a_patch_moves_the_version(ask):
    before = ask("GET", SCALE)[1]["metadata"]["resourceVersion"]
    patch = {"metadata": {"resourceVersion": before}, "spec": {"replicas": 5}}
    status, scale = ask("PATCH", SCALE, patch)
    assert (status, scale["spec"]["replicas"]) == (200, 5)
    status, refusal = ask("PATCH", SCALE, patch)
    assert (status, refusal["kind"], refusal["reason"]) == (409, "Status", "Conflict")


def test_a_status_that_moves_is_a_conflict_as_well(ask, cluster):
    before = ask("GET", SCALE)[1]["metadata"]["resourceVersion"]
    cluster.touch("prod", "reader")
    patch = {"metadata": {"resourceVersion": before}, "spec": {"replicas": 5}}
    assert ask("PATCH", SCALE, patch)[0] == 409
    assert cluster.replicas("prod", "reader") == 3


@pytest.mark.parametrize(
    ("method", "path", "body", "media", "token", "status"),
    [
        ("GET", SCALE, None, MERGE, "stolen", 401),
        ("GET", SCALE.replace("reader", "writer"), None, MERGE, "token", 404),
        ("GET", "/api/v1/pods", None, MERGE, "token", 404),
        ("PUT", SCALE, {"spec": {"replicas": 5}}, MERGE, "token", 405),
        ("PATCH", SCALE, {"spec": {"replicas": 5}}, "application/json", "token", 415),
        ("PATCH", SCALE, {"spec": {"replicas": -1}}, MERGE, "token", 422),
        ("PATCH", SCALE, {"spec": {"replicas": "5"}}, MERGE, "token", 400),
        ("PATCH", SCALE, b"\xff", MERGE, "token", 400),
        ("PATCH", "/api/v1/events", {}, MERGE, "token", 405),
        (
            "GET",
            "/apis/autoscaling/v2/namespaces/prod/horizontalpodautoscalers?limit=x",
            None,
            MERGE,
            "token",
            400,
        ),
    ],
)
def test_what_kubernetes_refuses_is_refused(ask, cluster, method, path, body, media, token, status):
    found, refusal = ask(method, path, body, media, token)
    assert (found, refusal["code"]) == (status, status)
    assert cluster.replicas("prod", "reader") == 3


def test_autoscalers_come_in_pages(ask, cluster):
    for name in "abc":
        cluster.autoscale("prod", name, name)
    path = "/apis/autoscaling/v2/namespaces/prod/horizontalpodautoscalers?limit=2"
    first = ask("GET", path)[1]
    second = ask("GET", f"{path}&continue={first['metadata']['continue']}")[1]
    names = [one["metadata"]["name"] for one in first["items"] + second["items"]]
    assert (names, second["metadata"]) == (["a", "b", "c"], {})


def test_its_events_are_those_that_are_judged(ask, clock):
    for replicas, passed_s in ((5, 125), (4, 125), (6, 0)):
        ask("PATCH", SCALE, {"spec": {"replicas": replicas}})
        clock.now_s += passed_s
    events = json.dumps(ask("GET", "/api/v1/events")[1]).encode()
    assert verify_gap(read_events(events), 120_000).verdict == "kept"
    ask("PATCH", SCALE, {"spec": {"replicas": 5}})
    events = json.dumps(ask("GET", "/api/v1/events")[1]).encode()
    assert verify_gap(read_events(events), 120_000).verdict == "breached"


def test_a_patch_that_changes_nothing_leaves_no_event(ask):
    ask("PATCH", SCALE, {"spec": {"replicas": 3}})
    assert ask("GET", "/api/v1/namespaces/prod/events")[1]["items"] == []
    assert ask("GET", "/api/v1/namespaces/other/events")[1]["items"] == []


def test_a_taken_port_is_said(cluster):
    with running_cluster(cluster) as url:
        port = int(url.rpartition(":")[2])
        with (
            pytest.raises(OperatorError, match="cannot listen"),
            running_cluster(cluster, port=port),
        ):
            pass
