"""The face for people: pages, REST API and live stream on their own listener."""
