"""Courses: a machine for every student, from ``course.toml`` and a roster, through the daemon's API.

``course_file`` and ``roster`` read what the teacher wrote, ``machines`` says which machines that comes to, ``starting`` makes
them by a queue, ``status`` and ``wiping`` look and clean up, ``bundle`` and ``installing`` bring a course elsewhere,
``course_records`` and the ``orchestrated`` modules do the same by an orchestrator such as a cluster's,
``collecting`` and ``grading`` take in what students did. ``commands`` is the only module that a command line imports at once.
"""
