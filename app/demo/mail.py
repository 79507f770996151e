"""E-mail as a real MCP server: a tool call becomes an RFC 5322 message in a Maildir.

Nothing here is idempotent: two calls are two letters, so that a test can count effects.
"""

import mailbox
from datetime import UTC, datetime
from email import message_from_bytes
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, make_msgid
from pathlib import Path
from typing import Annotated

from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from pydantic import BaseModel, Field

SENDER = Address("Helm agent", "briefs", "example.com")
MAX_TEXT = 200_000


class Attachment(BaseModel):
    """A text file that travels with the letter."""

    filename: Annotated[str, Field(min_length=1, max_length=120, pattern=r"^[^/\\\x00-\x1f]+$")]
    content: Annotated[str, Field(max_length=MAX_TEXT)]


class Sent(BaseModel):
    """A letter that is in the mailbox."""

    message_id: str
    to: str
    subject: str
    delivered_at: str
    attachments: list[str]


class SentList(BaseModel):
    """All letters, oldest first."""

    messages: list[Sent]


class Post:
    """The mailbox."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._box: mailbox.Maildir = mailbox.Maildir(path, create=True)

    def deliver(self, to: str, subject: str, body: str, attachments: list[Attachment]) -> Sent:
        letter = _letter(to, subject, body, attachments)
        self._box.add(letter)
        return _sent(letter)

    def letters(self) -> list[Sent]:
        files = sorted((self.path / "new").iterdir(), key=lambda file: file.stat().st_mtime_ns)
        return [_sent(message_from_bytes(file.read_bytes(), policy=SMTP)) for file in files]


def mail_server(post: Post) -> MCPServer:
    """The tools `send_email` and `list_sent`."""
    server = MCPServer(
        name="mail",
        title="Mail",
        instructions="Sends e-mail from briefs@example.com. A letter that was sent cannot be called back.",
        version="1.0.0",
        log_level="WARNING",
    )

    @server.tool(title="Send e-mail")
    def send_email(
        to: Annotated[str, Field(description="One address, for example leadership@example.com", max_length=254)],
        subject: Annotated[str, Field(description="Subject line", min_length=1, max_length=200)],
        body: Annotated[str, Field(description="Plain text", min_length=1, max_length=MAX_TEXT)],
        attachments: Annotated[list[Attachment] | None, Field(description="Text files", max_length=10)] = None,
    ) -> Sent:
        """Send one plain-text e-mail. It is delivered at once; sending again delivers a second letter."""
        try:
            return post.deliver(to, subject, body, attachments or [])
        except ValueError as error:
            raise ToolError(f"not sent: {error}") from error

    @server.tool(title="List sent e-mail")
    def list_sent() -> SentList:
        """All letters that were sent, oldest first."""
        return SentList(messages=post.letters())

    return server


def _letter(to: str, subject: str, body: str, attachments: list[Attachment]) -> EmailMessage:
    local, at, domain = to.strip().rpartition("@")
    if not (local and at and domain) or any(mark in to for mark in ",;\r\n "):
        raise ValueError(f"{to!r} is not one e-mail address")
    letter = EmailMessage(policy=SMTP)
    letter["From"] = SENDER
    letter["To"] = Address(username=local, domain=domain)
    letter["Subject"] = " ".join(subject.split())
    letter["Date"] = format_datetime(datetime.now(UTC))
    letter["Message-ID"] = make_msgid(domain="demo.test")
    letter.set_content(body)
    for attachment in attachments:
        letter.add_attachment(attachment.content, filename=attachment.filename)
    return letter


def _sent(letter: EmailMessage) -> Sent:
    return Sent(
        message_id=str(letter["Message-ID"]),
        to=str(letter["To"]),
        subject=str(letter["Subject"]),
        delivered_at=str(letter["Date"]),
        attachments=[part.get_filename() or "" for part in letter.iter_attachments()],
    )
