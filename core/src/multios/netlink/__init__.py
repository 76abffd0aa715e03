"""What network drivers share: rtnetlink(7) messages, entering a namespace, and a container's side of an endpoint; its traffic.

Drivers differ in what they do to the host; inside the container an interface with its addresses and routes is the same
whoever made it.
"""
