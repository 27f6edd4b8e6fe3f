"""Ways to tell somebody: webhooks, e-mail, commands, and whom they never call (RELIABILITY S12)."""

from __future__ import annotations

import json
import socket
import ssl
import sys
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from flowledger.adapters.notifying import web
from flowledger.adapters.notifying.channels import Command, Email, NotDelivered, Webhook, signature
from flowledger.adapters.notifying.rules import Rule
from flowledger.adapters.notifying.sender import Sender
from flowledger.adapters.projecting.projector import Projector
from flowledger.adapters.stores import open_store
from flowledger.adapters.stores.views import views_of
from flowledger.events.errors import InputError
from flowledger.projections.history import HISTORY
from tests.integration.listening import FAILED, Listening
from tests.integration.mail_server import MailServer, certificate
from tests.unit.written_log import RUN_ID, write

SECRET = "a secret of some length"


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        server: Any = self.server
        server.got.append((self.path, dict(self.headers), body))
        self.send_response(server.answer)
        self.send_header("Location", "http://127.0.0.1:1/elsewhere")
        self.end_headers()

    def log_message(self, *args: Any, **more: Any) -> None: ...


@pytest.fixture
def receiver() -> Iterator[Any]:
    server: Any = HTTPServer(("127.0.0.1", 0), Receiver)
    server.got, server.answer = [], 200
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


NOTICE = {"id": "r-1", "kind": "failed", "flow": "build", "run": "r", "text": "x"}


def test_a_webhook_is_signed(receiver: Any) -> None:
    Webhook(url=f"http://localhost:{receiver.server_port}/hook?a=b", secret=SECRET, private=["localhost"]).send(
        NOTICE, now_s=7
    )
    [(path, headers, body)] = receiver.got
    assert path == "/hook?a=b"
    assert json.loads(body) == NOTICE
    assert headers["Flowledger-Delivery"] == "r-1"
    assert headers["Flowledger-Signature"] == f"t=7,v1={signature(SECRET, 7, body)}"
    assert signature(SECRET, 7, body) != signature(SECRET, 8, body) != signature("another secret….", 8, body)


@pytest.mark.parametrize(("answer", "again"), [(500, True), (429, True), (404, False), (302, False)])
def test_a_webhook_that_is_not_taken_says_whether_to_try_again(receiver: Any, answer: int, again: bool) -> None:
    receiver.answer = answer
    webhook = Webhook(url=f"http://localhost:{receiver.server_port}/", secret=SECRET, private=["localhost"])
    with pytest.raises(NotDelivered) as caught:
        webhook.send(NOTICE, now_s=7)
    assert caught.value.again is again
    assert len(receiver.got) == 1  # and nobody followed it elsewhere


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]", "0.0.0.0", "127.1", "2130706433", "0x7f.1"])
def test_rel_s12_a_webhook_calls_nobody_in_ones_own_network(receiver: Any, host: str) -> None:
    webhook = Webhook(url=f"http://{host}:{receiver.server_port}/", secret=SECRET)
    with pytest.raises(NotDelivered):
        webhook.send(NOTICE, now_s=7)
    assert receiver.got == []


PRIVATE = [
    "10.0.0.1", "10.255.255.255", "172.16.0.1", "172.31.255.254", "192.168.1.1", "169.254.169.254", "100.64.0.1",
    "127.0.0.53", "0.0.0.0", "192.0.0.8", "192.0.2.1", "198.18.0.1", "198.51.100.7", "203.0.113.9", "224.0.0.1",
    "239.255.255.250", "240.0.0.1", "255.255.255.255", "::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd12::1",
    "ff02::1", "2001:db8::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "2002:7f00:1::",
    "2002:a00:1::", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "2001:0:4136:e378:8000:63bf:80ff:fffe",
]  # fmt: skip


PUBLIC = ["1.1.1.1", "8.8.8.8", "93.184.216.34", "2606:4700:4700::1111", "2a00:1450:4001:81b::200e", "64:ff9b::808:808"]


def test_rel_s12_private_ranges_are_known_in_every_disguise() -> None:
    assert [address for address in PRIVATE if web.is_public(address)] == []
    assert [address for address in PUBLIC if not web.is_public(address)] == []


def test_rel_s12_one_private_address_among_public_ones_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [(2, 1, 6, "", (address, 80)) for address in ("93.184.216.34", "10.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    with pytest.raises(web.NotPublic, match=r"10\.0\.0\.1"):
        web.post("http://example.com/", b"", {}, private=[], timeout_s=1)


def test_rel_s12_the_address_that_was_checked_is_the_one_that_is_called(
    receiver: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    real = socket.getaddrinfo

    def answers(host: str, *rest: Any, **more: Any) -> Any:
        asked.append(host)
        return real("127.0.0.1" if host == "hook.test" else host, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", answers)
    status = web.post(f"http://hook.test:{receiver.server_port}/", b"{}", {}, private=["hook.test"], timeout_s=5)
    assert status == 200
    assert asked.count("hook.test") == 1
    assert receiver.got[0][1]["Host"].startswith("hook.test")


@pytest.mark.parametrize(
    "url", ["ftp://a/b", "file:///etc/passwd", "https://", "gopher://a", "javascript:1", "http://me:pass@host/", "//a"]
)
def test_rel_s12_a_webhook_is_http_and_nothing_else(url: str) -> None:
    with pytest.raises(InputError) as caught:
        Webhook(url=url, secret=SECRET)
    assert "pass@" not in str(caught.value)


def test_a_secret_is_long_and_never_shown() -> None:
    with pytest.raises(InputError):
        Webhook(url="https://a/", secret="short")
    webhook = Webhook(url="https://a/b?token=t", secret=SECRET)
    assert SECRET not in repr(webhook) + webhook.describe()
    assert Webhook(url="https://a:8443/b?token=t", secret=SECRET).describe() == "webhook https://a:8443/b"
    assert "token" not in webhook.describe()


def test_a_command_gets_the_notice_on_its_standard_input(tmp_path: Path) -> None:
    program = f"import sys; open({str(tmp_path / 'got')!r}, 'w').write(sys.stdin.read())"
    Command(argv=[sys.executable, "-c", program]).send(NOTICE, now_s=7)
    assert json.loads((tmp_path / "got").read_text()) == NOTICE
    for argv in ([sys.executable, "-c", "raise SystemExit(3)"], ["/nowhere/at/all"]):
        with pytest.raises(NotDelivered):
            Command(argv=argv).send(NOTICE, now_s=7)
    for wrong in ([], "notify-send x", [""]):
        with pytest.raises(InputError):
            Command(argv=wrong)


def test_an_e_mail_cannot_be_given_other_headers() -> None:
    from flowledger.adapters.notifying.channels import _message  # noqa: PLC0415

    channel = Email(to=["ops@example.com"], sender="flows@example.com", server="smtp://mail.example.com:587")
    message = _message(channel, NOTICE | {"flow": "a\r\nBcc: everybody@example.com"})
    assert message["Bcc"] is None
    assert message["To"] == "ops@example.com"
    assert "\n" not in message["Subject"]
    wrongs: list[dict[str, Any]] = [{"to": []}, {"to": ["a\nb"]}, {"server": "http://x"}, {"server": "smtp://"}]
    for wrong in wrongs:
        given: dict[str, Any] = {"to": ["a@b"], "sender": "c@d", "server": "smtp://h", **wrong}
        with pytest.raises(InputError):
            Email(**given)


def test_an_e_mail_arrives_where_no_encryption_was_asked_for() -> None:
    # Given
    with closing(MailServer()) as server:
        # When
        Email(
            to=["ops@example.com"], sender="flows@example.com", server=f"smtp+plain://localhost:{server.port}"
        ).send(NOTICE, now_s=7)  # fmt: skip
    # Then
    assert "rcpt TO:<ops@example.com>" in server.said
    assert {"Subject: [flowledger] failed: build r", "flow: build", "text: x"} <= set(server.message)


def test_an_e_mail_goes_to_no_server_whose_certificate_nobody_trusts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pem, trusting = certificate(tmp_path), ssl.create_default_context

    def mailed(server: MailServer) -> None:
        url = f"smtp://me:hunter2@localhost:{server.port}"
        Email(to=["ops@example.com"], sender="flows@example.com", server=url).send(NOTICE, now_s=7)

    # When the server shows one of its own making
    with closing(MailServer(pem)) as server, pytest.raises(NotDelivered, match="certificate") as refused:
        mailed(server)
    # Then it is told neither password nor notice, and tried again later
    assert refused.value.again
    assert not [line for line in server.said if line.startswith(("AUTH", "mail"))]
    # When this machine trusts it
    monkeypatch.setattr(ssl, "create_default_context", lambda: trusting(cafile=str(pem)))
    with closing(MailServer(pem)) as server:
        mailed(server)
    # Then
    assert [line for line in server.said if line.startswith("AUTH PLAIN")]
    assert "text: x" in server.message


def test_the_same_on_a_file(tmp_path: Path) -> None:
    channel = Listening()
    with closing(open_store(f"sqlite:///{tmp_path}/log.db")) as store, closing(views_of(store)) as views:
        write(store, FAILED, status="FAILED")
        Projector(store, views, HISTORY).catch_up(within_s=60)
        sender = Sender(store, views, "shop", [Rule("ops", channel)])
        sender.report(id="v", run_id=RUN_ID, text="x")
        assert [sender.round(), sender.round()] == [1, 0]
    assert [n["kind"] for n in channel.got] == ["verify-failed"]  # the failure is of 2023, and the rule is new
