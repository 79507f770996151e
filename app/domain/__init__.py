"""Pure rules: no I/O, no clock, no asyncio. Everything above imports this; this imports nothing of ours."""
