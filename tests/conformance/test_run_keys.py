"""Keys of runs on every store: given once, read by all, deleted for good; and secrets that events refer to (A8, H3)."""

from __future__ import annotations

from flowledger.adapters.verifying import verify_all
from flowledger.events.run_keys import RunKeyRow
from flowledger.events.store import Store

from .streams import new_run, payload_row

ROW = RunKeyRow("01J0000000000000000000000A", "k1", b"\x00\xff wrapped", 7)


def test_a_run_has_one_key(store: Store, elsewhere: Store) -> None:
    # Given
    assert store.run_keys.get(ROW.run_id) is None
    # When
    first = store.run_keys.put(ROW)
    second = elsewhere.run_keys.put(ROW._replace(wrapped=b"another", wrapped_by="k2"))
    # Then: whoever was quicker has made it
    assert first == second == store.run_keys.get(ROW.run_id) == elsewhere.run_keys.get(ROW.run_id) == ROW


def test_a_key_that_is_removed_is_gone(store: Store, elsewhere: Store) -> None:
    store.run_keys.put(ROW)
    assert elsewhere.run_keys.remove(ROW.run_id)
    assert store.run_keys.get(ROW.run_id) is None
    assert not store.run_keys.remove(ROW.run_id)


def test_a_key_may_be_encrypted_anew(store: Store) -> None:
    # Given
    other = ROW._replace(run_id="01J0000000000000000000000B", wrapped_by="k2")
    for row in (ROW, other):
        store.run_keys.put(row)
    assert store.run_keys.wrapped_by_others("k2", limit=10) == [ROW]
    # When
    anew = ROW._replace(wrapped_by="k2", wrapped=b"anew")
    assert store.run_keys.rewrap([anew, anew._replace(run_id="01J0000000000000000000000C")]) == 1
    # Then
    assert store.run_keys.wrapped_by_others("k2", limit=10) == []
    assert store.run_keys.get(ROW.run_id) == anew
    assert store.run_keys.get("01J0000000000000000000000C") is None


def test_keys_are_gone_through_page_by_page_and_counted(store: Store) -> None:
    rows = [ROW._replace(run_id=f"01J000000000000000000000{n:02}", wrapped_by=f"k{n % 2}") for n in (4, 1, 3, 2, 0)]
    for row in rows:
        store.run_keys.put(row)
    first = store.run_keys.wrapped_by_others("k1", limit=2)
    assert [row.run_id[-1] for row in first] == ["0", "2"]
    assert [row.run_id[-1] for row in store.run_keys.wrapped_by_others("k1", limit=2, after=first[-1].run_id)] == ["4"]
    assert store.run_keys.counts() == {"k0": 3, "k1": 2}


def test_a8_a_secret_that_is_not_there_is_found(store: Store) -> None:
    # Given events that refer to encrypted secrets, all of which are there but one
    kept = [payload_row(b"encrypted %d" % number) for number in range(3)]
    whole, lacking = new_run(store), new_run(store)
    names = b",".join(b'"%s"' % row.digest.encode() for row in kept)
    payload = b'{"result":{"$secret":"x"},"secrets":[%s]}' % names
    whole.put(store, payload=payload, payloads=kept)
    lacking.put(store, payload=payload, payloads=kept[:2])
    # When
    done = verify_all(store)
    # Then
    (finding,) = done.findings
    assert (finding.run_id, finding.version) == (lacking.run_id, 2)
    assert kept[2].digest[:12] in finding.what
