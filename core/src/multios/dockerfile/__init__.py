"""The Dockerfile language: its records, its parser, its variables. It knows no engine."""
