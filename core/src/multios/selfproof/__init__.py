"""``validate --isolation``: try a fixed battery from inside a container and say what the kernel's answers mean.

``battery`` runs inside, ``judgement`` knows what each answer means, ``room`` makes the container and removes it.
"""
