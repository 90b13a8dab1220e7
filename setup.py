"""Copies what the library reads besides its code into the wheel; all else stands in pyproject.toml."""

from __future__ import annotations

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

DECLARATIONS = ("config", "resources", "workflow/schemas")


class WithDeclarations(build_py):
    """In a checkout the files of the checkout count, so an editable installation copies nothing."""

    def run(self) -> None:
        """Build, and lay the declarations beside the modules, where `histobench.project` finds them."""
        super().run()
        if not self.editable_mode:
            for folder in DECLARATIONS:
                shutil.copytree(
                    folder, Path(self.build_lib, "histobench/declared", folder), dirs_exist_ok=True
                )


setup(cmdclass={"build_py": WithDeclarations})
