"""The course as a course: manifest, site, slides, assignments and the `ncourse` command."""

from pathlib import Path

PACKAGE = Path(__file__).parents[1]
"""The folder of `ncourse`, whose code notebooks depend on and whose docstrings are pages."""
