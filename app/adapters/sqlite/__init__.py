"""The log in SQLite: one writing connection, read-only readers, projections that can be dropped and rebuilt."""
