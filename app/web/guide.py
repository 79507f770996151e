"""The three steps to the first run, for an installation that has none."""

from __future__ import annotations

from app.web.context import Web
from app.web.views import GuideStep


def guide_of(web: Web) -> tuple[GuideStep, ...]:
    """What is done and what comes next."""
    keyed = any(web.services.providers.keys().values())
    demo = next((plan.name for plan in web.services.library.blueprints() if plan.demo), "")
    key_text = "Only for real models. The demo plays without one."
    demo_href = f"/blueprints/{demo}" if demo else "/blueprints"
    return (
        GuideStep("Play the demo", False, "A scripted agent in a real container.", demo_href, "Open the demo"),
        GuideStep("Answer what it asks", False, "It wants to send an e-mail. You decide, in the inbox."),
        GuideStep("Store a model key", keyed, key_text, command="helm key set anthropic"),
    )
