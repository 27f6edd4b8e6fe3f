"""Keys in settings: read strictly, never shown."""

from __future__ import annotations

import base64

import pytest

from flowledger.adapters.keys import Key, new_key, read_keys
from flowledger.adapters.settings import Settings, resolve
from flowledger.adapters.signing import Signer, is_signed_by, public_half, signer_of, trusted_keys
from flowledger.events.errors import InputError

ONE = new_key("one", "ed25519")
TWO = new_key("two", "aes")


def test_keys_are_read_as_they_are_written() -> None:
    assert read_keys(f"# ours\n\n {ONE.line} ,{TWO.line}\n", setting="KEYS") == [ONE, TWO]


def test_base64_of_urls_is_understood_too() -> None:
    content = b"\xfb\xff" * 16
    line = f"k=aes:{base64.urlsafe_b64encode(content).decode()}"
    assert read_keys(line, setting="KEYS")[0].content == content


@pytest.mark.parametrize(
    "text",
    ["one", "one=aes:", "one=rsa:AAAA", "=aes:AAAA", "one=aes:AAAA", "one=aes:!!!", f"a b={ONE.line.partition('=')[2]}",
     f"{ONE.line}\n{ONE.line}"],
    ids=range(8),
)  # fmt: skip
def test_what_is_no_key_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(InputError) as caught:
        read_keys(text, setting="FLOWLEDGER_CODEC_KEYS")
    assert caught.value.field == "FLOWLEDGER_CODEC_KEYS"
    assert "AAAA" not in str(caught.value)
    assert ONE.line.partition(":")[2] not in str(caught.value)


def test_rel_s10_a_key_does_not_show_itself() -> None:
    settings = resolve(environ={"FLOWLEDGER_SIGNING_KEYS": ONE.line, "FLOWLEDGER_CODEC_KEYS": TWO.line})
    for shown in (repr(ONE), repr(settings), repr(Settings(codec_keys=TWO.line))):
        assert ONE.line[-20:] not in shown
        assert TWO.line[-20:] not in shown


def test_a_signature_is_of_one_key_over_one_message() -> None:
    # Given
    signer = Signer(ONE)
    signature = signer.sign(b"a")
    # When / Then
    assert is_signed_by(signer.public_key, signature, b"a")
    assert not is_signed_by(signer.public_key, signature, b"b")
    assert not is_signed_by(Signer(new_key("x", "ed25519")).public_key, signature, b"a")
    assert not is_signed_by(signer.public_key, signature[:-1], b"a")
    assert not is_signed_by(b"short", signature, b"a")


def test_the_first_signing_key_signs_and_all_are_trusted() -> None:
    # Given
    follower, stranger = new_key("next", "ed25519"), public_half(new_key("stranger", "ed25519"))
    # When
    text = f"{TWO.line}\n{ONE.line}\n{follower.line}"
    # Then
    assert signer_of(text).name == "one"
    assert trusted_keys(text, stranger.line) == {
        public_half(ONE).content, public_half(follower).content, stranger.content
    }  # fmt: skip


def test_without_a_signing_key_somebody_says_how_to_make_one() -> None:
    with pytest.raises(InputError) as caught:
        signer_of(TWO.line)
    assert "flowledger keys new" in caught.value.hint


def test_a_key_has_a_plain_name() -> None:
    with pytest.raises(InputError):
        new_key("a=b", "aes")
    assert Key("a", "aes", bytes(32)).line == f"a=aes:{'A' * 43}="
