"""Building images from a Dockerfile and a context."""
