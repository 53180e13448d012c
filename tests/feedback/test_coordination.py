"""Contract of leases and replicas' heartbeats, over every database."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from feedback.replicas import ReplicaReport
from feedback.store import Store


def test_a_lease_has_one_holder_who_may_renew(store: Store) -> None:
    assert store.take_lease("model", "a", ttl_s=60)
    assert not store.take_lease("model", "b", ttl_s=60)
    assert store.take_lease("model", "a", ttl_s=60)
    assert store.take_lease("another model", "b", ttl_s=60)


def test_an_expired_lease_can_be_taken_over(store: Store) -> None:
    assert store.take_lease("model", "a", ttl_s=-1)
    assert store.take_lease("model", "b", ttl_s=60)
    assert not store.take_lease("model", "a", ttl_s=60)


def test_only_the_holder_releases(store: Store) -> None:
    store.take_lease("model", "a", ttl_s=60)
    store.release_lease("model", "b")
    assert not store.take_lease("model", "b", ttl_s=60)
    store.release_lease("model", "a")
    assert store.take_lease("model", "b", ttl_s=60)


def test_of_many_that_ask_at_once_one_gets_the_lease(store: Store) -> None:
    with ThreadPoolExecutor(20) as pool:
        taken = list(pool.map(lambda number: store.take_lease("model", f"holder {number}", ttl_s=60), range(20)))
    assert sum(taken) == 1


def test_replicas_are_known_by_their_latest_report(store: Store) -> None:
    store.report_replica(ReplicaReport("r2", "v1", "serving"))
    store.report_replica(ReplicaReport("r1", "v1", "loading", candidate_version="v2"))
    store.report_replica(ReplicaReport("r1", "v1", "failed", candidate_version="v2", reason="a checksum differs"))
    first, second = store.replicas(max_age_s=60)
    assert (first.replica_id, first.state, first.candidate_version) == ("r1", "failed", "v2")
    assert (first.model_version, first.reason) == ("v1", "a checksum differs")
    assert (second.replica_id, second.state) == ("r2", "serving")
    assert first.seen_at is not None
    assert second.seen_at is not None
    assert first.seen_at >= second.seen_at


def test_silent_and_departed_replicas_are_left_out(store: Store) -> None:
    store.report_replica(ReplicaReport("r1", "v1", "serving"))
    assert store.replicas(max_age_s=-1) == []
    store.forget_replica("r1")
    assert store.replicas(max_age_s=60) == []
