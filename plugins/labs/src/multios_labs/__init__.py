"""Labs: machines with a task in steps, checks, submissions and grading. A client of the daemon, as any command is.

``command`` is the command line. A lab as written is read by ``document`` (records in ``records``), each student's values come
from ``parameters``, and what a student has done is in ``progress``. ``machine`` makes and changes the container, ``inside``
runs commands in it, ``submission`` packs and verifies, ``grading`` judges, ``updating`` brings a corrected lab, ``status`` lists.
"""
