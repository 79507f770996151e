"""Reads OpenAI chat completions, responses and embeddings; counts are told in Anthropic's terms.

OpenAI's input counts include cached tokens; here `input_tokens` is without them, `cache_read_input_tokens` holds them.
"""

from __future__ import annotations

from collections.abc import Mapping

from app.domain.streams import Notes, list_of, object_of, text_of


class ChatDialect:
    """Chat completions: choices with deltas or messages, usage in the last chunk when the caller asked for it."""

    skipped: frozenset[bytes] = frozenset()
    ended_by_done = True

    def event(self, notes: Notes, value: Mapping[str, object]) -> None:
        """Take one chunk."""
        if "error" in value:
            notes.error = text_of(object_of(value["error"]).get("type")) or "error"
            return
        self._common(notes, value, "delta")

    def whole(self, notes: Notes, value: Mapping[str, object]) -> None:
        """Take a completion (or an embedding list) that was not streamed."""
        self._common(notes, value, "message")

    def _common(self, notes: Notes, value: Mapping[str, object], part: str) -> None:
        notes.model = text_of(value.get("model")) or notes.model
        notes.message_id = text_of(value.get("id")) or notes.message_id
        for item in list_of(value.get("choices")):
            choice = object_of(item)
            notes.stop_reason = text_of(choice.get("finish_reason")) or notes.stop_reason
            for call in list_of(object_of(choice.get(part)).get("tool_calls")):
                self._call(notes, object_of(call))
        usage = object_of(value.get("usage"))
        if usage:
            count_openai(notes, usage, "prompt_tokens", "completion_tokens", "prompt_tokens_details")

    def _call(self, notes: Notes, call: Mapping[str, object]) -> None:
        named = object_of(call.get("function")) or object_of(call.get("custom"))
        notes.add_tool(call.get("id"), named.get("name"))


class ResponsesDialect:
    """Responses: response.created, response.output_item.added and .done, response.completed / incomplete / failed."""

    skipped = frozenset(
        {
            b"response.output_text.delta",
            b"response.function_call_arguments.delta",
            b"response.reasoning_text.delta",
            b"response.reasoning_summary_text.delta",
        }
    )
    ended_by_done = False

    def event(self, notes: Notes, value: Mapping[str, object]) -> None:
        """Take one streamed object by its `type`."""
        kind = value.get("type")
        if kind in ("response.output_item.added", "response.output_item.done"):
            self._item(notes, object_of(value.get("item")))
        elif kind == "error":
            notes.error = text_of(value.get("code")) or "error"
        elif kind in ("response.created", "response.completed", "response.incomplete", "response.failed"):
            self.whole(notes, object_of(value.get("response")))
            notes.done = kind != "response.created"

    def whole(self, notes: Notes, value: Mapping[str, object]) -> None:
        """Take a response object."""
        notes.model = text_of(value.get("model")) or notes.model
        notes.message_id = text_of(value.get("id")) or notes.message_id
        status = text_of(value.get("status"))
        notes.stop_reason = status if status != "in_progress" else notes.stop_reason
        if status == "failed":
            notes.error = text_of(object_of(value.get("error")).get("code")) or "failed"
        for item in list_of(value.get("output")):
            self._item(notes, object_of(item))
        usage = object_of(value.get("usage"))
        if usage:
            count_openai(notes, usage, "input_tokens", "output_tokens", "input_tokens_details")

    def _item(self, notes: Notes, item: Mapping[str, object]) -> None:
        kind = text_of(item.get("type"))
        if kind.endswith("_call") and "call_id" in item:
            notes.add_tool(item.get("call_id"), item.get("name") or kind)


def count_openai(notes: Notes, usage: Mapping[str, object], into: str, out: str, details: str) -> None:
    """Set the counts from OpenAI's usage object; cached tokens are told apart from the rest of the input."""
    total, cached = usage.get(into), object_of(usage.get(details)).get("cached_tokens")
    known = cached if isinstance(cached, int) and not isinstance(cached, bool) else 0
    if isinstance(total, int) and not isinstance(total, bool):
        notes.count("input_tokens", total - known if 0 <= known <= total else total)
        notes.count("cache_read_input_tokens", known if 0 <= known <= total else 0)
    notes.count("output_tokens", usage.get(out, 0))
