"""``multios-oci-runtime``: the containers of ``isolation-ns`` behind the command line that OCI runtimes share.

One process an operation, no daemon: podman's conmon, containerd's shim or whoever calls is the container's parent.
Read :mod:`.making` for how a container comes to be, and ``operations`` for what each word of the command line does.
"""

VERSION = "0.1.0"
SPEC_VERSION = "1.2.0"
