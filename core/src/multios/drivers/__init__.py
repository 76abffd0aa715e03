"""The contracts that backends fulfil: one module a kind, each entry-point group ``multios.<kind>.v1``."""
