"""The format of templates, schema 1: ``template.toml``, ``lesson.md`` and ``rootfs/`` in one folder.

``document.py`` reads and checks the file, ``rendering.py`` makes a plan of it, ``overlay.py`` is the folder of files,
``packages.py`` and ``services.py`` write what goes into the image, ``toml_lines.py`` knows on which line a key stands.
"""
