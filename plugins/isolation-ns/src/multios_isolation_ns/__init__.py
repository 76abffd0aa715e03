"""The isolation driver ``ns``: containers of Linux namespaces, made without a helper program.

The driver stands in ``driver``, not here, because the supervisor imports ``launch`` and must stay small.
"""
