"""Seals on every store: what is new is verified, signed, kept for ever, and found wanting where the log has changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from msgspec import structs

from flowledger.adapters.keys import new_key
from flowledger.adapters.seal_checking import check_copy, copy_lines, read_copy
from flowledger.adapters.sealing import Written, seal_log
from flowledger.adapters.signing import Signer
from flowledger.adapters.verifying import verify_all, verify_run
from flowledger.events.envelope import StoredEvent
from flowledger.events.errors import InputError, SealBroken, Tampered
from flowledger.events.merkle import Head, root
from flowledger.events.seals import GENESIS_SEAL, Seal, Sealed
from flowledger.events.store import Cursor, Followed, Store, Stream

from .streams import Run, everything, new_run, payload_row

SIGNER = Signer(new_key("test", "ed25519"))
TRUSTED = frozenset([SIGNER.public_key])


def sealed(store: Store) -> list[Written]:
    """Seal everything, also where an open transaction elsewhere in the cluster hides the newest for a moment (A4)."""
    everything(store)
    return seal_log(store, SIGNER)


def test_a_seal_covers_the_heads_of_all_runs(store: Store) -> None:
    # Given
    runs = sorted((new_run(store, count=n + 1) for n in range(5)), key=lambda run: run.run_id)
    # When
    ((seal, said),) = sealed(store)
    # Then
    heads = [Head(run.run_id, run.version, run.head) for run in runs]
    assert store.seals.heads(1) == heads
    assert (said.seal, said.previous, said.runs, said.events) == (1, GENESIS_SEAL, 5, 15)
    assert said.root == root(heads).hex()
    assert store.seals.last() == seal
    assert store.seals.newest([run.run_id for run in runs]) == {head.run_id: Sealed(1, head) for head in heads}


def test_the_next_seal_covers_what_went_on_and_follows_the_one_before(store: Store) -> None:
    # Given
    first, second = new_run(store, count=2), new_run(store)
    ((one, _),) = sealed(store)
    # When
    second.put(store, 3)
    third = new_run(store)
    ((two, said),) = sealed(store)
    # Then
    assert (said.seal, said.previous, said.runs, said.events) == (2, one.digest, 2, 4)
    assert store.seals.read() == [one, two]
    assert store.seals.read(after=1) == [two]
    assert [each.seal for each in store.seals.of_run(second.run_id)] == [1, 2]
    assert [each.seal for each in store.seals.of_run(first.run_id)] == [1]
    newest = store.seals.newest([first.run_id, second.run_id, third.run_id, "nobody"])
    assert {run_id: each.seal for run_id, each in newest.items()} == {
        first.run_id: 1, second.run_id: 2, third.run_id: 2
    }  # fmt: skip


def test_nothing_new_no_seal(store: Store) -> None:
    assert sealed(store) == []
    new_run(store)
    assert len(sealed(store)) == 1
    assert sealed(store) == []


def test_a_seal_grows_only_so_large(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given
    monkeypatch.setattr("flowledger.adapters.sealing.MOST_EVENTS", 4)
    monkeypatch.setattr("flowledger.adapters.sealing.PAGE", 2)
    long = new_run(store, count=7)
    other = new_run(store, count=2)
    # When
    written = sealed(store)
    # Then
    assert [each.statement.events for each in written] == [4, 4, 1]
    assert [each.seal for each in store.seals.of_run(long.run_id)] == [1, 2]
    assert [each.seal for each in store.seals.of_run(other.run_id)] == [2, 3]
    assert verify_all(store, trusted=TRUSTED).holds


def test_a_number_is_given_once(store: Store) -> None:
    new_run(store)
    ((seal, _),) = sealed(store)
    assert not store.seals.add(Seal(1, b"other", b"x"), [])
    assert store.seals.read() == [seal]


def test_somebody_who_seals_at_the_same_time_is_told(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    new_run(store)
    monkeypatch.setattr(store.seals, "add", lambda *_: False)
    with pytest.raises(SealBroken, match="somebody else"):
        sealed(store)


def test_a_whole_log_verifies(store: Store) -> None:
    # Given
    moved = payload_row(b'"a large value"')
    run = new_run(store)
    run.put(store, payload=b'{"moved":"%s"}' % moved.digest.encode(), payloads=[moved])
    for _ in range(3):
        new_run(store, count=4)
    sealed(store)
    run.put(store)  # not sealed yet
    # When
    done = verify_all(store, trusted=TRUSTED)
    alone = verify_run(store, _stream(store, run))
    # Then
    assert (done.runs, done.events, done.payloads, done.seals, done.findings) == (4, 15, 1, 1, [])
    assert done.trusted
    assert (alone.runs, alone.events, alone.payloads, alone.seals, alone.findings) == (1, 3, 1, 1, [])


def test_texts_that_a_database_cannot_keep_as_they_are_verify_too(store: Store) -> None:
    new_run(store).put(store, path="a\x00b/\x01é", actor="\x010@ü")
    assert verify_all(store).findings == []


def test_a_moved_value_that_is_not_there_is_found(store: Store) -> None:
    # Given
    run = new_run(store)
    run.put(store, payload=b'{"moved":"%s"}' % (b"0" * 64))
    # When
    (finding,) = verify_all(store).findings
    # Then
    assert (finding.run_id, finding.version) == (run.run_id, 2)
    assert "is missing" in finding.what
    assert verify_run(store, _stream(store, run)).findings == [finding]


def test_a_users_own_words_are_no_moved_value(store: Store) -> None:
    new_run(store).put(store, payload=b'{"result":{"moved":"%s"}}' % (b"0" * 64))
    new_run(store).put(store, payload=b'{"moved":7}')
    assert verify_all(store).findings == []


def test_a_seal_of_a_key_that_is_not_trusted_is_a_finding_where_others_are(store: Store) -> None:
    new_run(store)
    sealed(store)
    stranger = Signer(new_key("stranger", "ed25519")).public_key
    assert verify_all(store).holds
    assert not verify_all(store).trusted
    (finding,) = verify_all(store, trusted=frozenset([stranger])).findings
    assert finding.seal == 1
    assert SIGNER.public_key.hex() in finding.what


# -- a log that is not what was written -------------------------------------------------------------


class Changed:
    """A store that shows a log otherwise than it was written, as a database would that somebody has changed."""

    immediate = False

    def __init__(self, store: Store, run: Run, events: Sequence[StoredEvent] | None) -> None:
        self._store = store
        self._run_id = run.run_id
        self._events = events

    def __getattr__(self, name: str) -> Any:
        if name == "check_log":
            raise AttributeError(name)
        return getattr(self._store, name)

    def read(self, run_id: str, *, after_version: int = 0, limit: int | None = None) -> list[StoredEvent]:
        if run_id != self._run_id:
            return self._store.read(run_id, after_version=after_version, limit=limit)
        found = [event for event in self._events or () if event.version > after_version]
        return found[:limit]

    def stream(self, run_id: str) -> Stream | None:
        """The stream row was changed to fit, too."""
        row = self._store.stream(run_id)
        if row is None or run_id != self._run_id:
            return row
        if not self._events:
            return None
        return replace(row, version=self._events[-1].version, head_hash=self._events[-1].hash)

    def streams(self, **wanted: Any) -> list[Stream]:
        rows = [self.stream(row.run_id) for row in self._store.streams(**wanted)]
        return [row for row in rows if row is not None]

    def read_all(self, after: Cursor, *, limit: int = 1000) -> list[Followed]:
        shown = {event.version: event for event in self._events or ()}
        found = self._store.read_all(after, limit=limit)
        return [
            each._replace(event=shown[each.event.version]) if each.run_id == self._run_id else each
            for each in found
            if each.run_id != self._run_id or each.event.version in shown
        ]


def changed_log(store: Store, run: Run, events: Sequence[StoredEvent] | None) -> Any:
    """The log with other events of one run."""
    return Changed(store, run, events)


def _stream(store: Store, run: Run) -> Stream:
    row = store.stream(run.run_id)
    assert row is not None
    return row


def written_anew(run: Run, count: int) -> list[StoredEvent]:
    """Another history of the run, with a chain that holds."""
    return list(Run(run.run_id).next(count, payload=b'{"other":1}').events)


def test_a_head_that_the_stream_row_does_not_have_is_found(store: Store) -> None:
    # Given
    run = new_run(store, count=4)
    events = store.read(run.run_id)
    row = replace(_stream(store, run), head_hash=bytes(32))
    # When / Then
    (finding,) = verify_run(store, row).findings
    assert finding.version == 4
    (finding,) = verify_run(changed_log(store, run, events[:3]), _stream(store, run)).findings
    assert "ends with event 3" in finding.what


@pytest.mark.parametrize("left", [3, 2, 1, 0])
def test_rel_r20_a_tail_that_was_cut_off_is_found_by_a_seal(store: Store, left: int) -> None:
    # Given a log of which the end was cut off, with the stream row made to fit
    new_run(store, count=2)
    run = new_run(store, count=4)
    sealed(store)
    changed = changed_log(store, run, store.read(run.run_id)[:left])
    # When
    (finding,) = check_copy(changed, read_copy(copy_lines(store), name="copy"), TRUSTED).findings
    # Then
    assert (finding.run_id, finding.version, finding.seal) == (run.run_id, left + 1, 1)
    row = changed.stream(run.run_id)
    if row is not None:
        assert [found.version for found in verify_run(changed, row).findings] == [left + 1]


def test_rel_r20_a_history_written_anew_is_found_by_a_seal(store: Store) -> None:
    # Given
    run = new_run(store, count=4)
    sealed(store)
    changed = changed_log(store, run, written_anew(run, 6))
    # When / Then
    (finding,) = verify_run(changed, _stream(changed, run)).findings
    assert (finding.run_id, finding.version) == (run.run_id, 4)
    assert "written anew" in finding.what
    (finding,) = check_copy(changed, read_copy(copy_lines(store), name="copy"), TRUSTED).findings
    assert finding.version == 4


def test_nothing_that_has_changed_is_ever_sealed(store: Store) -> None:
    # Given a run that was sealed and has gone on
    run = new_run(store, count=4)
    sealed(store)
    run.put(store, 3)
    events = store.read(run.run_id)
    everything(store)
    # When
    broken = [*events[:5], structs.replace(events[5], payload=b"[]"), events[6]]
    with pytest.raises(Tampered) as caught:
        seal_log(changed_log(store, run, broken), SIGNER)
    # Then
    assert (caught.value.version, len(store.seals.read())) == (6, 1)
    with pytest.raises(SealBroken) as hole:
        seal_log(changed_log(store, run, [*events[:4], *events[5:]]), SIGNER)
    assert (hole.value.version, len(store.seals.read())) == (5, 1)


# -- a copy kept elsewhere --------------------------------------------------------------------------


def test_a_copy_of_the_seals_holds_the_log_to_them(store: Store) -> None:
    # Given
    runs = [new_run(store, count=2) for _ in range(3)]
    sealed(store)
    runs[0].put(store)
    sealed(store)
    # When
    copies = read_copy(copy_lines(store), name="copy")
    late = read_copy(copy_lines(store, after=1), name="copy")
    # Then
    assert [copy.seal for copy in copies] == store.seals.read()
    for each in (copies, late):
        done = check_copy(store, each, TRUSTED)
        assert (done.seals, done.findings) == (len(each), [])


def test_rel_r21_an_older_copy_of_the_log_is_reported(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given seals carried away, and a log that then is as it was after the first of them
    run = new_run(store, count=2)
    sealed(store)
    run.put(store)
    sealed(store)
    copies = read_copy(copy_lines(store), name="copy")
    first = store.seals.read()[:1]
    monkeypatch.setattr(store.seals, "read", lambda **wanted: first if wanted.get("after", 0) < 1 else [])
    monkeypatch.setattr(store.seals, "last", lambda: first[0])
    # When
    seal, head = check_copy(changed_log(store, run, store.read(run.run_id)[:2]), copies, TRUSTED).findings
    # Then
    assert (seal.seal, seal.run_id) == (2, "")
    assert "older copy" in seal.what
    assert (head.run_id, head.version) == (run.run_id, 3)


def test_seals_written_anew_are_found_by_a_copy(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given
    new_run(store)
    ((seal, said),) = sealed(store)
    copies = read_copy(copy_lines(store), name="copy")
    other = Signer(new_key("test", "ed25519"))
    forged = seal._replace(signature=other.sign(seal.signed))
    monkeypatch.setattr(store.seals, "read", lambda **_: [forged])
    # When / Then
    (finding,) = check_copy(store, copies, TRUSTED).findings
    assert (finding.seal, "written anew" in finding.what) == (1, True)
    (finding,) = verify_all(store, trusted=TRUSTED).findings
    assert "signature" in finding.what
    assert said.key == "test"


def test_a_damaged_copy_says_so(store: Store) -> None:
    new_run(store)
    sealed(store)
    (line,) = copy_lines(store)
    damaged = line.replace(b'"signature":"', b'"signature":"00')
    (finding,) = check_copy(store, read_copy([damaged], name="copy"), TRUSTED).findings
    assert "the copy of the seals is damaged" in finding.what
    for wrong in (b"{}", b"no json", line[: len(line) // 2]):
        with pytest.raises(InputError):
            read_copy([wrong], name="copy")
