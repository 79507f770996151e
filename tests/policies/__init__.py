"""The bundles that Helm ships, against their own tables."""
