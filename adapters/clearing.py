"""What encrypted runs say, readable where this process has the keys (rule H3); as it stands in the log where not.

Texts of failures and what tasks wait for; values are opened one by one, by whoever asks for one. Secrets stay what they
are in the log, references.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from flowledger.core.vault import Vault
from flowledger.events import facts
from flowledger.events.codec import opened
from flowledger.events.envelope import Envelope
from flowledger.events.errors import KeyMissing, NotSupported, PayloadErased
from flowledger.events.failure import Failure
from flowledger.events.store import Store

from .vaulting import RUN_KEY, RunVaults

if TYPE_CHECKING:
    from .settings import Settings


class Clearing:
    """Of one log. Each run's first event says whether it is encrypted; it is looked at once."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store = store
        self._vaults = RunVaults(store.run_keys, settings, now_us=store.now_us)
        self._of: dict[str, Vault | None] = {}

    def vault(self, run_id: str) -> Vault | None:
        """The vault of an encrypted run; None: it is not, or its key is not here, or gone."""
        if run_id not in self._of:
            self._of[run_id] = self._found(run_id)
        return self._of[run_id]

    def _found(self, run_id: str) -> Vault | None:
        first = next(opened(run_id, self._store.read(run_id, limit=1)), None)
        submitted = None if first is None else first.event
        if not isinstance(submitted, facts.RunSubmitted) or submitted.codec != RUN_KEY:
            return None
        try:
            return self._vaults.reading(run_id, submitted)
        except (KeyMissing, PayloadErased, NotSupported):
            return None

    def cleared(self, envelope: Envelope) -> Envelope:
        """The envelope with its texts as they were said."""
        vault = self.vault(envelope.run_id)
        if vault is None:
            return envelope
        event, changed = envelope.event, dict[str, Any]()
        for name in event.__struct_fields__:
            value = getattr(event, name)
            if isinstance(value, Failure):
                changed[name] = vault.shown(value)
            elif name == "failures":
                changed[name] = tuple(vault.shown(each) for each in value)
            elif name == "message":
                changed[name] = vault.said(value)
        return (
            msgspec.structs.replace(envelope, event=msgspec.structs.replace(event, **changed)) if changed else envelope
        )
