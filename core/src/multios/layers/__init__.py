"""Layers: tars of the OCI image format (image-spec, layer.md) out of directories and into them.

``pack`` writes them, ``unpack`` applies untrusted ones in a chrooted child, ``snapshots`` is the
crash-safe bookkeeping that storage drivers share.
"""
