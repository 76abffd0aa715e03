"""A file an operation; each has ``OPTIONS`` (see :mod:`..command_line`) and ``run(request) -> exit status``."""
