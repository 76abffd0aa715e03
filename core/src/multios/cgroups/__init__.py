"""One face over cgroup v1, v2 and hybrid hosts (kernel: admin-guide/cgroup-v1, admin-guide/cgroup-v2).

``hierarchy`` is imported by the supervisor and stays free of heavy imports, and so does this module.
"""
