"""The isolation driver ``oci``: containers made by an OCI runtime, such as runc.

The driver stands in ``driver``, not here, because the supervisor imports ``launch`` and must stay small.
"""
