"""What people ask of a run of the corpus while it is under way, sent by whoever drives it, as often as it is driven."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flowledger import Flow, IllegalRequest, Run
from flowledger.events import requests
from flowledger.events.envelope import Envelope
from flowledger.events.store import Mail
from tests.crash import corpus
from tests.crash.job import Executor


def run_until_over(part: Flow[Any], key: str, flow: str, executor: Executor) -> Run[Any]:
    """Run a flow, or go on with it; where it is suspended on request, or held, that is ended, too."""
    while True:
        try:
            run = corpus.app.execute(part, key=key, executor=executor, observe=_Asking(flow))
        except IllegalRequest:
            if not any(request.kind == "resolve" for _, _, request in corpus.ASKED.get(flow, [])):
                raise
            run = _resolved(flow, key)
        if run.state != "SUSPENDED" or flow not in corpus.ASKED:
            return run


class _Asking:
    """Asks of a run what its flow wants asked, when its log has come so far; again by each process, under one id."""

    def __init__(self, flow: str) -> None:
        self._wanted = list(enumerate(corpus.ASKED.get(flow, [])))
        self._met: list[str] = []

    def __call__(self, envelopes: Sequence[Envelope]) -> None:
        for envelope in envelopes:
            self._met.append(envelope.type)
            due = [each for each in self._wanted if self._is_due(*each[1])]
            self._wanted = [each for each in self._wanted if each not in due]
            if due:  # all in one, so that they come together
                mail = [_mail(envelope.run_id, number, request) for number, (_, _, request) in due]
                corpus.app.runtime.store.send(mail)

    def _is_due(self, type_: str, count: int, request: requests.Request) -> bool:
        return request.kind != "resolve" and self._met.count(type_) >= count


def _mail(run_id: str, number: int, request: requests.Request) -> Mail:
    return Mail(run_id, f"{request.kind}-{number}", request.kind, requests.encode(request), "somebody", live=True)


def _resolved(flow: str, key: str) -> Run[Any]:
    """Somebody says what became of the attempt that the run is held at."""
    stream = corpus.app.runtime.store.find(app=corpus.app.name, factory=flow, key=key)
    assert stream is not None
    number, (_, _, request) = next(each for each in enumerate(corpus.ASKED[flow]) if each[1][2].kind == "resolve")
    mail = _mail(stream.run_id, number, request)
    corpus.app.runtime.store.send([mail])
    return corpus.app.see_to(stream, mail.id)
