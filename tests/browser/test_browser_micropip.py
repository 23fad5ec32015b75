"""micropip in Pyodide, in a page of another site, installs from here."""

from __future__ import annotations

import pytest
from playwright.sync_api import Error

from tests.browser.conftest import NewVisitor
from tests.browser.pyodide_page import other_site, pyodide_folder

_INSTALL = """async ([wheels, index]) => {
    const pyodide = await loadPyodide({indexURL: "package/"});
    await pyodide.loadPackage(wheels.map(wheel => new URL(wheel, location).href));
    await pyodide.pyimport("micropip").install.callKwargs("brine", {index_urls: [index]});
    return pyodide.runPython("import brine; brine.VERSION");
}"""


def test_a_page_of_another_site_installs_from_open_indexes_alone(visitor: NewVisitor) -> None:
    folder = pyodide_folder()
    somebody = visitor()
    with other_site(folder) as elsewhere:
        somebody.page.goto(f"{elsewhere}/index.html")
        wheels = sorted(wheel.name for wheel in folder.glob("*.whl"))
        stable = f"{somebody.url}/harbour/stable/{{package_name}}/json"
        assert somebody.page.evaluate(_INSTALL, [wheels, stable]) == "1.0.0"
        with pytest.raises(Error, match="Failed to fetch"):
            somebody.page.evaluate("url => fetch(url)", f"{somebody.url}/harbour/vault/+simple/chart-keys/")
