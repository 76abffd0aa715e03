"""The name server of container networks: a small process of its own, without any right, that outlives the daemon.

``wire`` reads and writes DNS messages, ``zones`` knows who is called what and who may know it, ``upstream`` asks other
servers, ``service`` answers, ``control`` obeys the daemon.
"""
