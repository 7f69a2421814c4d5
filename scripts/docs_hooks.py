"""What mkdocs calls while it builds the docs site: pages that are made from the code are added, not kept in files."""

from __future__ import annotations

from typing import Any

import reference_api
import reference_cli
import reference_config

PAGES = {
    "reference/cli.md": reference_cli.page,
    "reference/config.md": reference_config.page,
    "reference/api.md": reference_api.page,
}


def on_files(files: Any, *, config: Any) -> Any:
    """Add the reference to the files of the site."""
    from mkdocs.structure.files import File

    for name, page in PAGES.items():
        files.append(File.generated(config, name, content=page()))
    return files
