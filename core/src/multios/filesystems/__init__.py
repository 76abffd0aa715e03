"""Filesystems that keep a snapshot's size: filesystems of a fixed size in files, and project quotas.

``loop_devices.py`` makes a file a block device, ``sized.py`` makes, mounts and resizes the ext4 in such a file,
``project_quota.py`` limits a directory where the filesystem below has quotas. ``bounds.py`` chooses between them.
"""
