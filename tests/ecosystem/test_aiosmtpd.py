"""aiosmtpd, its server on a loop in a thread of its own, with the standard library's client."""

import asyncio
import smtplib
import ssl
import threading

import pytest

from ..ioutil import no_new_descriptors, unused_port
from ..support import GUARD
from .support import LOCALHOST, need


class Inbox:
    def __init__(self):
        self.mails = []
        self.encrypted = []

    async def handle_DATA(self, server, session, envelope):
        await asyncio.sleep(0)
        self.mails.append((envelope.mail_from, envelope.rcpt_tos, envelope.content))
        self.encrypted.append(session.ssl is not None)
        return "250 OK"


@pytest.fixture
def serve(loop_factory):
    module = need("aiosmtpd.controller")

    def serve(inbox, **options):
        controller = module.Controller(
            inbox,
            loop=loop_factory(),
            hostname=LOCALHOST,
            port=unused_port(),
            ready_timeout=GUARD,
            **options,
        )
        controller.start()
        return controller, controller.port

    return serve


def text(number, size=20_000):
    lines = "\r\n".join([f"mail {number}"] * (size // 10))
    return f"Subject: {number}\r\n\r\n{lines}\r\n".encode()


def test_mails_from_many_clients(serve):
    inbox = Inbox()
    with no_new_descriptors(others=True):
        controller, port = serve(inbox)
        try:

            def client(number):
                with smtplib.SMTP(LOCALHOST, port, timeout=GUARD) as smtp:
                    for turn in range(3):
                        mail = text(number * 10 + turn)
                        smtp.sendmail(f"{number}@a", [f"{turn}@b", "c@d"], mail)

            threads = [threading.Thread(target=client, args=(number,)) for number in range(10)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(GUARD)
        finally:
            controller.stop()
    expected = [
        (f"{number}@a", [f"{turn}@b", "c@d"], text(number * 10 + turn))
        for number in range(10)
        for turn in range(3)
    ]
    assert sorted(inbox.mails) == sorted(expected)


def test_starttls(serve):
    """The connection begins in plain text; the server puts asyncio's SSLProtocol on it by hand."""
    trustme = need("trustme")
    authority = trustme.CA()
    server_context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(LOCALHOST).configure_cert(server_context)
    client_context = ssl.create_default_context()
    authority.configure_trust(client_context)
    inbox = Inbox()
    with no_new_descriptors(others=True):
        controller, port = serve(inbox, tls_context=server_context, require_starttls=True)
        try:
            with smtplib.SMTP(LOCALHOST, port, timeout=GUARD) as smtp:
                with pytest.raises(smtplib.SMTPSenderRefused):
                    smtp.sendmail("a@b", ["c@d"], text(0))
                smtp.starttls(context=client_context)
                for number in range(5):
                    smtp.sendmail("a@b", ["c@d"], text(number, 500_000))
        finally:
            controller.stop()
    assert [content for _, _, content in inbox.mails] == [text(n, 500_000) for n in range(5)]
    assert inbox.encrypted == [True] * 5
