"""A wheel carries the course, `book.toml` and `notebooks/`, so that it needs no checkout.

Everything else is in `pyproject.toml`.
"""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class WithCourse(build_py):
    """Also copies the course, into `ncourse/carried/`; an editable installation needs none."""

    def run(self) -> None:
        """As for any package, and then the course's files."""
        super().run()
        if self.editable_mode:
            return
        root = Path(__file__).parent
        files = [root / "book.toml", *(p for p in (root / "notebooks").rglob("*") if p.is_file())]
        for path in files:
            inside = path.relative_to(root)
            if any(part.startswith(".") or part == "__pycache__" for part in inside.parts):
                continue
            target = Path(self.build_lib) / "ncourse" / "carried" / inside
            self.mkpath(str(target.parent))
            self.copy_file(str(path), str(target))


setup(cmdclass={"build_py": WithCourse})
