"""Builds the five top-level folders as one import package `ornstein`.

An editable build gets `build/editable/ornstein/`, a folder of links to the sources, because a static
`force-include` breaks editable installs; every other build gets the package's own files included by path.
"""

import os
import shutil
from pathlib import Path

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FOLDERS = ("core", "domains", "datasets", "pipelines", "workflows")


def link(target: Path, name: Path) -> None:
    """A symbolic link; where the system refuses one for a folder (Windows without developer mode), a junction."""
    try:
        name.symlink_to(os.path.relpath(target, name.parent), target_is_directory=target.is_dir())
    except OSError:
        if target.is_dir():
            import _winapi

            _winapi.CreateJunction(str(target), str(name))
        else:
            shutil.copy2(target, name)


class OnePackage(BuildHookInterface):
    def initialize(self, version: str, build_data: dict) -> None:
        root = Path(self.root)
        own = sorted(p for p in (root / "packaging" / "package").iterdir() if p.is_file())
        if version != "editable":
            build_data["force_include"].update({str(p): f"ornstein/{p.name}" for p in own})
            return
        package = root / "build" / "editable" / "ornstein"
        shutil.rmtree(package, ignore_errors=True)
        package.mkdir(parents=True)
        for target in [*(root / f for f in FOLDERS), *own]:
            link(target, package / target.name)
