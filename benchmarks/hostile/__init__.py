"""Requests that nobody should send, for each port of the server, drawn with a seed."""
