"""A user's own daemon: where its files are, the user namespace that it lives in, and what this host lacks for it."""
