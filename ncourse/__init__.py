"""ncourse: neural collapse, measured. The companion package of the course."""

from importlib.metadata import version

__version__ = version("ncourse")
