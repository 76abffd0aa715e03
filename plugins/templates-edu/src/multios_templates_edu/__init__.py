"""The set of educational templates: what it installs are its dependencies."""

__version__ = "0.1.0"
