"""Compose files (the Compose Specification, compose-spec.io) as the document that orchestrators get.

It runs in the client, with the rights of who asks: :func:`multios.compose.project.read` is the way in.
"""
