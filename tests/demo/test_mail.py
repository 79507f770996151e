"""Real MCP client, real server, real letters in a real mailbox."""

from __future__ import annotations

from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default

from app.demo import World
from mcp import Client

LETTER = {
    "to": "leadership@example.com",
    "subject": "Prices in November",
    "body": "Hello all,\n\nNorthwind cut its price: 24 €.\n",
}


def letters(world: World) -> list[EmailMessage]:
    return [message_from_bytes(raw, policy=default) for raw in world.letters()]


async def test_the_tools_are_described(world: World) -> None:
    async with Client(world.mail) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
    assert set(tools) == {"send_email", "list_sent"}
    send = tools["send_email"]
    assert send.input_schema["required"] == ["to", "subject", "body"]
    assert send.output_schema is not None
    assert "message_id" in send.output_schema["properties"]


async def test_two_calls_are_two_letters(own_world: World) -> None:
    attachment = {"filename": "prices.csv", "content": "company,price\nAcme,49\n"}
    async with Client(own_world.mail) as client:
        first = await client.call_tool("send_email", LETTER)
        second = await client.call_tool("send_email", {**LETTER, "attachments": [attachment]})
        listed = await client.call_tool("list_sent", {})
    assert first.structured_content is not None
    assert second.structured_content is not None
    assert first.structured_content["message_id"] != second.structured_content["message_id"]
    plain, rich = letters(own_world)
    assert (plain["To"], plain["Subject"], plain["From"]) == (
        *("leadership@example.com", "Prices in November", "Helm agent <briefs@example.com>"),
    )
    assert plain["Message-ID"] == first.structured_content["message_id"]
    assert "24 €" in plain.get_content()
    assert [part.get_filename() for part in rich.iter_attachments()] == ["prices.csv"]
    assert listed.structured_content is not None
    assert [row["attachments"] for row in listed.structured_content["messages"]] == [[], ["prices.csv"]]


async def test_what_is_not_one_address_is_not_sent(own_world: World) -> None:
    async with Client(own_world.mail) as client:
        for to in (
            "a@example.com, b@example.com",
            "nobody",
            "a@example.com\r\nBcc: all@example.com",
            "@example.com",
            "",
        ):
            answer = await client.call_tool("send_email", {**LETTER, "to": to})
            assert answer.is_error
        bad_file = await client.call_tool(
            "send_email", {**LETTER, "attachments": [{"filename": "../x", "content": ""}]}
        )
        assert bad_file.is_error
        assert (await client.call_tool("send_email", {"to": "a@example.com"})).is_error
        split = await client.call_tool("send_email", {**LETTER, "subject": "Hello\r\nBcc: all@example.com"})
        assert not split.is_error
    (letter,) = letters(own_world)
    assert letter["Bcc"] is None
