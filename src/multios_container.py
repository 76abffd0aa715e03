"""The whole of the MultiOS Container System: this distribution holds no code, it brings the core and its default drivers."""
