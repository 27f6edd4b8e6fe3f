"""A mail server that takes one message: as much of SMTP as a client needs, with STARTTLS where it has a certificate."""

from __future__ import annotations

import datetime as dt
import socket
import ssl
from contextlib import ExitStack, suppress
from pathlib import Path
from threading import Thread

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


def certificate(folder: Path, host: str = "localhost") -> Path:
    """A certificate for a host, signed by itself, with its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1)).not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    path = folder / "mail.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return path


class MailServer:
    """``said``: the commands it was given, ``message``: the lines of what came. Close it."""

    def __init__(self, pem: Path | None = None) -> None:
        self.said: list[str] = []
        self.message: list[str] = []
        self._tls: ssl.SSLContext | None = None
        if pem is not None:
            self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._tls.load_cert_chain(pem)
        self._listens = socket.create_server(("127.0.0.1", 0))
        self.port = self._listens.getsockname()[1]
        self._thread = Thread(target=self._serve)
        self._thread.start()

    def close(self) -> None:
        self._listens.close()
        self._thread.join(30)

    def _serve(self) -> None:
        try:
            connection, _ = self._listens.accept()
        except OSError:  # closed before anybody came
            return
        connection.settimeout(30)
        with ExitStack() as open_:
            open_.enter_context(suppress(OSError))  # who does not trust the certificate hangs up
            open_.enter_context(connection)
            self._talk(connection, open_)

    def _talk(self, connection: socket.socket, open_: ExitStack) -> None:
        lines = connection.makefile("rw", newline="\r\n")

        def answer(text: str) -> None:
            lines.write(f"{text}\r\n")
            lines.flush()

        answer("220 here")
        while line := lines.readline():
            said = line.strip()
            self.said.append(said)
            verb = said.upper()
            if verb.startswith("EHLO"):
                answer("250-here")
                answer("250-AUTH PLAIN")
                answer("250 STARTTLS" if self._tls else "250 HELP")
            elif verb == "STARTTLS" and self._tls is not None:
                answer("220 go on")
                secured = open_.enter_context(
                    self._tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
                )
                secured.do_handshake()
                lines = secured.makefile("rw", newline="\r\n")
            elif verb.startswith("AUTH"):
                answer("235 in")
            elif verb == "DATA":
                answer("354 go on")
                while (text := lines.readline().rstrip("\r\n")) != ".":
                    self.message.append(text)
                answer("250 taken")
            elif verb == "QUIT":
                answer("221 bye")
                return
            else:
                answer("250 well")
