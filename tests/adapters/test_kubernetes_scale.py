"""Replicas at the API server: what moved is not overwritten, what comes late is not sent."""

import threading
import time

import pytest
from tests.ports.upstream_tls import ELSEWHERE, LOOPBACK, authority, server_context

from verismo.adapters.kubernetes_scale import KubernetesScale, ScalePlace
from verismo.model.errors import StateError
from verismo.simulate.cluster import Cluster
from verismo.simulate.kubernetes import running_cluster

TOKEN = "a-service-account"
SCALE = "/apis/apps/v1/namespaces/prod/deployments/reader/scale"


class Clock:
    """Unix ms that stand still, or jump when something is asked."""

    def __init__(self):
        self.now_ms = 1_790_000_000_000

    def __call__(self):
        return self.now_ms


@pytest.fixture
def cluster():
    cluster = Cluster(TOKEN, lambda: 1_790_000_000.0)
    cluster.deploy("prod", "reader", 3)
    return cluster


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def token_file(tmp_path):
    file = tmp_path / "token"
    file.write_text(TOKEN + "\n")
    return file


@pytest.fixture
def scale(cluster, clock, token_file):
    with running_cluster(cluster) as url:
        scale = KubernetesScale(ScalePlace(url, "prod", "reader", token_file, None), clock)
        yield scale


def patches(cluster):
    return [path for method, path in cluster.asked if method == "PATCH"]


def soon(clock, left_ms=5_000):
    return clock.now_ms + left_ms


def test_replicas_are_those_that_are_asked_for(scale, cluster):
    assert scale.replicas() == 3
    cluster.deploy("prod", "reader", 0)
    assert scale.replicas() == 0


def test_replicas_are_changed(scale, cluster, clock):
    assert scale.change(3, 5, soon(clock)) == "done"
    assert cluster.replicas("prod", "reader") == 5
    assert patches(cluster) == [SCALE]


def test_what_somebody_else_changed_is_left_alone(scale, cluster, clock):
    cluster.deploy("prod", "reader", 7)
    assert scale.change(3, 5, soon(clock)) == "changed_elsewhere"
    assert cluster.replicas("prod", "reader") == 7
    assert patches(cluster) == []


def test_a_conflict_by_the_status_alone_is_tried_again(scale, cluster, clock):
    cluster.faults.extend(["none", "none", "409"])
    assert scale.change(3, 5, soon(clock)) == "done"
    assert len(patches(cluster)) == 2


def test_a_change_between_read_and_patch_is_never_overwritten(scale, cluster, clock):
    seen = cluster.patch

    def raced(namespace, name, body):
        cluster.patch = seen
        seen(namespace, name, b'{"spec":{"replicas":9}}')
        return seen(namespace, name, body)

    cluster.patch = raced
    assert scale.change(3, 5, soon(clock)) == "changed_elsewhere"
    assert cluster.replicas("prod", "reader") == 9


def test_conflicts_without_end_are_given_up(scale, cluster, clock):
    cluster.faults.append("none")
    cluster.faults.extend(["none", "409"] * 5)
    assert scale.change(3, 5, soon(clock)) == "refused"
    assert cluster.replicas("prod", "reader") == 3


def test_no_replicas_are_set_beside_an_autoscaler(scale, cluster, clock):
    cluster.autoscale("prod", "writer", "writer")
    cluster.autoscale("test", "reader", "reader")
    assert scale.change(3, 4, soon(clock)) == "done"
    cluster.autoscale("prod", "sneaky-name", "reader")
    assert scale.change(4, 5, soon(clock)) == "autoscaler_present"
    assert cluster.replicas("prod", "reader") == 4


def test_an_autoscaler_on_a_later_page_is_found(scale, cluster, clock):
    for number in range(300):
        cluster.autoscale("prod", f"h{number}", f"d{number}")
    cluster.autoscale("prod", "last", "reader")
    assert scale.change(3, 5, soon(clock)) == "autoscaler_present"


def test_without_the_right_to_look_for_autoscalers_nothing_is_set(scale, cluster, clock):
    cluster.faults.append("403")
    assert scale.change(3, 5, soon(clock)) == "not_allowed"
    assert patches(cluster) == []


@pytest.mark.parametrize("left_ms", [0, -1])
def test_a_late_change_is_not_even_looked_at(scale, cluster, clock, left_ms):
    assert scale.change(3, 5, soon(clock, left_ms)) == "late"
    assert cluster.asked == []


@pytest.mark.parametrize("after", ["horizontalpodautoscalers", "scale"])
def test_a_change_that_became_late_on_the_way_is_dropped(scale, cluster, clock, after):
    until_ms = soon(clock)

    class Slow(list):
        def append(self, one):
            super().append(one)
            if one[1].split("?")[0].endswith(after):
                clock.now_ms += 5_000

    cluster.asked = Slow()
    assert scale.change(3, 5, until_ms) == "late"
    assert patches(cluster) == []


def test_a_patch_whose_answer_is_lost_is_unknown_and_not_sent_twice(scale, cluster, clock):
    cluster.faults.extend(["none", "none", "lose"])
    assert scale.change(3, 5, soon(clock)) == "unknown"
    assert cluster.replicas("prod", "reader") == 5
    assert len(patches(cluster)) == 1


@pytest.mark.parametrize("fault", ["500", "503", "garbage"])
def test_a_patch_that_is_answered_by_a_failure_may_have_been_obeyed(scale, cluster, clock, fault):
    cluster.faults.extend(["none", "none", fault])
    assert scale.change(3, 5, soon(clock)) == "unknown"
    assert len(patches(cluster)) == 1


@pytest.mark.parametrize("fault", ["403", "429"])
def test_a_patch_that_is_refused_was_not_obeyed(scale, cluster, clock, fault):
    cluster.faults.extend(["none", "none", fault])
    assert scale.change(3, 5, soon(clock)) in ("not_allowed", "refused")
    assert cluster.replicas("prod", "reader") == 3


def test_a_patch_that_never_arrived_is_unknown_too(scale, cluster, clock):
    cluster.faults.extend(["none", "none", "cut"])
    assert scale.change(3, 5, soon(clock)) == "unknown"
    assert cluster.replicas("prod", "reader") == 3


@pytest.mark.slow
def test_a_server_that_hangs_ends_with_the_time_that_is_left(scale, cluster, clock):
    cluster.faults.append("hang")
    began = time.monotonic()
    assert scale.change(3, 5, soon(clock, 300)) == "unreachable"
    assert time.monotonic() - began < 3


@pytest.mark.parametrize(("fault", "result"), [("401", "not_allowed"), ("500", "refused")])
def test_an_answer_that_is_no_yes_is_told(scale, cluster, clock, fault, result):
    cluster.faults.extend(["none", fault])
    assert scale.change(3, 5, soon(clock)) == result


def test_an_unknown_token_changes_nothing(scale, cluster, clock, token_file):
    token_file.write_text("another")
    assert scale.change(3, 5, soon(clock)) == "not_allowed"
    with pytest.raises(StateError, match="401"):
        scale.replicas()


def test_a_renewed_token_is_read_anew(scale, cluster, token_file):
    assert scale.replicas() == 3
    cluster.token = "renewed"
    token_file.write_text("renewed")
    assert scale.replicas() == 3


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("garbage", "not what Kubernetes documents"),
        ("503", "503"),
        ("403", "403"),
        ("cut", "cannot be read"),
    ],
)
def test_replicas_that_cannot_be_read_are_no_number(scale, cluster, fault, said):
    cluster.faults.append(fault)
    with pytest.raises(StateError, match=said):
        scale.replicas()


def test_a_deployment_that_is_not_there_is_said(cluster, clock, token_file):
    with running_cluster(cluster) as url:
        scale = KubernetesScale(ScalePlace(url, "prod", "writer", token_file, None), clock)
        with pytest.raises(StateError, match="404") as caught:
            scale.replicas()
        assert "target" in caught.value.advice


@pytest.mark.parametrize("content", [None, b"", b"\xff"])
def test_a_token_that_cannot_be_read_is_said(scale, token_file, content):
    token_file.unlink()
    if content is not None:
        token_file.write_bytes(content)
    with pytest.raises(StateError, match="token"):
        scale.replicas()


def test_a_server_that_is_away_is_no_data(clock, token_file):
    place = ScalePlace("http://127.0.0.1:9", "prod", "reader", token_file, None)
    scale = KubernetesScale(place, clock)
    with pytest.raises(StateError):
        scale.replicas()
    assert scale.change(3, 5, soon(clock)) == "unreachable"


@pytest.mark.slow
def test_only_a_server_with_a_trusted_certificate_gets_the_token(
    cluster, clock, token_file, tmp_path
):
    ours = authority()
    ca_file = tmp_path / "ca.crt"
    ca_file.write_bytes(ours.pem)
    for name, is_trusted in ((LOOPBACK, True), (ELSEWHERE, False)):
        tls = server_context(ours, tmp_path, name)
        with running_cluster(cluster, tls=tls) as url:
            scale = KubernetesScale(ScalePlace(url, "prod", "reader", token_file, ca_file), clock)
            if is_trusted:
                assert scale.replicas() == 3
            else:
                with pytest.raises(StateError, match="certificate"):
                    scale.replicas()


def test_a_missing_ca_file_is_said(cluster, clock, token_file, tmp_path):
    place = ScalePlace("https://127.0.0.1:9", "prod", "reader", token_file, tmp_path / "none")
    scale = KubernetesScale(place, clock)
    with pytest.raises(StateError, match="none"):
        scale.replicas()


def test_two_at_once_never_both_win(cluster, clock, token_file):
    with running_cluster(cluster) as url:
        place = ScalePlace(url, "prod", "reader", token_file, None)
        results = []

        def change(after):
            scale = KubernetesScale(place, clock)
            results.append(scale.change(3, after, soon(clock)))

        threads = [threading.Thread(target=change, args=(after,)) for after in (5, 6, 7)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(results).count("done") == 1
    assert set(results) <= {"done", "changed_elsewhere"}
    assert len(cluster.events("prod")["items"]) == 1
