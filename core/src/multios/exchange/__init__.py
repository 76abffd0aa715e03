"""Images as archives: what other tools write is read, and what is written here they read."""
