"""The terminal: real processes, a real server, real sockets."""
